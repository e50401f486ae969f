"""Which op depends on which choice: not derived but seen.

Each group is cut once, alone, the network lowered, and every op whose shape changed depends on it,
in proportion: an op's width is a sum over the groups it reads or writes. So it holds for whatever
`cut` and `lower` can do. Likewise the ops that are gone when a block is dropped, and what every op
looks like in int8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lighten.core.recipe import Edit, Recipe
from lighten.errors import LightenError
from lighten.network.graph import Graph, Group
from lighten.program.ir import Program
from lighten.search.shapes import Shape, shapes

Build = Callable[[Recipe], Program]


@dataclass(frozen=True)
class Use:
    """One op: its shapes with nothing cut, in float and in int8 (None: not there), and what they
    depend on. `read[group]` and `written[group]` are channels per slice of the group; `blocks` are
    those it is gone with; `layer` is the layer whose int8 choice decides its format, and `then` the
    next layer that reads what it writes.
    """

    plain: Shape | None
    int8: Shape | None
    read: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, float] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    layer: str = ""
    then: str = ""

    @property
    def shape(self) -> Shape:
        """The shape with nothing cut."""
        found = self.plain or self.int8
        assert found is not None
        return found


def first_slices(group: Group, kept: int) -> Edit:
    """The edit that keeps the first slices: which ones does not matter to time."""
    return Edit.of("channels", group.name, keep=list(range(kept)), of=group.size)


def observe(graph: Graph, build: Build, eight: tuple[Edit, ...] = ()) -> dict[str, Use]:
    """Op name → how it depends on the choices. `eight` are the edits that make all layers int8.

    A group or block that cannot be built on its own is left out: it then counts as costing nothing.
    """
    whole = build(Recipe())
    plain = shapes(whole)
    int8 = shapes(build(Recipe(eight))) if eight else {}
    names = list(dict.fromkeys((*plain, *int8)))
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
    layers = _layers(whole, {edit.place for edit in eight})
    uses = {}
    for name in names:
        like = name if name in plain else _copied(name, whole)
        copied = written.get(like, {})  # nothing for an input, which no cut narrows
        sides = (read[name], written[name]) if name in plain else (copied, copied)
        layer = layers.get(name) or layers.get(f"→{like}", "")
        gone = tuple(blocks.get(like, ()))
        then = layers.get(f"→{name}", "")
        both = (plain.get(name), int8.get(name))
        uses[name] = Use(*both, *sides, blocks=gone, layer=layer, then=then)
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
