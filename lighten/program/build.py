"""Writing a program down op by op; shapes follow from the spec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.spec import check, infer, integer_values


@dataclass
class Builder:
    """A program in the making.

    >>> b = Builder()
    >>> x = b.input("x", (3,))
    >>> b.finish(b.op("unary", x, function="relu")).values["unary"].shape
    (3,)
    """

    inputs: list[str] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    arrays: dict[str, Stored] = field(default_factory=dict)

    def fresh(self, name: str) -> str:
        """`name`, or `name_2`, `name_3` … where it is taken."""
        taken = {op.name for op in self.ops} | set(self.values) | set(self.arrays)
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def input(self, name: str, shape: Iterable[int]) -> str:
        """A program input of per-sample `shape`."""
        self.values[name] = Value(tuple(shape))
        self.inputs.append(name)
        return name

    def store(self, name: str, array: Any) -> str:
        """A stored float32 (or integer) array; the name it got."""
        name, codes = self.fresh(name), np.asarray(array)
        whole = np.issubdtype(codes.dtype, np.integer)
        self.arrays[name] = Stored(codes if whole else codes.astype(np.float32))
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """An op on named values and arrays; the name of the value it makes (its own name)."""
        name = self.fresh(name or kind)
        found: dict[str, Value | Stored] = {**self.values, **self.arrays}
        op = Op(kind, name, inputs, (name,), attributes)
        (shape,) = infer(op, [found[i].shape if i else () for i in inputs])
        self.values[name] = Value(shape)
        self.ops.append(op)
        return name

    def finish(self, *outputs: str, **fields: Any) -> Program:
        """The checked program that gives `outputs`; `fields` are labels, preprocess, origin."""
        program = Program(
            tuple(self.inputs), outputs, tuple(self.ops), self.values, self.arrays, **fields
        )
        return check(program)


def empty(program: Program) -> Program:
    """A program with the same inputs and outputs that computes nothing: what calling costs.

    Every output is the first number of the first input, repeated.
    """
    b = Builder()
    for name in program.inputs:
        b.input(name, program.values[name].shape)
    flat = b.op("reshape", program.inputs[0], shape=(prod(program.values[b.inputs[0]].shape),))
    first = b.op("slice", flat, axis=0, start=0, stop=1, step=1)
    whole = tuple(name for name in program.inputs if name in integer_values(program))
    if whole:
        first = b.op("unary", first, function="relu")  # outputs are real
    for name in program.outputs:
        shape = program.values[name].shape
        column = b.op("reshape", first, shape=(1,) * len(shape))
        b.op("expand", column, name=name, shape=shape)
    return b.finish(*program.outputs, integers=whole)
