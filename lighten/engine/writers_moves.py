"""What ops that only move numbers become over values in rows: most are other steps through the same
memory, and no code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lighten.engine.steps import View
from lighten.engine.writer import Writer, plain_name
from lighten.kernels import gather
from lighten.kernels.strided import Strided, rows
from lighten.program.ir import Op


def _reshape(w: Writer, op: Op) -> bool:
    shape = w.plan.program.values[op.output].shape
    found = w.view(op.inputs[0])
    steps = found.steps.reshaped(shape)
    if steps is None:
        found = w.dense(op.inputs[0])
        steps = found.steps.reshaped(shape)
    assert steps is not None, "what has no gaps has any shape"
    w.plan.views[op.output] = View(found.place, steps)
    return True


def _alias(w: Writer, op: Op, change: Callable[[Strided], Strided]) -> bool:
    found = w.view(op.inputs[0])
    w.plan.views[op.output] = View(found.place, change(found.steps))
    return True


def _transpose(w: Writer, op: Op) -> bool:
    return _alias(w, op, lambda steps: steps.permuted(op["permutation"]))


def _expand(w: Writer, op: Op) -> bool:
    shape = w.plan.program.values[op.output].shape
    return _alias(w, op, lambda steps: steps.expanded(shape))


def _slice(w: Writer, op: Op) -> bool:
    def cut(steps: Strided) -> Strided:
        extent = steps.shape[op["axis"]]
        indices = range(*slice(op["start"], op["stop"], op["step"]).indices(extent))
        return steps.sliced(op["axis"], indices.start, len(indices), op["step"])

    return _alias(w, op, cut)


def _concat(w: Writer, op: Op) -> bool:
    given = [w.view(name) for name in op.inputs]
    target, at = w.in_rows(op.output), 0
    for view in given:
        extent = view.steps.shape[op["axis"]]
        part = target.sliced(op["axis"], at, extent, 1)
        w.copy(op.name, view, View(plain_name(op.output), part))
        at += extent
    return True


def _pad(w: Writer, op: Op) -> bool:
    """The value everywhere, then what is there over it; negative padding cuts off."""
    found = w.view(op.inputs[0])
    target, steps = w.in_rows(op.output), found.steps
    part, count = target, len(steps.shape)
    for axis in range(count):
        before, after = op["pads"][axis], op["pads"][count + axis]
        kept = steps.shape[axis] + min(before, 0) + min(after, 0)
        steps = steps.sliced(axis, max(-before, 0), kept, 1)
        part = part.sliced(axis, max(before, 0), kept, 1)
    held = w.packed(f"{op.name} value", np.array([op["value"]], np.float32))
    blank = replace(rows((1,) * count), sample=0).expanded(target.shape)
    w.copy(op.name, View(held, blank), View(plain_name(op.output), target))
    w.copy(op.name, View(found.place, steps), View(plain_name(op.output), part))
    return True


def _gather(w: Writer, op: Op) -> bool:
    table, indices = w.dense(op.inputs[0]), w.dense(op.inputs[1])
    axis, shape = op["axis"], table.steps.shape
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    count = indices.steps.size
    held = table.steps.reshaped((before, shape[axis], after))
    flat = indices.steps.reshaped((count,))
    target = w.in_rows(op.output).reshaped((before, count, after))
    assert held and flat and target, "what has no gaps has any shape"
    made = gather.Gather(held, flat, target)
    emit = partial(gather.emit, op=made, isa=w.plan.isa)
    places = (table.place, indices.place, plain_name(op.output))
    w.step((op.name, "gather"), (made,), emit, *places)
    return True


MOVES: Mapping[str, Callable[[Writer, Op], bool]] = {
    "concat": _concat,
    "expand": _expand,
    "gather": _gather,
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "transpose": _transpose,
}
