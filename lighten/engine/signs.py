"""Programs with signs, as the engine runs them: packed between layers that count them, and floats
where anything else reads them.

    affine (signs) ─┬─ conv, counting        one kernel makes and packs the signs
                    └─ add                   reads where(y < 0, −s, s)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lighten.emit import Isa
from lighten.engine.choose import Choice
from lighten.engine.images import image
from lighten.formats.integer import FLOAT32
from lighten.formats.signs import WORD
from lighten.kernels import binary, binary_layer
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv, Window, window
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.signs import counts, factors, has_signs, signed, spread


def runs_in_signs(op: Op, program: Program) -> bool:
    """Whether an op of a program from `with_packing` reads or makes packed signs."""
    return any(signed(program.values.get(name)) for name in (*op.inputs[:1], *op.outputs))


def with_packing(program: Program) -> Program:
    """Binary only between ops that have kernels for them; inputs and outputs are floats."""
    if not has_signs(program):
        return program
    made = _Packing(spread(program))
    for name in program.inputs:
        if signed(made.old.values[name]):
            made.arrive(name)
    for op in made.old.ops:
        made.add(op)
    return made.program()


def _counted(op: Op, program: Program) -> bool:
    return counts(op, program) and op.get("activation", "") in FUNCTIONS


class _Packing:
    """A program being written again. Under its own name a value is packed signs, or floats where it
    is an output.
    """

    def __init__(self, program: Program) -> None:
        self.old, self.readers = program, program.consumers()
        self.values: dict[str, Value] = dict(program.values)
        self.arrays: dict[str, Stored] = dict(program.arrays)
        self.ops: list[Op] = []
        self.floats: dict[str, str] = {}  # signs → what their floats are called
        self.packed: dict[str, str] = {}

    def add(self, op: Op) -> None:
        """Add an op, its inputs as it can read them."""
        counted = _counted(op, self.old)
        names = self.packed if counted else self.floats
        inputs = (names.get(op.inputs[0], op.inputs[0]), *op.inputs[1:])
        if not counted:
            inputs = tuple(self.floats.get(name, name) for name in op.inputs)
        op = replace(op, inputs=inputs)
        if not signed(self.old.values[op.output]):
            self.ops.append(op)
        elif self._packs(op) and not self._read_as_floats(op.output):
            self.packed[op.output] = op.output
            self.ops.append(op)
        elif op.kind == "cast":
            self.arrive(op.output, op.inputs[0])
        else:
            real = f"{op.output} (real)"
            self.values[real] = replace(self.values[op.output], format=FLOAT32, params=None)
            self.ops.append(replace(op, outputs=(real,)))
            self.arrive(op.output, real)

    def _packs(self, op: Op) -> bool:
        """Whether one kernel computes an op and packs the signs of its result."""
        if image(self.old.values[op.output].shape) is None:
            return False
        if op.kind == "affine":
            return bool(op["axis"] == 0) and not op.get("activation")
        return op.kind == "cast" or _counted(op, self.old)

    def arrive(self, name: str, real: str = "") -> None:
        """Make packed signs of floats, and floats of one size, each where it is read."""
        value, source = self.old.values[name], real or name
        floats, packed = f"{name} (floats)", f"{name} (signs)"
        if not real or name in self.old.outputs:  # an input or output is floats by its name
            self.values[name] = replace(value, format=FLOAT32, params=None)
        if name in self.old.outputs and real:
            floats = name
        if self._read_as_floats(name):
            self.values[floats] = replace(value, format=FLOAT32, params=None)
            self._floats(name, source, floats)
        if any(_counted(op, self.old) for op in self.readers[name]):
            self.values[packed], self.packed[name] = value, packed
            self.ops.append(Op("cast", packed, (source,), (packed,)))

    def _read_as_floats(self, name: str) -> bool:
        others = any(not _counted(op, self.old) for op in self.readers[name])
        return others or name in self.old.outputs

    def _floats(self, name: str, source: str, floats: str) -> None:
        """`floats` is s where the source is not below zero, else −s."""
        value, below = self.old.values[name], f"{name} (below)"
        assert value.params is not None
        size = float(value.params.scale)
        one = tuple(1 for _ in value.shape)
        for constant, number in ((f"{name} 0", 0.0), (f"{name} −", -size), (f"{name} +", size)):
            self.arrays[constant] = Stored(np.full(one, number, np.float32))
        self.values[below] = replace(value, format=FLOAT32, params=None)
        self.ops += [
            Op("binary", below, (source, f"{name} 0"), (below,), {"function": "less"}),
            Op("where", f"{name} (where)", (below, f"{name} −", f"{name} +"), (floats,)),
        ]
        self.floats[name] = floats

    def program(self) -> Program:
        """What was written."""
        named = {name for op in self.ops for name in (*op.inputs, *op.outputs)}
        named.update(self.old.inputs)
        values = {name: value for name, value in self.values.items() if name in named}
        return self.old.changed(ops=tuple(self.ops), values=values, arrays=self.arrays)


# ── kernels ───────────────────────────────────────────────────────────────────────────────────


def layers(program: Program, isa: Isa) -> dict[str, Choice]:
    """Op name → how its signs are counted, for every layer of a program that does."""
    return dict(_choices(program, isa))


def _choices(program: Program, isa: Isa) -> Iterator[tuple[str, Choice]]:
    for op in program.ops:
        if not _counted(op, program):
            continue
        conv, packs = _conv(program, op, isa), signed(program.values[op.output])
        held = factors(op, program)
        kind = binary_layer.Kind(held.weight.shape[-1], held.masked)
        options = binary_layer.schedules(conv, isa, kind, packs)
        best = min(options, key=lambda schedule: binary_layer.cycles(conv, schedule, isa))
        found = binary_layer.halo(conv, best)
        yield op.name, Choice(conv, binary, best, found, binary_layer.cycles(conv, best, isa))


def _conv(program: Program, op: Op, isa: Isa) -> Conv:
    """What it asks of a kernel, its layouts still bare."""
    x, y = (image(program.values[name].shape) for name in (op.inputs[0], op.output))
    assert x is not None and y is not None, "counts signs of images"
    kernel = program.arrays[op.inputs[1]].shape[2:]
    sliding = Window((1, 1)) if op.kind == "linear" else window(op, kernel)
    channels = y[0]
    if signed(program.values[op.output]):  # whole words of filters
        channels += -channels % WORD
    target = Blocked(channels, *y[1:], isa.lanes)
    return Conv(binary_layer.layout(*x), target, sliding, 1, op.get("activation", ""))
