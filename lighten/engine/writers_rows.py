"""What ops over values in rows become: tensors of any rank. A writer gives False where it cannot,
having added nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from lighten.emit import bfloat16
from lighten.engine.images import plain
from lighten.engine.rounded import in_pairs
from lighten.engine.steps import View
from lighten.engine.writer import Writer, plain_name
from lighten.engine.writers_moves import MOVES
from lighten.kernels import (
    attention,
    elementwise,
    linear,
    matmul,
    normalize,
    reduce,
    softmax,
    strassen_rows,
)
from lighten.kernels.functions import BINARY, FUNCTIONS, PARAMETRIC
from lighten.kernels.strided import Strided, rows
from lighten.program.ir import Op

# ── number by number ──────────────────────────────────────────────────────────────────────────


def _map(w: Writer, op: Op, function: str, names: Sequence[str], *numbers: float) -> bool:
    """The function over values and stored arrays, repeated to the shape of the result."""
    shape = w.plan.program.values[op.output].shape
    given = [w.view(name) for name in names]
    target = w.in_rows(op.output)
    operands = tuple(view.steps.expanded(shape) for view in given)
    made = elementwise.Elementwise(operands, target, function, op.get("activation", ""), numbers)
    emit = partial(elementwise.emit, op=made, isa=w.plan.isa)
    places = [view.place for view in given]
    w.step((op.name, "elementwise"), (made,), emit, *places, plain_name(op.output))
    return True


def _unary(w: Writer, op: Op) -> bool:
    function = op["function"]
    if function in PARAMETRIC:
        names = PARAMETRIC[function][0]
        return _map(w, op, function, op.inputs, *(float(op[name]) for name in names))
    return function in FUNCTIONS and _map(w, op, function, op.inputs)


def _binary(w: Writer, op: Op) -> bool:
    known = op["function"] in BINARY and op.get("activation", "") in FUNCTIONS
    return known and _map(w, op, op["function"], op.inputs)


def _where(w: Writer, op: Op) -> bool:
    return _map(w, op, "where", op.inputs)


def _affine(w: Writer, op: Op) -> bool:
    """Scale and shift are vectors along one axis: repeated along the others."""
    shape, axis = w.plan.program.values[op.output].shape, op["axis"]
    along = tuple(extent if a == axis else 1 for a, extent in enumerate(shape))
    names = [op.inputs[0]]
    for name in op.inputs[1:]:
        held = w.packed(f"{op.name} {name}", w.array(name))
        w.plan.views[held] = View(held, replace(rows(along), sample=0))
        names.append(held)
    return _map(w, op, "affine", names)


# ── products ──────────────────────────────────────────────────────────────────────────────────


def _linear(w: Writer, op: Op) -> bool:
    if op.get("activation", "") not in FUNCTIONS:
        return False
    isa, weight = w.plan.isa, w.array(op.inputs[1])
    filters, channels = weight.shape
    shape = w.plan.program.values[op.output].shape
    count = math.prod(shape[:-1])
    source = _as(w, op.inputs[0], (count, channels))
    residual = op.get("residual")
    added = _as(w, residual, (count, filters)) if residual else None
    target = replace(w.in_rows(op.output), shape=(count, filters), strides=(filters, 1))
    steps = added.steps if added else None
    made = linear.Linear(source.steps, target, op.get("activation", ""), steps)
    if bfloat16.has_pairs(isa) and linear.better_paired(made, isa):
        source, weight = in_pairs(w, op, source), bfloat16.words(weight)
        made = replace(made, source=source.steps, paired=True)
    stored = len(op.inputs) > 2 and op.inputs[2]
    bias = w.array(op.inputs[2]) if stored else np.zeros(filters, np.float32)
    shift = w.per_channel(f"{op.name} bias", bias)
    ends = (shift, added.place if added else shift, plain_name(op.output))
    halves = strassen_rows.schedule(made, isa)
    if halves is not None:
        packed = w.packed(f"{op.name} weight", strassen_rows.pack(weight, halves, isa))
        scratch = f"{op.name} scratch"
        w.plan.scratch[scratch] = strassen_rows.workspace(made, halves, isa)
        emit = partial(strassen_rows.emit, op=made, schedule=halves, isa=isa)
        w.step((op.name, "strassen"), (made, halves), emit, source.place, packed, *ends, scratch)
        return True
    block = linear.schedule(made, isa)
    packed = w.packed(f"{op.name} weight", linear.pack(weight, block, isa))
    emit = partial(linear.emit, op=made, schedule=block, isa=isa)
    w.step((op.name, "linear"), (made, block), emit, source.place, packed, *ends)
    return True


def _as(w: Writer, name: str, shape: tuple[int, ...]) -> View:
    """A value in another shape, copied only where steps cannot tell it; numbers of its last axis
    lie side by side.
    """
    found = w.view(name)
    steps = found.steps.reshaped(shape)
    if steps is not None and 1 in (steps.strides[-1], shape[-1]):
        return View(found.place, steps)
    found = w.dense(name)
    steps = found.steps.reshaped(shape)
    assert steps is not None, "what has no gaps has any shape"
    return View(found.place, steps)


def _side_by_side(w: Writer, name: str) -> View:
    """A value whose last axis has steps of 1; copied where it has not."""
    found = w.view(name)
    return found if found.steps.strides[-1] == 1 else w.dense(name)


def _matmul(w: Writer, op: Op) -> bool:
    shape = w.plan.program.values[op.output].shape
    a, b = w.view(op.inputs[0]), _side_by_side(w, op.inputs[1])
    if min(len(a.steps.shape), len(b.steps.shape)) < 2:
        return False
    target = w.in_rows(op.output)
    left = a.steps.expanded((*shape[:-2], *a.steps.shape[-2:]))
    right = b.steps.expanded((*shape[:-2], *b.steps.shape[-2:]))
    made = matmul.Matmul(left, right, target)
    emit = partial(matmul.emit, op=made, isa=w.plan.isa)
    w.step((op.name, "matmul"), (made,), emit, a.place, b.place, plain_name(op.output))
    return True


def _attention(w: Writer, op: Op) -> bool:
    """The result lies with its heads side by side: turning them back moves nothing."""
    shape, isa = w.plan.program.values[op.output].shape, w.plan.isa
    query, turned = w.view(op.inputs[0]), w.view(op.inputs[1])
    axes = len(shape)
    swapped = (*range(axes - 2), axes - 1, axes - 2)
    key = View(turned.place, turned.steps.permuted(swapped))
    value = _side_by_side(w, op.inputs[2])
    mask = w.view(op.inputs[3]) if len(op.inputs) > 3 else None
    scores = (*shape[:-1], turned.steps.shape[-1])
    if mask is not None and mask.steps.strides and mask.steps.strides[-1] not in (0, 1):
        mask = w.dense(op.inputs[3])
    place = plain_name(op.output)
    kept = (*range(axes - 3), axes - 2, axes - 3, axes - 1)  # its own inverse
    held = rows(tuple(shape[axis] for axis in kept))
    w.plan.layouts[place] = plain(held.shape)
    w.plan.views[op.output] = View(place, held.permuted(kept))
    made = attention.Attention(
        query.steps,
        key.steps,
        value.steps,
        held.permuted(kept),
        op["scale"],
        mask.steps.expanded(scores) if mask else None,
    )
    scratch = f"{op.name} scratch"
    w.plan.scratch[scratch] = attention.workspace(made, isa)
    places = (query.place, key.place, value.place, mask.place if mask else query.place, place)
    emit = partial(attention.emit, op=made, isa=isa)
    w.step((op.name, "attention"), (made,), emit, *places, scratch)
    return True


# ── along axes ────────────────────────────────────────────────────────────────────────────────


def _softmax(w: Writer, op: Op) -> bool:
    last = len(w.plan.program.values[op.output].shape) - 1
    source = _side_by_side(w, op.inputs[0])
    target = w.in_rows(op.output)
    steps, along = source.steps, op["axis"] == last
    if not along:
        order = [axis for axis in range(last) if axis != op["axis"]] + [op["axis"], last]
        steps, target = steps.permuted(order), target.permuted(order)
    made = softmax.Softmax(steps, target, along)
    emit = partial(softmax.emit, op=made, isa=w.plan.isa)
    w.step((op.name, "softmax"), (made,), emit, source.place, plain_name(op.output))
    return True


def _layer_norm(w: Writer, op: Op) -> bool:
    shape, axes = w.plan.program.values[op.output].shape, op["axes"]
    size = math.prod(shape[len(shape) - axes :])
    flat = (math.prod(shape) // size, size)
    source = _as(w, op.inputs[0], flat)
    target = w.in_rows(op.output).reshaped(flat)
    assert target is not None, "a new value has no gaps"
    made = normalize.Normalize(source.steps, target, op["epsilon"], op["rms"])
    held = []
    for at, (what, default) in enumerate((("weight", 1.0), ("bias", 0.0)), start=1):
        stored = len(op.inputs) > at and op.inputs[at]
        array = w.array(op.inputs[at]) if stored else np.full(size, default, np.float32)
        held.append(w.packed(f"{op.name} {what}", array))
    emit = partial(normalize.emit, op=made, isa=w.plan.isa)
    w.step((op.name, "normalize"), (made,), emit, source.place, *held, plain_name(op.output))
    return True


def _reduce(w: Writer, op: Op) -> bool:
    source = w.view(op.inputs[0])
    axes = range(len(source.steps.shape))
    gone = sorted((axis for axis in axes if axis in op["axes"]), key=_far(source.steps))
    kept = [axis for axis in axes if axis not in op["axes"]]
    steps = source.steps.permuted((*kept, *gone))
    if not kept:
        steps = replace(steps, shape=(1, *steps.shape), strides=(0, *steps.strides))
    w.in_rows(op.output)
    target = rows(tuple(source.steps.shape[axis] for axis in kept) or (1,))
    made = reduce.Reduce(steps, target, op["function"], len(gone))
    emit = partial(reduce.emit, op=made, isa=w.plan.isa)
    w.step((op.name, "reduce"), (made,), emit, source.place, plain_name(op.output))
    return True


def _far(steps: Strided) -> Callable[[int], tuple[bool, int]]:
    """Sorts axes: those whose numbers lie nearest to each other last."""
    return lambda axis: (steps.shape[axis] > 1, -steps.strides[axis])


ROWS: Mapping[str, Callable[[Writer, Op], bool]] = {
    **MOVES,
    "affine": _affine,
    "attention": _attention,
    "binary": _binary,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "reduce": _reduce,
    "softmax": _softmax,
    "unary": _unary,
    "where": _where,
}
