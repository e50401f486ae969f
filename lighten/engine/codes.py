"""Programs with codes: what runs in whole numbers, and casts around what does not.

    x (codes) ─ conv ─ codes ─ softmax ─ …      a kernel of codes, an op without one
    x (codes) ─ conv ─ codes ─ cast ─ floats ─ softmax ─ …

Ops between two casts see floats alone, and are planned as in any float network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from dataclasses import replace

from lighten.engine.images import image
from lighten.formats.integer import FLOAT32
from lighten.kernels import linear_codes
from lighten.kernels.functions import FUNCTIONS
from lighten.program import integers
from lighten.program.integers import coded
from lighten.program.ir import Op, Program, Value
from lighten.program.signs import signed

MOVES = ("concat", "slice", "pad", "crop", "shuffle", "reshape")
THIN = 4  # channels that are one word


def has_codes(program: Program) -> bool:
    """Whether any value is rounded to codes."""
    return any(coded(value) for value in program.values.values())


def strange_values(program: Program) -> list[str]:
    """What is rounded to another format than unsigned bytes with one scale: ops by name, and
    inputs of the program.
    """
    makers = program.producers()
    return [
        makers[name].name if name in makers else name
        for name, value in program.values.items()
        if value.format != FLOAT32 and not coded(value) and not signed(value)
    ]


def kept_apart(program: Program, join: Callable[[Program], Program]) -> Program:
    """The program with ops joined, but none across a value that is rounded."""
    rounded = [name for name, value in program.values.items() if value.format != FLOAT32]
    more = tuple(name for name in rounded if name not in program.outputs)
    joined = join(program.changed(outputs=(*program.outputs, *more)))
    return joined.changed(outputs=program.outputs)


def thin(program: Program, name: str) -> bool:
    """Whether an image of few channels is only read by layers of codes, as words."""
    maker, found = program.producers().get(name), image(program.values[name].shape)
    if maker is None or maker.kind != "cast" or found is None or found[0] > THIN:
        return False
    readers = program.consumers()[name]
    return all(
        op.kind == "conv" and op["groups"] == 1 and integers.is_layer(op, program) for op in readers
    )


def rows_of_codes(program: Program) -> frozenset[str]:
    """Names of the linear layers over rows of codes."""
    found = set()
    for op in program.ops:
        if op.kind == "linear" and op.get("activation", "") in FUNCTIONS:
            shape = program.values[op.inputs[0]].shape if op.inputs[0] in program.values else ()
            rows = math.prod(shape[:-1]) if len(shape) > 1 else 0
            if rows and linear_codes.accepts(rows, shape[-1]) and integers.is_layer(op, program):
                found.add(op.name)
    return frozenset(found)


# ── casts ─────────────────────────────────────────────────────────────────────────────────────


def with_casts(program: Program, layers: Container[str]) -> Program:
    """Codes only between ops that have kernels of codes, which of the convolutions and linear
    layers the named `layers` have; inputs and outputs are floats.
    """
    if not has_codes(program):
        return program
    made = _Casts(program)
    for name in program.inputs:
        if coded(program.values[name]):
            made.rename(name, f"{name} (codes)")
            made.cast(name, f"{name} (codes)")
    for op in program.ops:
        if stays(op, program, layers):
            made.add(op)
        else:
            made.in_floats(op)
    for name in program.outputs:
        made.leave(name)
    return made.program()


def stays(op: Op, program: Program, layers: Container[str]) -> bool:
    """Whether an op has a kernel of codes."""
    named = list(flowing(op, program))
    codes = [name for name in named if coded(program.values[name])]
    if not codes:
        return True
    if any(signed(program.values[name]) for name in named):
        return False
    if op.kind in ("conv", "linear"):
        return op.name in layers and integers.is_layer(op, program)
    if op.kind == "cast":
        return len(codes) == 1
    images = all(image(program.values[name].shape) for name in named)
    every = len(codes) == len(op.inputs) + len(op.outputs)
    return every and images and _between(op, program, named)


def _between(op: Op, program: Program, named: list[str]) -> bool:
    """Whether an op without weights has a kernel that reads and makes images of codes."""
    if op.kind in MOVES:
        return _same(program, named) and _moves(op, program)
    if op.kind == "pool" and op["function"] == "max":
        return _same(program, named)
    fits = op.kind == "pool"
    if op.kind == "binary":
        fits = _alike(op, program)
    if op.kind == "reduce":
        fits = len(program.values[op.inputs[0]].shape) == 3 and 0 not in op["axes"]
    return bool(fits) and integers.in_codes(op, program)


def _same(program: Program, names: list[str]) -> bool:
    """Whether all have one scale, so that codes mean the same."""
    held = [program.values[name] for name in names]
    return len({(integers.scale_of(value), integers.zero_of(value)) for value in held}) == 1


def _moves(op: Op, program: Program) -> bool:
    """Whether images can be moved so in blocks of channels."""
    if op.kind == "concat":
        return bool(op["axis"] == 0)
    if op.kind == "slice":
        return bool(op["step"] > 0)
    if op.kind == "reshape":  # not rows of a matrix, whose channels lie side by side
        return len(program.values[op.output].shape) != 2
    if op.kind in ("pad", "crop"):
        return bool(op["value"] == 0 and min(op["pads"]) >= 0)
    return True


def _alike(op: Op, program: Program) -> bool:
    """Whether two images are as large, or one of them a pixel."""
    shapes = [program.values[name].shape for name in op.inputs]
    target = program.values[op.output].shape
    pixel = (target[0], *(1 for _ in target[1:]))
    return len({len(shape) for shape in (*shapes, target)}) == 1 and all(
        shape in (target, pixel) for shape in shapes
    )


class _Casts:
    """A program being written again, its values under other names where they are cast."""

    def __init__(self, program: Program) -> None:
        self.old = program
        self.values: dict[str, Value] = dict(program.values)
        self.ops: list[Op] = []
        self.codes: dict[str, str] = {}  # value → what its codes are called
        self.floats: dict[str, str] = {}

    def rename(self, name: str, codes: str) -> None:
        """Call the codes of a value something else; under its own name it is floats."""
        self.values[codes] = self.old.values[name]
        self.values[name] = replace(self.old.values[name], format=FLOAT32, params=None)
        self.codes[name], self.floats[name] = codes, name

    def cast(self, source: str, target: str) -> None:
        """Add a cast."""
        self.ops.append(Op("cast", f"{target} (cast)", (source,), (target,)))

    def add(self, op: Op) -> None:
        """Add an op of codes."""
        attributes = dict(op.attributes)
        if attributes.get("residual"):
            attributes["residual"] = self.named(attributes["residual"])
        inputs = tuple(map(self.named, op.inputs))
        self.ops.append(replace(op, inputs=inputs, attributes=attributes))

    def named(self, name: str) -> str:
        """What a value is called where codes are read as codes."""
        return self.codes.get(name, name)

    def in_floats(self, op: Op) -> None:
        """Add an op that reads floats and makes them, and a cast where codes are wanted."""
        attributes = dict(op.attributes)
        if attributes.get("residual"):
            attributes["residual"] = self.real(attributes["residual"])
        inputs = tuple(map(self.real, op.inputs))
        if not coded(self.old.values.get(op.output)):
            self.ops.append(replace(op, inputs=inputs, attributes=attributes))
            return
        plain = f"{op.output} (floats)"
        self.values[plain] = replace(self.old.values[op.output], format=FLOAT32, params=None)
        self.ops.append(replace(op, inputs=inputs, outputs=(plain,), attributes=attributes))
        self.cast(plain, op.output)

    def real(self, name: str) -> str:
        """What a value is called as floats, cast there at its first reader."""
        if name not in self.old.values or not coded(self.old.values[name]):
            return name
        if name not in self.floats:
            self.floats[name] = f"{name} (real)"
            value = replace(self.old.values[name], format=FLOAT32, params=None)
            self.values[self.floats[name]] = value
            self.cast(self.named(name), self.floats[name])
        return self.floats[name]

    def leave(self, name: str) -> None:
        """See that an output is floats under its own name."""
        if not coded(self.values[name]):
            return
        codes = f"{name} (codes)"
        self.rename(name, codes)
        self.ops = [
            replace(
                op,
                inputs=tuple(codes if n == name else n for n in op.inputs),
                outputs=tuple(codes if n == name else n for n in op.outputs),
                attributes={
                    k: codes if k == "residual" and v == name else v
                    for k, v in op.attributes.items()
                },
            )
            for op in self.ops
        ]
        self.cast(codes, name)

    def program(self) -> Program:
        """What was written."""
        return self.old.changed(ops=tuple(self.ops), values=self.values)


def flowing(op: Op, program: Program) -> Iterator[str]:
    """The values that an op reads and makes."""
    named = (*op.inputs, op.get("residual", ""), *op.outputs)
    return (name for name in named if name in program.values)


def runs_in_codes(op: Op, program: Program) -> bool:
    """Whether an op of a program with casts reads or makes codes."""
    return any(coded(program.values[name]) for name in flowing(op, program))
