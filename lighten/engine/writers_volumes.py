"""What ops on values of more axes than an image become: planar, side by side in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from lighten.engine.choose import Array, in_phases
from lighten.engine.writer import Writer, plain_name
from lighten.engine.writers_images import normalise
from lighten.kernels import group_norm, im2col, resize, volume_pool, volumes
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked
from lighten.program.ir import Op


def room(w: Writer, name: str, floats: int) -> str:
    """So many numbers in a row for each sample."""
    w.plan.layouts[name] = Blocked(1, 1, floats, 1)
    return name


def room_of(w: Writer, name: str) -> str:
    """Room for a value of the program, row-major."""
    w.in_rows(name)
    return plain_name(name)


def _bias(w: Writer, op: Op, filters: int) -> Array:
    stored = op.inputs[2] if len(op.inputs) > 2 else ""
    return w.array(stored) if stored else np.zeros(filters, np.float32)


def _conv(w: Writer, op: Op) -> bool:
    if op.get("activation", "") not in FUNCTIONS:
        return False
    weight = w.array(op.inputs[1])
    channels, *size = w.plan.program.values[op.inputs[0]].shape
    window = volumes.slide(op, weight.shape[2:])
    conv = volumes.Conv(
        channels, len(weight), tuple(size), window, op["groups"], op.get("activation", "")
    )
    bias = _bias(w, op, len(weight))
    _call(w, op, conv, (weight, bias), (w.as_plain(op.inputs[0]), room_of(w, op.output)))
    return True


def _call(
    w: Writer, op: Op, conv: volumes.Conv, stored: tuple[Array, Array], names: tuple[str, str]
) -> None:
    """The frame of zeros where there is one, then the matrix product."""
    (weight, bias), (x, y), isa = stored, names, w.plan.isa
    if not conv.source.bare:
        framed, to = room(w, f"{op.name} framed", conv.source.floats), conv.source
        w.step((op.name, "frame"), (to,), partial(volumes.frame, to=to, isa=isa), x, framed)
        x = framed
    plan = im2col.schedule(conv, isa)
    w.plan.packed[f"{op.name} weight"] = im2col.pack(weight, conv, plan)
    w.plan.packed[f"{op.name} bias"] = bias
    w.plan.scratch[f"{op.name} scratch"] = im2col.workspace(conv, plan, isa)
    given = (x, f"{op.name} weight", f"{op.name} bias", y, f"{op.name} scratch")
    emit = partial(im2col.emit, conv=conv, plan=plan, isa=isa)
    w.step((op.name, "im2col"), (conv, plan), emit, *given)


def _conv_transpose(w: Writer, op: Op) -> bool:
    """A convolution to all phases, which are then put in their places."""
    if op.get("activation", "") not in FUNCTIONS:
        return False
    split, groups = in_phases(w.plan.program, op), op["groups"]
    weight = w.array(op.inputs[1])
    channels, *size = w.plan.program.values[op.inputs[0]].shape
    filters = weight.shape[1]
    turned = split.weights(weight, groups)
    held = turned.reshape(-1, *turned.shape[3:])
    bias = _bias(w, op, groups * filters).reshape(groups, 1, filters)
    shift = np.broadcast_to(bias, turned.shape[:3]).reshape(-1)
    conv = volumes.Conv(
        channels, len(held), tuple(size), split.window, groups, op.get("activation", "")
    )
    stored, x = (held, np.ascontiguousarray(shift)), w.as_plain(op.inputs[0])
    if split.count == 1 and conv.results == split.results:
        _call(w, op, conv, stored, (x, room_of(w, op.output)))
        return True
    phases = room(w, f"{op.name} phases", conv.filters * math.prod(conv.results))
    _call(w, op, conv, stored, (x, phases))
    of = volumes.Interleaved(groups, filters, conv.results, split.results, split.strides)
    emit = partial(volumes.interleave, of=of, isa=w.plan.isa)
    w.step((op.name, "interleave"), (of,), emit, phases, room_of(w, op.output))
    return True


def _pool(w: Writer, op: Op) -> bool:
    channels, *size = w.plan.program.values[op.inputs[0]].shape
    results = w.plan.program.values[op.output].shape[1:]
    window = volumes.slide(op, op["kernel"])
    made = volume_pool.Pool(
        channels, tuple(size), results, window, op["function"], bool(op["include_pad"])
    )
    emit, x = partial(volume_pool.emit, pool=made, isa=w.plan.isa), w.as_plain(op.inputs[0])
    w.step((op.name, "pool"), (made,), emit, x, room_of(w, op.output))
    return True


def _group_norm(w: Writer, op: Op) -> bool:
    channels, *size = w.plan.program.values[op.inputs[0]].shape
    layout = Blocked(channels, 1, math.prod(size), 1)
    made = group_norm.GroupNorm(layout, layout, op["groups"], op["epsilon"])
    normalise(w, op, made, (w.as_plain(op.inputs[0]), room_of(w, op.output)))
    return True


def _resize(w: Writer, op: Op) -> bool:
    """One axis after the other, those that change."""
    how = resize.Sampling(op["mode"], op["align_corners"])
    shape, x = list(w.plan.program.values[op.inputs[0]].shape), w.as_plain(op.inputs[0])
    changed = [a for a, size in enumerate(op["size"], 1) if shape[a] != size] or [1]
    for a in changed:
        outer, inner, size = math.prod(shape[:a]), math.prod(shape[a + 1 :]), op["size"][a - 1]
        made, places = resize.Axis(outer, shape[a], inner, size, how), f"{op.name} places {a}"
        w.plan.packed[places] = resize.table(shape[a], size, how, 4 * inner)
        last = a == changed[-1]
        y = room_of(w, op.output) if last else room(w, f"{op.name} {a}", outer * size * inner)
        w.step(
            (op.name, "resize"),
            (made,),
            partial(resize.along, op=made, isa=w.plan.isa),
            x,
            places,
            y,
        )
        shape[a], x = size, y
    return True


VOLUMES: Mapping[str, Callable[[Writer, Op], bool]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "pool": _pool,
    "group_norm": _group_norm,
    "resize": _resize,
}
