"""Which op depends on which choice: not derived but seen.

Each group is cut once, alone, the network lowered, and every op whose shape changed depends on it,
in proportion: an op's width is a sum over the groups it reads or writes. So it holds for whatever
`cut` and `lower` can do. Likewise the ops that are gone when a block is dropped, and what every op
looks like in each form that layers can have: float, int8, int8 with ever fewer weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lighten.core.recipe import Edit, Recipe
from lighten.errors import LightenError
from lighten.network.graph import Graph, Group
from lighten.program.ir import Program
from lighten.search.shapes import Shape, shapes

Build = Callable[[Recipe], Program]
Edits = tuple[Edit, ...]


@dataclass(frozen=True)
class Use:
    """One op: its shapes with nothing cut, in each form of the network, float first (None: not
    there), and what they depend on. `read[group]` and `written[group]` are channels per slice of
    the group; `blocks` are those it is gone with; `layer` is the layer whose form decides its own,
    and `then` the next layer that reads what it writes.
    """

    forms: tuple[Shape | None, ...]
    read: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, float] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    layer: str = ""
    then: str = ""

    @property
    def shape(self) -> Shape:
        """The shape with nothing cut, in the first form that has it."""
        return next(shape for shape in self.forms if shape is not None)

    @property
    def int8(self) -> Shape | None:
        """Its shape in int8, if there is int8."""
        return self.forms[1] if len(self.forms) > 1 else None

    def at(self, form: int) -> Shape | None:
        """Its shape in a form; in int8 where it looks alike in all that follow."""
        return self.forms[min(form, len(self.forms) - 1)]


def first_slices(group: Group, kept: int) -> Edit:
    """The edit that keeps the first slices: which ones does not matter to time."""
    return Edit.of("channels", group.name, keep=list(range(kept)), of=group.size)


def observe(graph: Graph, build: Build, forms: Sequence[Edits] = ()) -> dict[str, Use]:
    """Op name → how it depends on the choices. `forms` are the edits that bring all layers into
    one form each, int8 first.

    A group or block that cannot be built on its own is left out: it then counts as costing nothing.
    """
    whole = build(Recipe())
    plain = shapes(whole)
    formed = [shapes(build(Recipe(edits))) for edits in forms]
    names = list(dict.fromkeys((*plain, *(name for found in formed for name in found))))
    read: dict[str, dict[str, float]] = {name: {} for name in names}
    written: dict[str, dict[str, float]] = {name: {} for name in names}
    blocks: dict[str, list[str]] = {name: [] for name in names}
    for group in graph.groups:
        kept = max(1, group.size // 2)
        if kept == group.size:
            continue
        for name, shape in _built(build, first_slices(group, kept)).items():
            if name in plain:
                removed = group.size - kept
                _moved(read[name], group, (plain[name].read - shape.read) / removed)
                _moved(written[name], group, (plain[name].written - shape.written) / removed)
    for block in graph.blocks:
        left = _built(build, Edit.of("blocks", block.name))
        for name in plain if left else ():
            if name not in left:
                blocks[name].append(block.name)
    layers = _layers(whole, {edit.place for edit in (forms[0] if forms else ())})
    uses = {}
    for name in names:
        like = name if name in plain else _copied(name, whole)
        copied = written.get(like, {})  # nothing for an input, which no cut narrows
        sides = (read[name], written[name]) if name in plain else (copied, copied)
        layer = layers.get(name) or layers.get(f"→{like}", "")
        gone = tuple(blocks.get(like, ()))
        then = layers.get(f"→{name}", "")
        seen = (plain.get(name), *(found.get(name) for found in formed))
        uses[name] = Use(seen, *sides, blocks=gone, layer=layer, then=then)
    return uses


def _built(build: Build, edit: Edit) -> dict[str, Shape]:
    try:
        return shapes(build(Recipe((edit,))))
    except LightenError:
        return {}


def _moved(slopes: dict[str, float], group: Group, slope: float) -> None:
    if slope:
        slopes[group.name] = slope


def _layers(whole: Program, quantizable: set[str]) -> dict[str, str]:
    """Op → the layer whose format it takes: its own, else the next one's; "→op": of its output."""
    wanted: dict[str, str] = {}  # value → the first quantizable layer that reads it
    found: dict[str, str] = {}
    for op in reversed(whole.ops):
        after = wanted.get(op.output, "")
        found[f"→{op.name}"] = after
        found[op.name] = op.name if op.name in quantizable else after
        for value in op.inputs:
            if value in whole.values and found[op.name]:
                wanted[value] = found[op.name]
    for value in whole.inputs:
        found[f"→{value}"] = wanted.get(value, "")
    return found


def _copied(cast: str, whole: Program) -> str:
    """The op that makes what a cast copies, or the name of the input."""
    value = cast.removesuffix(".int8")
    producer = whole.producers().get(value)
    return value if producer is None else producer.name
