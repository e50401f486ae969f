"""From a Program to what is run: where every value lies, and which kernel makes it.

Images flow in blocks of channels (`kernels.layout.Blocked`). What no kernel here can do is left to
the reference interpreter, which reads and writes plain row-major arrays; copies between the two
are steps like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from lighten.emit import Function, Isa
from lighten.engine import choose, tuning
from lighten.engine.images import image, plain
from lighten.engine.pairs import with_activations, with_residuals, with_shuffles
from lighten.errors import UnsupportedOps
from lighten.formats.integer import Float32
from lighten.kernels import moves
from lighten.kernels.layout import Blocked, Halo
from lighten.program.fuse import fuse
from lighten.program.ir import Op, Program
from lighten.program.spec import KINDS, integer_values

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
    """An op that the reference interpreter runs."""

    op: Op


@dataclass
class Plan:
    """Steps in their order.

    `whole` names the values that hold whole numbers, which only the interpreter reads, `chosen` the
    kernel of each convolution by op. `layouts`
    says how each value in memory lies (the program's names, and copies'), `scratch` how many bytes
    a kernel wants for itself, `packed` holds weights in the order in which kernels read them.
    """

    program: Program
    isa: Isa
    whole: frozenset[str] = frozenset()
    chosen: Mapping[str, choose.Choice] = field(default_factory=dict)
    steps: list[Step | Interpreted] = field(default_factory=list)
    layouts: dict[str, Blocked] = field(default_factory=dict)
    scratch: dict[str, int] = field(default_factory=dict)
    packed: dict[str, Array] = field(default_factory=dict)

    @property
    def interpreted(self) -> tuple[str, ...]:
        """The ops that no kernel runs, by name."""
        return tuple(step.op.name for step in self.steps if isinstance(step, Interpreted))


def plan(program: Program, isa: Isa, tolerance: float = tuning.TOLERANCE) -> Plan:
    """Steps that compute the program on this instruction set.

    A kernel whose measured error exceeds `tolerance` is not chosen where there is another.
    UnsupportedOps names what is rounded to integers, which no kernel does yet.
    """
    from lighten.engine.writers import WRITERS
    from lighten.engine.writers_volumes import VOLUMES

    refused = rounded_values(program)
    if refused:
        raise UnsupportedOps("native", refused, "It runs no int8 yet: choose onnxruntime.")
    whole = integer_values(program)
    program = with_shuffles(with_activations(fuse(program), whole), whole)
    pick = partial(tuning.pick, tolerance=tolerance)
    chosen = choose.convolutions(program, isa, whole, pick)
    program = with_residuals(program, chosen, whole)
    made = Plan(program, isa, whole, chosen)
    writer = Writer(made, choose.halos(program, chosen))
    for name in program.inputs:
        if name not in whole:
            made.layouts[name] = plain(program.values[name].shape)
    for op in program.ops:
        kinds = WRITERS if _images(program, op) else VOLUMES
        write = kinds.get(op.kind)
        if write is None or not _floats(program, op, whole) or not write(writer, op):
            writer.interpret(op, whole)
    for name in program.outputs:
        if name not in whole:
            writer.as_plain(name)
    return made


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
    return all(image(program.values[name].shape) for name in flowing)


def _floats(program: Program, op: Op, whole: frozenset[str]) -> bool:
    """Whether all that flows in and out are floats, and the first input is not stored."""
    return whole.isdisjoint((*op.inputs, *op.outputs)) and op.inputs[0] in program.values


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

    def blocked(self, name: str) -> Blocked:
        """The layout of a value as kernels read it; copied there from a plain one if need be."""
        held = self.plan.layouts.get(name)
        if held is not None and held.lanes == self.plan.isa.lanes:
            return held
        copied = blocked_name(name)
        if copied not in self.plan.layouts:
            # what the interpreter made has a plain name; an input of the program keeps its own
            source = plain_name(name) if held is None else name
            self._room(copied, self._new(name))
            self.move(self._maker(name), source, copied)
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

    def as_plain(self, name: str) -> str:
        """The value row-major; copied where it lies blocked."""
        held = self.plan.layouts.get(name)
        if held is not None and held.lanes == 1:
            return name
        copied = plain_name(name)
        if copied not in self.plan.layouts:
            self.plan.layouts[copied] = plain(self.plan.program.values[name].shape)
            self.move(self._maker(name), self.place(name), copied)
        return copied

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

    def interpret(self, op: Op, whole: frozenset[str]) -> None:
        """Leave an op to the reference interpreter."""
        program = self.plan.program
        assert "residual" not in op.attributes and op.kind in KINDS, "joined for a kernel alone"
        for name in op.inputs:
            if name in program.values and name not in whole:
                self.as_plain(name)
        self.plan.steps.append(Interpreted(op))
        for name in op.outputs:
            if name not in whole:
                self.plan.layouts[plain_name(name)] = plain(program.values[name].shape)
