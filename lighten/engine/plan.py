"""From a Program to what is run: where every value lies, and which kernel makes it.

Images flow in blocks of channels (`kernels.layout.Blocked`). What no kernel here can do is left to
the reference interpreter, which reads and writes plain row-major arrays; copies between the two
are steps like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from lighten.emit import Function, Isa
from lighten.engine import choose, tuning
from lighten.engine.heads import with_attention
from lighten.engine.images import image, plain
from lighten.engine.pairs import with_activations, with_residuals, with_shuffles
from lighten.errors import UnsupportedOps
from lighten.formats.integer import Float32
from lighten.kernels import elementwise, moves
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.strided import Strided, rows
from lighten.program.fuse import fuse
from lighten.program.ir import Op, Program
from lighten.program.spec import KINDS, integer_values

SLIDING = ("conv", "conv_transpose", "pool", "affine", "group_norm", "resize")  # best over images
Array = np.ndarray[Any, Any]
Emit = Callable[[str], Function]


@dataclass(frozen=True)
class Step:
    """One call of a kernel: which, on which values and weights, for which op of the program.

    `key` says what the kernel is made for: steps of equal keys share one. `kernel` names it.
    """

    op: str
    kernel: str
    key: tuple[Any, ...]
    emit: Emit
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Interpreted:
    """An op that the reference interpreter runs: what holds each value that it reads and makes."""

    op: Op
    given: Mapping[str, str]
    made: Mapping[str, str]


@dataclass(frozen=True)
class View:
    """A value in rows: the memory that holds it, by name, and the steps through it."""

    place: str
    steps: Strided


@dataclass
class Plan:
    """Steps in their order.

    `whole` names the values that hold whole numbers (as floats; the interpreter reads integers),
    `chosen` the kernel of each convolution by op, `again` plans for another batch. `layouts` says
    how each value in memory lies (the program's names, and copies'), `views` which of those is read
    for a value in rows and by which steps, `results` what holds each output, `scratch` how many
    bytes a kernel wants for itself, `packed` holds weights in the order in which kernels read them.
    """

    program: Program
    isa: Isa
    whole: frozenset[str] = frozenset()
    chosen: Mapping[str, choose.Choice] = field(default_factory=dict)
    again: Callable[[int], Plan] | None = None
    steps: list[Step | Interpreted] = field(default_factory=list)
    layouts: dict[str, Blocked] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    scratch: dict[str, int] = field(default_factory=dict)
    packed: dict[str, Array] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)

    def for_many(self) -> Plan | None:
        """The plan for larger batches, if some convolution does better with another kernel then."""
        many = self.again(choose.MANY) if self.again else None
        names = {op: choice.name for op, choice in self.chosen.items()}
        if many is None or names == {op: choice.name for op, choice in many.chosen.items()}:
            return None
        many.again = None
        return many

    @property
    def interpreted(self) -> tuple[str, ...]:
        """The ops that no kernel runs, by name."""
        return tuple(step.op.name for step in self.steps if isinstance(step, Interpreted))


def plan(program: Program, isa: Isa, tolerance: float | None = None, batch: int = 1) -> Plan:
    """Steps that compute the program on this instruction set, best for so many samples at a time.

    A kernel whose measured error exceeds `tolerance`, that of the instruction set where none is
    given, is not chosen where there is another. bfloat16 is used on a `bfloat16.paired` one alone.
    UnsupportedOps names what is rounded to integers, which no kernel does yet.
    """
    refused = rounded_values(program)
    if refused:
        raise UnsupportedOps("native", refused, "It runs no int8 yet: choose onnxruntime.")
    whole, again = integer_values(program), partial(plan, program, isa, tolerance)
    program = with_attention(with_shuffles(with_activations(fuse(program))))
    bound = tuning.tolerance(isa) if tolerance is None else tolerance
    pick = partial(tuning.pick, tolerance=bound)
    chosen = choose.convolutions(program, isa, pick, batch)
    program = with_residuals(program, chosen)
    made = Plan(program, isa, whole, chosen, again)
    writer = Writer(made, choose.halos(program, chosen))
    for name in program.inputs:
        writer.in_rows(name, name)
    for op in program.ops:
        if not any(write(writer, op) for write in _writers(writer, op)):
            writer.interpret(op)
    made.results.extend(writer.as_plain(name) for name in program.outputs)
    return made


def _writers(writer: Writer, op: Op) -> Iterator[Callable[[Writer, Op], bool]]:
    """What may write an op, first what leaves its inputs as they lie."""
    from lighten.engine.writers import WRITERS
    from lighten.engine.writers_rows import ROWS
    from lighten.engine.writers_volumes import VOLUMES

    flowing = [name for name in op.inputs if name in writer.plan.program.values]
    blocked = [name for name in flowing if writer.in_blocks(name)]
    images = op.kind in WRITERS and _images(writer.plan.program, op)
    slides = op.kind in SLIDING
    first = images and (slides or len(blocked) == len(flowing) > 0)
    if first:
        yield WRITERS[op.kind]
    if op.kind in ROWS:
        yield ROWS[op.kind]
    if images and not first:
        yield WRITERS[op.kind]
    if op.kind in VOLUMES and op.inputs[0] in writer.plan.program.values:
        yield VOLUMES[op.kind]


def rounded_values(program: Program) -> list[str]:
    """What is rounded to integers: ops by name, and inputs of the program."""
    makers = program.producers()
    return [
        makers[name].name if name in makers else name
        for name, value in program.values.items()
        if not isinstance(value.format, Float32)
    ]


def _images(program: Program, op: Op) -> bool:
    """Whether all that flows in and out are images."""
    flowing = [name for name in (*op.inputs, *op.outputs) if name in program.values]
    return all(image(program.values[n].shape) for n in flowing) and op.inputs[0] in program.values


def plain_name(name: str) -> str:
    """What the row-major copy of a value is called."""
    return f"{name} (plain)"


def blocked_name(name: str) -> str:
    """What the blocked copy of a value is called."""
    return f"{name} (blocked)"


@dataclass(frozen=True)
class Writer:
    """Adds to a plan: values made, kernels called."""

    plan: Plan
    halos: Mapping[str, Halo]

    # ── values ────────────────────────────────────────────────────────────────────────────

    def in_blocks(self, name: str) -> bool:
        """Whether a kernel has made the value in blocks of channels."""
        return name in self.plan.layouts and self.plan.layouts[name].lanes > 1

    def blocked(self, name: str) -> Blocked:
        """The layout of a value as kernels read it; copied there from a plain one if need be."""
        if self.in_blocks(name):
            return self.plan.layouts[name]
        copied = blocked_name(name)
        if copied not in self.plan.layouts:
            source = self.as_plain(name)
            room = self._room(copied, self._new(name))
            size = (room.channels, room.height, room.width)
            move = moves.Move(plain(self.plan.program.values[name].shape), room, size)
            self.box(self._maker(name), move, source, copied)
        return self.plan.layouts[copied]

    def read(self, name: str) -> tuple[str, Blocked]:
        """What a value is called where it lies blocked, and how it lies there."""
        layout = self.blocked(name)
        return self.place(name), layout

    def framed(self, name: str) -> tuple[str, Blocked]:
        """A planar input of the program in the halo that is read around it."""
        halo = self.halos.get(name, Halo())
        layout = self.plan.layouts[name].with_halo(halo)
        if halo == Halo():
            return name, layout
        copied = f"{name} (framed)"
        if copied not in self.plan.layouts:
            self._room(copied, layout)
            self.move(self._maker(name), name, copied)
        return copied, layout

    def place(self, name: str) -> str:
        """What the value is called where it lies blocked."""
        return blocked_name(name) if blocked_name(name) in self.plan.layouts else name

    def make(self, name: str) -> Blocked:
        """Room for a value that a kernel will write, its halo cleared."""
        return self._room(name, self._new(name))

    # ── values in rows ────────────────────────────────────────────────────────────────────

    def in_rows(self, name: str, place: str = "") -> Strided:
        """Room for a value row by row, that a kernel or the caller will write."""
        shape, place = self.plan.program.values[name].shape, place or plain_name(name)
        self.plan.layouts[place] = plain(shape)
        self.plan.views[name] = View(place, rows(shape))
        return rows(shape)

    def view(self, name: str) -> View:
        """A value or a stored array in rows, as it lies; copied there where it lies in blocks."""
        if name in self.plan.views:
            return self.plan.views[name]
        if name in self.plan.program.arrays:
            array = self.array(name)
            held = self.packed(f"{name} (rows)", array)
            return View(held, replace(rows(array.shape), sample=0))
        self.in_rows(name)
        self.move(self._maker(name), self.place(name), plain_name(name))
        return self.plan.views[name]

    def dense(self, name: str) -> View:
        """A value or a stored array row by row, without gaps; copied where it lies otherwise."""
        found = self.view(name)
        if found.steps.whole or (name in self.plan.program.arrays):
            return found
        copied = f"{name} (rows)"
        if copied not in self.plan.layouts:
            self.plan.layouts[copied] = plain(found.steps.shape)
            target = rows(found.steps.shape)
            self.copy(self._maker(name), found, View(copied, target))
        return View(copied, rows(found.steps.shape))

    def copy(self, op: str, source: View, target: View) -> None:
        """Copy number by number."""
        made = elementwise.Elementwise((source.steps,), target.steps)
        emit = partial(elementwise.emit, op=made, isa=self.plan.isa)
        self.step((op, "copy"), (made,), emit, source.place, target.place)

    def as_plain(self, name: str) -> str:
        """What holds the value row by row, without gaps."""
        return self.dense(name).place

    def packed(self, name: str, array: Array) -> str:
        """Numbers that are kept with the weights."""
        self.plan.packed[name] = array
        return name

    def size(self, name: str) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        found = image(self.plan.program.values[name].shape)
        assert found is not None, "only images are blocked"
        return found

    def array(self, name: str) -> Array:
        """A stored array as float32."""
        return np.asarray(self.plan.program.arrays[name].decode(), np.float32)

    def per_channel(self, name: str, array: Array) -> str:
        """One number per channel, kept in whole blocks."""
        lanes = self.plan.isa.lanes
        self.plan.packed[name] = np.pad(array, (0, -len(array) % lanes))
        return name

    def _new(self, name: str) -> Blocked:
        return Blocked(*self.size(name), self.plan.isa.lanes, self.halos.get(name, Halo()))

    def _room(self, name: str, layout: Blocked) -> Blocked:
        self.plan.layouts[name] = layout
        if layout.halo != Halo():
            isa, original = self.plan.isa, name.partition(" (")[0]
            emit = partial(moves.clear, layout=layout, isa=isa)
            self.step((self._maker(original), "clear"), (layout,), emit, name)
        return layout

    def _maker(self, name: str) -> str:
        """The op that a value comes from, or the input's own name."""
        maker = self._makers.get(name)
        return maker.name if maker is not None else name

    @cached_property
    def _makers(self) -> dict[str, Op]:
        return self.plan.program.producers()

    # ── steps ─────────────────────────────────────────────────────────────────────────────

    def step(
        self, what: tuple[str, str], key: tuple[Any, ...], emit: Emit, *arguments: str
    ) -> None:
        """Call a kernel: `what` is (op, kernel)."""
        op, kernel = what
        self.plan.steps.append(Step(op, kernel, (kernel, *key), emit, arguments))

    def move(self, op: str, source: str, target: str) -> None:
        """Copy a whole value."""
        a, b = self.plan.layouts[source], self.plan.layouts[target]
        self.box(op, moves.Move(a, b, (b.channels, b.height, b.width)), source, target)

    def box(self, op: str, move: moves.Move, source: str, target: str) -> None:
        """Copy a part of a value."""
        isa = self.plan.isa
        emit = partial(moves.emit, move=move, isa=isa)
        self.step((op, "move"), (move,), emit, source, target)

    def interpret(self, op: Op) -> None:
        """Leave an op to the reference interpreter."""
        program = self.plan.program
        assert "residual" not in op.attributes and op.kind in KINDS, "joined for a kernel alone"
        given = {n: self.as_plain(n) for n in op.inputs if n in program.values}
        for name in op.outputs:
            self.in_rows(name)
        made = {name: plain_name(name) for name in op.outputs}
        self.plan.steps.append(Interpreted(op, given, made))
