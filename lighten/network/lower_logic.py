"""Lowering rules about truth and whole numbers: comparisons, masks, where, casts, counting.

A truth value is the real number 1 or 0, so "and" is a product and "not" is 1 − x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lighten.formats.integer import Integer, Scale
from lighten.formats.signs import SIGN
from lighten.network.lower_math import Rule, operand
from lighten.network.lower_step import Constant, Flow, Step, Unsupported, numpy
from lighten.program.ir import Value


def negated(step: Step, x: Flow) -> Flow:
    """1 − x: what is not true."""
    return step.binary(step.store("one", np.float32(1)), x, "sub", x.shape)


def comparison(name: str, *, swapped: bool = False, inverse: bool = False) -> Rule:
    """a `name` b, with the sides swapped or the answer inverted where the program has no name."""

    def rule(step: Step) -> Flow:
        sides = [operand(step, step["self"], "a"), operand(step, step["other"], "b")]
        a, b = reversed(sides) if swapped else sides
        found = step.binary(a, b, name, step.shape)
        return negated(step, found) if inverse else found

    return rule


def is_nan(step: Step) -> Flow:
    """x ≠ x."""
    x = step.flow("self")
    return negated(step, step.binary(x, x, "equal", x.shape))


def logical(name: str) -> Rule:
    """Two truth values as one."""

    def rule(step: Step) -> Flow:
        for side in (step["self"], step["other"]):
            if isinstance(side, (Flow, Constant)) and kind(side) != torch.bool:
                raise Unsupported("only truth values can be combined")
        a, b = operand(step, step["self"], "a"), operand(step, step["other"], "b")
        return step.binary(a, b, name, step.shape)

    return rule


def inverse(step: Step) -> Flow:
    """not x."""
    return negated(step, truth(step, step.flow("self")))


def kind(x: Flow | Constant) -> torch.dtype:
    """torch's dtype of an operand."""
    return x.dtype if isinstance(x, Flow) else x.tensor.dtype


def truth(step: Step, x: Flow) -> Flow:
    """x ≠ 0, unless it is a truth value already."""
    if x.dtype == torch.bool:
        return x
    return negated(step, step.binary(x, step.store("zero", np.float32(0)), "equal", x.shape))


def cast(step: Step) -> Flow:
    """To truth values, to whole numbers (towards zero), or between floats, which is nothing."""
    x, dtype = step.flow("self"), step.arguments.get("dtype")
    other = step.arguments.get("other")
    if isinstance(other, (Flow, Constant)):
        dtype = kind(other)
    if dtype is None or dtype.is_floating_point or x.dtype == dtype:
        return x
    if dtype == torch.bool:
        return truth(step, x)
    if not x.dtype.is_floating_point:
        return x
    size = step.unary(step.unary(x, "abs"), "floor")
    return step.binary(step.unary(x, "sign"), size, "mul", x.shape)


def where(step: Step) -> Flow:
    """`self` where the condition holds, else `other`."""
    return chosen(step, step["condition"], step["self"], step["other"])


def masked_fill(step: Step) -> Flow:
    """`value` where the mask holds, else x."""
    return chosen(step, step["mask"], step["value"], step["self"])


def chosen(step: Step, condition: Any, a: Any, b: Any) -> Flow:
    """The op `where`."""
    names = [operand(step, x, side) for x, side in ((condition, "mask"), (a, "a"), (b, "b"))]
    return step.emit("where", names, step.shape)


def cumsum(step: Step) -> Flow:
    """Running sums: a product with the triangle of ones, along the last axis."""
    x = step.flow("self")
    axis, last = x.axis(step["dim"]), len(x.shape) - 1
    order = list(range(len(x.shape)))
    order[axis], order[last] = last, axis
    turned = step.transpose(x, order)
    triangle = step.store("triangle", np.tril(np.ones((x.shape[axis],) * 2, np.float32)))
    total = step.emit("linear", [turned.name, triangle], turned.shape, activation="")
    return step.transpose(total, order)


def fake_quantized(step: Step) -> Flow:
    """Rounded to a format: a cast whose result has it."""
    x, axis = step.flow("x"), step["axis"]
    scale, zero = step.constant("scale"), step.constant("zero")
    if scale is None or zero is None:
        raise Unsupported("its scale must be a constant")
    form = Integer(step["bits"], step["signed"], step["symmetric"])
    params = Scale(numpy(scale), numpy(zero), None if axis < 0 else x.axis(axis))
    rounded = step.emit("cast", [x.name], x.shape)
    step.draft.values[rounded.name] = Value(x.shape, form, params)
    return rounded


def signed(step: Step) -> Flow:
    """1 from zero on, −1 below."""
    x = step.flow("x")
    rounded = step.emit("cast", [x.name], x.shape)
    one = Scale(np.float32(1), np.float32(0))
    step.draft.values[rounded.name] = Value(x.shape, SIGN, one)
    return rounded


def argmax(step: Step) -> Flow:
    """The first place of the largest number along one dimension."""
    x = step.flow("self")
    if step["dim"] is None:
        raise Unsupported("only along one dimension")
    axis = x.axis(step["dim"])
    size = x.shape[axis]
    highest = step.reduce(x, "max", [axis], keepdims=True)
    places = -np.arange(size, dtype=np.float32).reshape(-1, *[1] * (len(x.shape) - 1 - axis))
    hit = step.binary(x, highest, "equal", x.shape)
    names = [hit.name, step.store("places", places), step.store("none", np.float32(-size))]
    first = step.reduce(step.emit("where", names, x.shape), "max", [axis], bool(step["keepdim"]))
    return step.unary(first, "neg")
