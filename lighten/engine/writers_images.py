"""What the rarer ops on images become, and the call of a convolution's kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from lighten.engine.choose import Array, Choice, apart, in_phases, settled
from lighten.engine.writer import Writer
from lighten.kernels import group_norm, moves, pool, resize, spatial, transposed
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, window
from lighten.kernels.volumes import Size
from lighten.program.ir import Op


def call(
    w: Writer,
    op: Op,
    chosen: tuple[Conv, Choice],
    stored: tuple[Array, Array],
    names: tuple[str, str, str],
) -> None:
    """Call a convolution's kernel on its weight and bias; names of x, of what is added, of y."""
    (conv, choice), (weight, bias), (x, added, y) = chosen, stored, names
    kernel, schedule, isa = choice.kernel, choice.schedule, w.plan.isa
    held = f"{op.name} weight"
    w.plan.packed[held] = kernel.pack(weight, conv, schedule)
    bias_name = w.per_channel(f"{op.name} bias", bias)
    given = [x, held, bias_name, added or bias_name, y]
    if kernel.workspace(conv, schedule):
        scratch = f"{op.name} scratch"
        w.plan.scratch[scratch] = kernel.workspace(conv, schedule)
        given.append(scratch)
    name = kernel.__name__.rsplit(".", 1)[-1]
    w.step(
        (op.name, name),
        (conv, schedule),
        partial(kernel.emit, conv=conv, schedule=schedule, isa=isa),
        *given,
    )


def _conv_transpose(w: Writer, op: Op) -> bool:
    """A convolution to all phases, whose results are then put in their places."""
    choice = w.plan.chosen.get(op.name)
    if choice is None:
        return False
    made, groups = in_phases(w.plan.program, op), op["groups"]
    weight = w.array(op.inputs[1])
    bias = w.array(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else 0.0
    filters = weight.shape[1]
    wide = apart(made, filters, groups, w.plan.isa.lanes)
    held = np.zeros(
        (groups, made.count, wide, weight.shape[0] // groups, *choice.conv.window.kernel),
        np.float32,
    )
    turned = made.weights(weight, groups)
    held[:, :, :filters] = turned.reshape(*turned.shape[:4], *choice.conv.window.kernel)
    shift = np.zeros((groups, made.count, wide), np.float32)
    shift[:, :, :filters] = np.broadcast_to(bias, groups * filters).reshape(groups, 1, filters)
    name, source = w.read(op.inputs[0])
    target, stored = w.make(op.output), (held.reshape(-1, *held.shape[3:]), shift.reshape(-1))
    if choice.conv.target == target.with_halo(Halo()):  # one phase, the whole of it
        conv = settled(choice.conv, source, target, None)
        call(w, op, (conv, choice), stored, (name, "", op.output))
        return True
    phases = f"{op.name} phases"
    w.plan.layouts[phases] = choice.conv.target
    conv = settled(choice.conv, source, choice.conv.target, None)
    call(w, op, (conv, choice), stored, (name, "", phases))
    for box in _places(made, conv, target, (groups, filters, wide)):
        w.box(op.name, box, phases, op.output)
    return True


def _places(
    made: transposed.Phases, conv: Conv, target: Blocked, sizes: tuple[int, int, int]
) -> Iterator[moves.Move]:
    """Where each phase of each group goes; groups of few filters are taken filter by filter."""
    groups, filters, wide = sizes
    for phase in range(made.count):
        if not all(made.size(phase)):
            continue
        for part in range(min(groups, filters)):
            if groups > filters:
                count, first, to = groups, phase * wide + part, part
                steps, spread = made.count * wide, filters
            else:
                count, first, to = filters, (part * made.count + phase) * wide, part * filters
                steps, spread = 1, 1
            yield moves.Move(
                conv.target,
                target,
                _corner(count, made.size(phase), 1),
                (first, 0, 0),
                (steps, 1, 1),
                _corner(to, made.corner(phase), 0),
                _corner(spread, made.strides, 1),
            )


def _corner(channels: int, spatial: Size, missing: int) -> moves.Corner:
    """Channels, rows and columns, where there may be no rows."""
    rows, columns = (missing, *spatial)[-2:]
    return channels, rows, columns


def _pool(w: Writer, op: Op) -> bool:
    source, sliding = w.blocked(op.inputs[0]), window(op, tuple(op["kernel"]))
    padded = bool(op["include_pad"])
    made = pool.Pool(source, w.make(op.output), sliding, op["function"], padded)
    emit, x = partial(pool.emit, pool=made, isa=w.plan.isa), w.place(op.inputs[0])
    w.step((op.name, "pool"), (made,), emit, x, op.output)
    return True


def _resize(w: Writer, op: Op) -> bool:
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    made = resize.Resize(source, target, resize.Sampling(op["mode"], op["align_corners"]))
    tables = f"{op.name} rows", f"{op.name} columns"
    sides = (source.height, target.height, source.row), (source.width, target.width, source.pixel)
    for name, (extent, size, step) in zip(tables, sides, strict=True):
        w.plan.packed[name] = resize.table(extent, size, made.how, step)
    emit, x = partial(resize.emit, op=made, isa=w.plan.isa), w.place(op.inputs[0])
    w.step((op.name, "resize"), (made,), emit, x, *tables, op.output)
    return True


def _group_norm(w: Writer, op: Op) -> bool:
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    made = group_norm.GroupNorm(source, target, op["groups"], op["epsilon"])
    normalise(w, op, made, (w.place(op.inputs[0]), op.output))
    return True


def normalise(w: Writer, op: Op, made: group_norm.GroupNorm, names: tuple[str, str]) -> None:
    """Call the kernel, with ones and zeros for a weight and a bias that are not there."""
    weight, bias = (*op.inputs[1:], "", "")[:2]
    stored = w.array(weight) if weight else np.ones(made.source.channels, np.float32)
    shift = w.array(bias) if bias else np.zeros(made.source.channels, np.float32)
    scratch = f"{op.name} scratch"
    w.plan.scratch[scratch] = group_norm.workspace(made)
    given = w.per_channel(f"{op.name} weight", stored), w.per_channel(f"{op.name} bias", shift)
    emit, (x, y) = partial(group_norm.emit, op=made, isa=w.plan.isa), names
    w.step((op.name, "group_norm"), (made,), emit, x, *given, y, scratch)


def _reduce(w: Writer, op: Op) -> bool:
    """Over rows, columns, or both: channels stay."""
    rank, axes = len(w.plan.program.values[op.inputs[0]].shape), set(op["axes"])
    if not axes or 0 in axes:
        return False
    columns, rows = rank - 1 in axes, rank == 3 and 1 in axes
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    made = spatial.Reduce(source, target, op["function"], rows, columns)
    emit, x = partial(spatial.emit, op=made, isa=w.plan.isa), w.place(op.inputs[0])
    w.step((op.name, op["function"]), (made,), emit, x, op.output)
    return True


def fill(w: Writer, op: Op, target: Blocked) -> None:
    """The number that an op pads with, everywhere."""
    value = w.blank(op.output) if target.size == 1 else op["value"]
    emit = partial(moves.fill, layout=target, value=value, isa=w.plan.isa)
    w.step((op.name, "fill"), (target, value), emit, op.output)


def _pad(w: Writer, op: Op) -> bool:
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    channels, *before = op["pads"][: len(op["pads"]) // 2]
    at = _corner(channels, (0, *before)[-2:], 0)
    fill(w, op, target)
    size = (source.channels, source.height, source.width)
    move = moves.Move(source, target, size, at=at)
    w.box(op.name, move, w.place(op.inputs[0]), op.output)
    return True


IMAGES: Mapping[str, Callable[[Writer, Op], bool]] = {
    "conv_transpose": _conv_transpose,
    "pool": _pool,
    "resize": _resize,
    "group_norm": _group_norm,
    "reduce": _reduce,
    "pad": _pad,
}
