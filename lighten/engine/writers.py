"""What each kind of op becomes: steps added to a plan, or False where no kernel can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lighten.engine.choose import settled
from lighten.engine.images import plain
from lighten.engine.writer import Writer
from lighten.engine.writers_images import IMAGES, call, fill
from lighten.kernels import moves, pointwise
from lighten.kernels.functions import BINARY, FUNCTIONS
from lighten.program.ir import Op


def _conv(w: Writer, op: Op) -> bool:
    choice = w.plan.chosen.get(op.name)
    if choice is None:
        return False
    bare = replace(choice.conv, activation=op.get("activation", ""))  # after what was joined
    residual = op.get("residual")
    read, source = w.framed(op.inputs[0]) if bare.source.lanes == 1 else w.read(op.inputs[0])
    added = w.blocked(residual) if residual else None
    conv = settled(bare, source, w.make(op.output), added)
    weight = w.array(op.inputs[1])
    weight = weight.reshape(*weight.shape[:2], *conv.window.kernel)
    stored = len(op.inputs) > 2 and op.inputs[2]
    bias = w.array(op.inputs[2]) if stored else np.zeros(len(weight), np.float32)
    names = (read, w.place(residual) if residual else "", op.output)
    call(w, op, (conv, choice), (weight, bias), names)
    return True


def _unary(w: Writer, op: Op) -> bool:
    if op["function"] not in FUNCTIONS:
        return False
    made = pointwise.Unary(w.blocked(op.inputs[0]), w.make(op.output), op["function"])
    isa, x = w.plan.isa, w.place(op.inputs[0])
    w.step((op.name, "unary"), (made,), partial(pointwise.unary, op=made, isa=isa), x, op.output)
    return True


def _affine(w: Writer, op: Op) -> bool:
    if op["axis"] != 0:
        return False
    source = w.blocked(op.inputs[0])
    made = pointwise.Affine(source, w.make(op.output), op.get("activation", ""))
    given = [w.place(op.inputs[0])]
    for which, name in zip(("scale", "shift"), op.inputs[1:], strict=True):
        given.append(w.per_channel(f"{op.name} {which}", w.array(name)))
    isa = w.plan.isa
    emit = partial(pointwise.affine, op=made, isa=isa)
    w.step((op.name, "affine"), (made,), emit, *given, op.output)
    return True


def _binary(w: Writer, op: Op) -> bool:
    if op["function"] not in BINARY or op.get("activation", "") not in FUNCTIONS:
        return False
    if not all(name in w.plan.program.values for name in op.inputs):
        return False
    values, size = w.plan.program.values, w.size(op.output)
    if len({len(values[name].shape) for name in (*op.inputs, op.output)}) > 1:
        return False  # aligned from the end: not channels with channels
    if any(w.size(name) not in (size, (size[0], 1, 1)) for name in op.inputs):
        return False
    a, b = (w.blocked(name) for name in op.inputs)
    made = pointwise.Binary((a, b), w.make(op.output), op["function"], op.get("activation", ""))
    isa, given = w.plan.isa, [w.place(name) for name in op.inputs]
    emit = partial(pointwise.binary, op=made, isa=isa)
    w.step((op.name, "binary"), (made,), emit, *given, op.output)
    return True


def _reshape(w: Writer, op: Op) -> bool:
    """Channels stay channels, or the numbers are laid out in a row and read as another image."""
    size = w.size(op.output)
    if w.size(op.inputs[0]) == size:
        source, name = w.blocked(op.inputs[0]), w.place(op.inputs[0])
    else:
        name, whole = w.as_plain(op.inputs[0]), w.size(op.output)
        source = replace(plain(whole), size=w.plan.layouts[name].size)
    w.box(op.name, moves.Move(source, w.make(op.output), size), name, op.output)
    return True


def _slice(w: Writer, op: Op) -> bool:
    shape = w.plan.program.values[op.inputs[0]].shape
    axis, step = op["axis"], op["step"]
    place = 2 if axis and len(shape) == 2 else axis  # a row's only side is its width
    if step < 1:
        return False
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    begin, steps = [0, 0, 0], [1, 1, 1]
    begin[place] = slice(op["start"], op["stop"], step).indices(shape[axis])[0]
    steps[place] = step
    size = (target.channels, target.height, target.width)
    corners = (begin[0], begin[1], begin[2]), (steps[0], steps[1], steps[2])
    move = moves.Move(source, target, size, *corners)
    w.box(op.name, move, w.place(op.inputs[0]), op.output)
    return True


def _crop(w: Writer, op: Op) -> bool:
    """Slices and what pads them, in one move."""
    source, target, pads = w.blocked(op.inputs[0]), w.make(op.output), op["pads"]
    if any(pads):
        fill(w, op, target)
    wide = (target.channels, target.height, target.width)
    channels, rows, columns = (
        size - low - high for size, low, high in zip(wide, pads[:3], pads[3:], strict=True)
    )
    size = (channels, rows, columns)
    move = moves.Move(source, target, size, op["begin"], op["steps"], at=pads[:3])
    w.box(op.name, move, w.place(op.inputs[0]), op.output)
    return True


def _concat(w: Writer, op: Op) -> bool:
    if op["axis"] != 0 or not all(name in w.plan.program.values for name in op.inputs):
        return False
    sources = [w.blocked(name) for name in op.inputs]
    target, at = w.make(op.output), 0
    for name, source in zip(op.inputs, sources, strict=True):
        size = (source.channels, source.height, source.width)
        w.box(op.name, moves.Move(source, target, size, at=(at, 0, 0)), w.place(name), op.output)
        at += source.channels
    return True


def _shuffle(w: Writer, op: Op) -> bool:
    """Channel i of group g goes to i · groups + g: every group is spread over all of them."""
    source, target, groups = w.blocked(op.inputs[0]), w.make(op.output), op["groups"]
    each = source.channels // groups
    size = (each, source.height, source.width)
    for group in range(groups):
        corners = {"begin": (group * each, 0, 0), "at": (group, 0, 0), "spread": (groups, 1, 1)}
        move = moves.Move(source, target, size, **corners)
        w.box(op.name, move, w.place(op.inputs[0]), op.output)
    return True


WRITERS: Mapping[str, Callable[[Writer, Op], bool]] = {
    "conv": _conv,
    **IMAGES,
    "shuffle": _shuffle,
    "linear": _conv,
    "unary": _unary,
    "affine": _affine,
    "binary": _binary,
    "reshape": _reshape,
    "slice": _slice,
    "crop": _crop,
    "concat": _concat,
}
