"""What each kind of op becomes: steps added to a plan, or False where no kernel can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lighten.engine.choose import convolution, settled
from lighten.engine.images import plain
from lighten.engine.plan import Writer
from lighten.kernels import moves, pointwise, pool
from lighten.kernels.functions import BINARY, FUNCTIONS
from lighten.kernels.shapes import window
from lighten.program.ir import Op


def _conv(w: Writer, op: Op) -> bool:
    choice = w.chosen.get(op.name)
    bare = convolution(w.plan.program, op, w.plan.isa)
    if choice is None or bare is None or op.get("activation", "") not in FUNCTIONS:
        return False
    residual, kernel, schedule = op.get("residual"), choice.kernel, choice.schedule
    read, source = w.framed(op.inputs[0]) if bare.source.lanes == 1 else w.read(op.inputs[0])
    added = w.blocked(residual) if residual else None
    conv = settled(bare, source, w.make(op.output), added)
    weight = w.array(op.inputs[1])
    weight = weight.reshape(*weight.shape[:2], *conv.window.kernel)
    held = f"{op.name} weight"
    w.plan.packed[held] = kernel.pack(weight, conv, schedule)
    stored = len(op.inputs) > 2 and op.inputs[2]
    bias = w.array(op.inputs[2]) if stored else np.zeros(len(weight), np.float32)
    bias_name = w.per_channel(f"{op.name} bias", bias)
    given = [read, held, bias_name]
    given += [w.place(residual) if residual else bias_name, op.output]
    if kernel.workspace(conv, schedule):
        scratch = f"{op.name} scratch"
        w.plan.scratch[scratch] = kernel.workspace(conv, schedule)
        given.append(scratch)
    isa, name = w.plan.isa, kernel.__name__.rsplit(".", 1)[-1]
    w.step(
        (op.name, name),
        (conv, schedule),
        lambda name: kernel.emit(name, conv, schedule, isa),
        *given,
    )
    return True


def _unary(w: Writer, op: Op) -> bool:
    if op["function"] not in FUNCTIONS:
        return False
    made = pointwise.Unary(w.blocked(op.inputs[0]), w.make(op.output), op["function"])
    isa, x = w.plan.isa, w.place(op.inputs[0])
    w.step((op.name, "unary"), (made,), lambda name: pointwise.unary(name, made, isa), x, op.output)
    return True


def _affine(w: Writer, op: Op) -> bool:
    if op["axis"] != 0 or op.get("activation", "") not in FUNCTIONS:
        return False
    source = w.blocked(op.inputs[0])
    made = pointwise.Affine(source, w.make(op.output), op.get("activation", ""))
    given = [w.place(op.inputs[0])]
    for which, name in zip(("scale", "shift"), op.inputs[1:], strict=True):
        given.append(w.per_channel(f"{op.name} {which}", w.array(name)))
    isa = w.plan.isa
    emit = lambda name: pointwise.affine(name, made, isa)  # noqa: E731
    w.step((op.name, "affine"), (made,), emit, *given, op.output)
    return True


def _binary(w: Writer, op: Op) -> bool:
    if op["function"] not in BINARY or op.get("activation", "") not in FUNCTIONS:
        return False
    if not all(name in w.plan.program.values for name in op.inputs):
        return False
    size = w.size(op.output)
    if any(w.size(name) not in (size, (size[0], 1, 1)) for name in op.inputs):
        return False
    a, b = (w.blocked(name) for name in op.inputs)
    made = pointwise.Binary((a, b), w.make(op.output), op["function"], op.get("activation", ""))
    isa, given = w.plan.isa, [w.place(name) for name in op.inputs]
    emit = lambda name: pointwise.binary(name, made, isa)  # noqa: E731
    w.step((op.name, "binary"), (made,), emit, *given, op.output)
    return True


def _pool(w: Writer, op: Op) -> bool:
    padded = bool(op["include_pad"])
    unclear = padded and op["ceil"]
    if len(op["kernel"]) > 2 or op["function"] not in ("max", "average") or unclear:
        return False
    source = w.blocked(op.inputs[0])
    sliding = window(op, tuple(op["kernel"]))
    made = pool.Pool(source, w.make(op.output), sliding, op["function"], padded)
    isa, x = w.plan.isa, w.place(op.inputs[0])
    w.step((op.name, "pool"), (made,), lambda name: pool.emit(name, made, isa), x, op.output)
    return True


def _reduce(w: Writer, op: Op) -> bool:
    rank = len(w.plan.program.values[op.inputs[0]].shape)
    if op["function"] != "mean" or tuple(sorted(op["axes"])) != tuple(range(1, rank)):
        return False
    source, target, isa = w.blocked(op.inputs[0]), w.make(op.output), w.plan.isa
    emit = lambda name: pointwise.mean(name, source, target, isa)  # noqa: E731
    w.step((op.name, "mean"), (source, target), emit, w.place(op.inputs[0]), op.output)
    return True


def _reshape(w: Writer, op: Op) -> bool:
    """Channels stay channels, or the numbers are laid out in a row and read as another image."""
    size = w.size(op.output)
    if w.size(op.inputs[0]) == size:
        source, name = w.blocked(op.inputs[0]), w.place(op.inputs[0])
    else:
        source, name = plain(size), w.as_plain(op.inputs[0])
    w.box(op.name, moves.Move(source, w.make(op.output), size), name, op.output)
    return True


def _slice(w: Writer, op: Op) -> bool:
    shape = w.plan.program.values[op.inputs[0]].shape
    axis, step = op["axis"], op["step"]
    place = 2 if axis and len(shape) == 2 else axis  # a row's only side is its width
    if step < 1 or (place == 0 and step != 1):
        return False
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    begin, steps = [0, 0, 0], [1, 1, 1]
    begin[place], steps[place] = op["start"], step
    size = (target.channels, target.height, target.width)
    corner = (begin[0], begin[1], begin[2])
    move = moves.Move(source, target, size, corner, (steps[1], steps[2]))
    w.box(op.name, move, w.place(op.inputs[0]), op.output)
    return True


def _pad(w: Writer, op: Op) -> bool:
    rank = len(w.plan.program.values[op.inputs[0]].shape)
    if op["value"] != 0 or min(op["pads"]) < 0 or rank != 3:
        return False
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    w.fill(op.name, op.output)
    size = (source.channels, source.height, source.width)
    at = (op["pads"][0], op["pads"][1], op["pads"][2])
    move = moves.Move(source, target, size, at=at)
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


WRITERS: Mapping[str, Callable[[Writer, Op], bool]] = {
    "conv": _conv,
    "linear": _conv,
    "unary": _unary,
    "affine": _affine,
    "binary": _binary,
    "pool": _pool,
    "reduce": _reduce,
    "reshape": _reshape,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
}
