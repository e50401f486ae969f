"""A program at other input shapes: every shape inferred again, op by op.

Weights, strides, windows and paddings stay as they are stated. Numbers that were measured on the
size of the example (the shape of a `reshape`, the size of a `resize`) follow it where they can only
mean one thing. Where they could mean two, the program is refused at the other shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lighten.errors import ProgramError
from lighten.program.ir import Op, Program
from lighten.program.resized_axes import Axis, Resizing, Sized, plainly, product
from lighten.program.resized_rules import RULES, sized_axes
from lighten.program.shapes import Shape, demand
from lighten.program.spec import check, infer, operands


def resized(program: Program, shapes: Sequence[Shape]) -> Program:
    """The program for inputs of these per-sample shapes, in its order.

    ProgramError, naming the op, where it cannot take them or where what the op states may have been
    measured on the size that the program was made at.

    >>> from lighten.program.build import Builder
    >>> b = Builder()
    >>> mean = b.op("reduce", b.input("x", (8, 4, 4)), function="mean", axes=(1, 2), keepdims=False)
    >>> resized(b.finish(mean), [(8, 6, 5)]).values["x"].shape
    (8, 6, 5)
    """
    whole = Resizing(program)
    for name, shape in zip(program.inputs, shapes, strict=True):
        before = program.values[name].shape
        if len(shape) != len(before):
            raise ProgramError(f"The input {name!r} has {len(before)} axes, but got {len(shape)}.")
        whole.known[name] = Sized(plainly(before, shape))
    _check_measured(whole)
    ops = [_resized(whole, op) for op in program.ops]
    values = {
        name: replace(value, shape=whole.of(name).now)
        for name, value in program.values.items()
        if name in whole.known
    }
    return check(program.changed(ops=tuple(ops), values=values))


def _check_measured(whole: Resizing) -> None:
    """What no op is left of cannot be looked at: its numbers hold at the program's own shapes."""
    names = {op.name for op in whole.program.ops}
    gone = [name for name in whole.program.measured if name not in names]
    changed = any(whole.of(name).changed for name in whole.program.inputs)
    if gone and changed:
        raise ProgramError(f"{gone[0]!r} leaves its input as it is, which it may not do then.")


def _resized(whole: Resizing, op: Op) -> Op:
    """The op between its inputs as they are now; what it makes becomes known."""
    given = [whole.of(name) for name in op.inputs]
    if op.name in whole.program.measured:
        first = given[0]
        changed = any(first.was[axis] != first.now[axis] for axis in sized_axes(op, first))
        demand(not changed, op, "its numbers may have been measured on the size of the example")
    op = RULES[op.kind](whole, op) if op.kind in RULES else op
    (now,) = infer(op, [x.now for x in given])
    before = whole.program.values[op.output].shape
    whole.known[op.output] = Sized(_axes(whole, op, before, now))
    return op


def _axes(whole: Resizing, op: Op, before: Shape, now: Shape) -> tuple[Axis, ...]:
    """What each axis of the result is made of: what an operand's axis is that has these extents."""
    given = [whole.of(name) for name in operands(op)]
    if op.kind == "transpose":
        return tuple(given[0].axes[axis] for axis in op["permutation"])
    if op.kind == "reshape":
        return whole.parts[op.output]
    made = plainly(before, now)
    if op.kind == "matmul":
        return (*made[:-2], given[0].axes[-2], given[1].axes[-1])
    if op.kind == "gather":
        return made
    alike = [x.axes for x in given if len(x.axes) == len(made)]
    return tuple(_one(axis, [axes[at] for axes in alike]) for at, axis in enumerate(made))


def _one(axis: Axis, others: Sequence[Axis]) -> Axis:
    """The one way in which this extent is made, if there is only one."""
    found = {other for other in others if len(other) > 1 and product(other) == product(axis)}
    return found.pop() if len(found) == 1 else axis
