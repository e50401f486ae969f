"""Lowering rules that move numbers: reshape, permute, slice, join, pad, resize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.network.lower_step import Constant, Flow, Layout, Step, Unsupported

END = 2**62  # torch writes "to the end" as the largest integer
SCALES = ("scale_factors", "scales", "scales_d", "scales_h", "scales_w")


def same(step: Step) -> Flow:
    """Nothing happens: dropout in eval, contiguous, detach, a cast between float types."""
    name = next(iter(step.arguments))
    return step.flow(name)


def reshape(step: Step) -> Flow:
    """view, flatten, squeeze, …: whatever the arguments, the trace knows the result's shape."""
    x = step.flow("self")
    return step.reshape(x, step.shape)


def reshaped_layout(old: Layout, before: Sequence[int], after: Sequence[int], axis: int) -> Layout:
    """Where the batch is after a view that left it on torch axis `axis`.

    Shapes are torch's, with a batch of one. A view keeps the number of entries outside the batch.
    """
    outside = math.prod(before[: old.axis]) * old.outer
    outer, rest = divmod(outside, math.prod(after[:axis]))
    if rest or after[axis] % max(outer, 1) or outer == 0:
        raise Unsupported("it moves numbers from one sample to another")
    return Layout(axis, outer, after[axis] // outer)


def permute(step: Step) -> Flow:
    """Axes in another order; the batch may move too."""
    x = step.flow("self")
    dims = [dim % x.rank for dim in order(step, x.rank)]
    if x.layout.merged > 1:
        return step.transpose(x, dims)
    return step.transpose(x, [x.axis(dim) for dim in dims if dim != x.layout.axis])


def order(step: Step, rank: int) -> Sequence[int]:
    """The permutation that permute, transpose or t asks for."""
    if "dims" in step.arguments:
        return list(step["dims"])
    a, b = step.arguments.get("dim0", 0) % rank, step.arguments.get("dim1", rank - 1) % rank
    dims = list(range(rank))
    dims[a], dims[b] = dims[b], dims[a]
    return dims


def cut(step: Step, x: Flow, axis: int, start: int, stop: int, stride: int = 1) -> Flow:
    """Indices start, start + stride, … below stop along one per-sample axis."""
    size = x.shape[axis]
    start = min(max(start + size if start < 0 else start, 0), size)
    stop = min(max(stop + size if stop < 0 else stop, start), size)
    if (start, stop, stride) == (0, size, 1):
        return x
    shape = list(x.shape)
    shape[axis] = len(range(start, stop, stride))
    bounds = {"axis": axis, "start": start, "stop": stop, "step": stride}
    return step.emit("slice", [x.name], shape, **bounds)


def slice_(step: Step) -> Flow:
    """x[start:end:step] along one dimension."""
    x = step.flow("self")
    start, stop = step["start"] or 0, END if step["end"] is None else step["end"]
    axis = x.axis(step["dim"])
    y = cut(step, x, axis, start, stop, step["step"])
    return step.measured(x, y) if x.shape[axis] <= stop < END else y


def select(step: Step) -> Flow:
    """x[index] along one dimension, which goes."""
    x = step.flow("self")
    axis = x.axis(step["dim"])
    index = step["index"] % x.shape[axis]
    return step.reshape(cut(step, x, axis, index, index + 1), step.shape)


def narrow(step: Step) -> Flow:
    """`length` indices from `start`."""
    x = step.flow("self")
    return cut(step, x, x.axis(step["dim"]), step["start"], step["start"] + step["length"])


def pieces(step: Step, x: Flow, sizes: Sequence[int]) -> list[Flow]:
    """Consecutive slices of those sizes."""
    axis = x.axis(step["dim"])
    stops = np.cumsum(sizes).tolist()
    return [cut(step, x, axis, a, b) for a, b in zip([0, *stops], stops, strict=False)]


def chunk(step: Step) -> list[Flow]:
    """That many pieces, the last one smaller where they do not divide."""
    x = step.flow("self")
    size = x.shape[x.axis(step["dim"])]
    each = -(-size // step["chunks"])
    return pieces(step, x, [min(each, size - at) for at in range(0, size, each)])


def split(step: Step) -> list[Flow]:
    """Pieces of a size, or of listed sizes."""
    x = step.flow("self")
    size = x.shape[x.axis(step["dim"])]
    each = step.arguments.get("split_size", step.arguments.get("split_sizes"))
    if not isinstance(each, int):
        return pieces(step, x, list(each))
    return pieces(step, x, [min(each, size - at) for at in range(0, size, each)])


def unbind(step: Step) -> list[Flow]:
    """Every index of one dimension, which goes."""
    x = step.flow("self")
    axis = x.axis(step["dim"])
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return [step.reshape(cut(step, x, axis, i, i + 1), shape) for i in range(x.shape[axis])]


def concat(step: Step) -> Flow:
    """Operands one after the other; those that do not flow come in by padding and adding."""
    operands = step["tensors"]
    first = next(operand for operand in operands if isinstance(operand, Flow))
    return joined(step, operands, first.axis(step["dim"]), step.shape)


def stack(step: Step) -> Flow:
    """Operands along a new dimension."""
    dim = step["dim"] % step.rank
    if dim == step.layout.axis:
        raise Unsupported("it puts a dimension into the batch")
    axis = dim - (step.layout.merged == 1 and dim > step.layout.axis)
    shape = (*step.shape[:axis], 1, *step.shape[axis + 1 :])
    operands = [
        step.reshape(operand, shape)
        if isinstance(operand, Flow)
        else replace(operand, tensor=operand.tensor.unsqueeze(dim))
        for operand in step["tensors"]
    ]
    return joined(step, operands, axis, step.shape)


def joined(step: Step, operands: Sequence[Any], axis: int, shape: Sequence[int]) -> Flow:
    """A concat; what does not flow is stored as one sample has it."""
    names = []
    for operand in operands:
        if isinstance(operand, Constant):
            if not operand.batch:
                raise Unsupported("a constant differs between samples")
            sample = operand.sample(operand.tensor.ndim, step.layout)
            names.append(step.draft.store(operand.name, sample))
        elif operand.layout != step.layout:
            raise Unsupported("its operands have their batch on different dimensions")
        else:
            names.append(operand.name)
    return step.emit("concat", names, shape, axis=axis)


def pad(step: Step) -> Flow:
    """Constant padding; torch lists the last dimension first, as begin, end pairs."""
    x = step.flow("self")
    amounts = list(step["pad"])
    axes = len(x.shape)
    begins, ends = [0] * axes, [0] * axes
    for number, (begin, end) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        if begin or end:
            axis = x.axis(-1 - number)
            begins[axis], ends[axis] = begin, end
    for axis in range(axes):  # negative padding cuts
        begin, end = max(-begins[axis], 0), max(-ends[axis], 0)
        x = cut(step, x, axis, begin, x.shape[axis] - end)
    pads = tuple(max(amount, 0) for amount in (*begins, *ends))
    y = x
    if any(pads):
        y = step.emit("pad", [x.name], step.shape, pads=pads, value=float(step["value"] or 0.0))
    return y if step.stated else step.measured(x, y)


def expand(step: Step) -> Flow:
    """Size-one axes repeated; new axes come in front of the per-sample ones."""
    x = step.flow("self")
    if x.layout.axis + step.rank - x.rank != step.layout.axis:
        raise Unsupported("it puts dimensions before the batch")
    lead = (1,) * (len(step.shape) - len(x.shape))
    x = step.reshape(x, (*lead, *x.shape))
    if x.shape == step.shape:
        return x
    return step.emit("expand", [x.name], step.shape, shape=step.shape)


def repeat(step: Step) -> Flow:
    """Copies side by side."""
    x = step.flow("self")
    counts = list(step["repeats"])
    if len(counts) != x.rank:
        raise Unsupported("new dimensions are not supported")
    for dim, count in enumerate(counts):
        if dim == x.layout.axis and count == 1:
            continue
        if count > 1:
            axis = x.axis(dim)
            shape = [size * (count if at == axis else 1) for at, size in enumerate(x.shape)]
            x = step.emit("concat", [x.name] * count, shape, axis=axis)
    return x


def resize(mode: str) -> Any:
    """Upsampling by "nearest" or "linear" interpolation, to the size the trace has."""

    def rule(step: Step) -> Flow:
        x = step.flow("input" if "input" in step.arguments else "self", leading=True)
        settings: dict[str, Any] = {"size": step.shape[1:], "mode": mode}
        settings["align_corners"] = bool(step.arguments.get("align_corners", False))
        check_scale(step, x)
        scaled = any(step.arguments.get(name) for name in SCALES)
        known = scaled or (not step.stated and x.shape != step.shape and _seen(step))
        y = step.emit("resize", [x.name], step.shape, **settings)
        return y if known else step.measured(x, y)

    return rule


def _seen(step: Step) -> bool:
    """Whether some value has the size that is asked for: then that is what it follows."""
    return any(value.shape[1:] == step.shape[1:] for value in step.draft.values.values())


def check_scale(step: Step, x: Flow) -> None:
    """A scale that does not give a whole size samples at other places than the size says."""
    scales = step.arguments.get("scale_factors")
    for scale, old, new in zip(scales or (), x.shape[1:], step.shape[1:], strict=False):
        if abs(old * scale - new) > 1e-6:
            raise Unsupported("a scale factor that does not give a whole size is not supported")


def channel_shuffle(step: Step) -> Flow:
    """Groups of channels interleaved: reshape, transpose, reshape."""
    x = step.flow("self", leading=True)
    groups = step["groups"]
    parts = step.reshape(x, (groups, x.shape[0] // groups, *x.shape[1:]))
    turned = step.transpose(parts, [1, 0, *range(2, len(parts.shape))])
    return step.reshape(turned, x.shape)


def pixel_shuffle(step: Step) -> Flow:
    """[c·r², h, w] to [c, h·r, w·r]."""
    x = step.flow("self", leading=True)
    r = step["upscale_factor"]
    channels, height, width = x.shape
    parts = step.reshape(x, (channels // r**2, r, r, height, width))
    return step.reshape(step.transpose(parts, [0, 3, 1, 4, 2]), step.shape)


def pixel_unshuffle(step: Step) -> Flow:
    """[c, h·r, w·r] to [c·r², h, w]."""
    x = step.flow("self", leading=True)
    r = step["downscale_factor"]
    channels, height, width = x.shape
    parts = step.reshape(x, (channels, height // r, r, width // r, r))
    return step.reshape(step.transpose(parts, [0, 2, 4, 1, 3]), step.shape)
