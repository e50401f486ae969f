"""ONNX ops that slide, pool, reshape and pick, by torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lighten.network.onnx_in.arguments import Arguments, Known, NotKnown

Rule = Callable[[Arguments], Any]
CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE: Mapping[int, Callable[..., Tensor]] = {
    1: F.avg_pool1d,
    2: F.avg_pool2d,
    3: F.avg_pool3d,
}


def _edges(
    a: Arguments, x: Tensor, kernel: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial dimension, `auto_pad` worked out."""
    rank, mode = len(kernel), a.get("auto_pad", "NOTSET")
    dilations = a.get("dilations") or [1] * rank
    if mode in ("NOTSET", "VALID"):
        pads = list(a.get("pads") or [0] * (2 * rank)) if mode == "NOTSET" else [0] * (2 * rank)
        return pads[:rank], pads[rank:]
    totals = [
        max((-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size, 0)
        for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _padded(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float) -> Tensor:
    pairs = [n for b, e in zip(reversed(begin), reversed(end), strict=True) for n in (b, e)]
    return F.pad(x, pairs, value=value) if any(pairs) else x


def conv(a: Arguments) -> Tensor:
    """Conv whose padding differs between the sides, or whose weights flow."""
    x, weight = a.tensor(0), a.tensor(1)
    rank = weight.ndim - 2
    strides = tuple(a.get("strides") or [1] * rank)
    begin, end = _edges(a, x, weight.shape[2:], strides)
    settings = {"stride": strides, "dilation": tuple(a.get("dilations") or [1] * rank)}
    x = _padded(x, begin, end, 0.0)
    bias = a.tensor(2) if a.has(2) else None
    return CONVS[rank](x, weight, bias, groups=a.get("group", 1), **settings)


def conv_transpose(a: Arguments) -> Tensor:
    """ConvTranspose; unequal padding is cropped off afterwards."""
    x, weight = a.tensor(0), a.tensor(1)
    rank = weight.ndim - 2
    strides = tuple(a.get("strides") or [1] * rank)
    if a.get("output_shape") or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotKnown("a ConvTranspose with output_shape or auto_pad is not supported")
    pads = list(a.get("pads") or [0] * (2 * rank))
    y: Tensor = TRANSPOSED[rank](
        x,
        weight,
        a.tensor(2) if a.has(2) else None,
        strides,
        0,
        tuple(a.get("output_padding") or [0] * rank),
        a.get("group", 1),
        tuple(a.get("dilations") or [1] * rank),
    )
    return _padded(y, [-n for n in pads[:rank]], [-n for n in pads[rank:]], 0.0)


def pool(kind: str) -> Rule:
    """MaxPool and AveragePool."""

    def rule(a: Arguments) -> Tensor:
        x, kernel = a.tensor(), list(a["kernel_shape"])
        strides = list(a.get("strides") or [1] * len(kernel))
        begin, end = _edges(a, x, kernel, strides)
        ceil, inside = bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0))
        fits = begin == end and all(2 * p <= k for p, k in zip(begin, kernel, strict=True))
        if not fits:
            if kind == "average" and not inside:
                raise NotKnown("an average over unequal padding that is not counted")
            x = _padded(x, begin, end, -math.inf if kind == "max" else 0.0)
            begin = [0] * len(kernel)
        if kind == "max":
            dilations = a.get("dilations") or [1] * len(kernel)
            return MAX[len(kernel)](x, kernel, strides, begin, dilations, ceil)
        return AVERAGE[len(kernel)](x, kernel, strides, begin, ceil, inside)

    return rule


def _everywhere(function: Callable[..., Tensor]) -> Rule:
    """GlobalAveragePool, GlobalMaxPool."""
    return lambda a: function(a.tensor(), tuple(range(2, a.tensor().ndim)), True)


def _reshape(a: Arguments) -> Tensor:
    x, shape = a.tensor(), a.setting("shape", 1)
    if not a.get("allowzero"):
        shape = [x.shape[at] if isinstance(n, int) and n == 0 else n for at, n in enumerate(shape)]
    return x.reshape(shape)


def _flatten(a: Arguments) -> Tensor:
    x, axis = a.tensor(), a.get("axis", 1)
    if axis % max(x.ndim, 1) == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _unsqueeze(a: Arguments) -> Tensor:
    x, axes = a.tensor(), a.setting("axes", 1)
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Arguments) -> Tensor:
    x, axes = a.tensor(), a.setting("axes", 1)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _transpose(a: Arguments) -> Tensor:
    x = a.tensor()
    return x.permute(a.get("perm") or list(reversed(range(x.ndim))))


def _expand(a: Arguments) -> Tensor:
    x, shape = a.tensor(), a.numbers(1)
    assert shape is not None
    shape = [1] * (x.ndim - len(shape)) + shape
    ahead = len(shape) - x.ndim
    wide = [
        x.shape[at - ahead] if at >= ahead and isinstance(n, int) and n == 1 else n
        for at, n in enumerate(shape)
    ]
    return x.expand(wide)


def _slice(a: Arguments) -> Tensor:
    x = a.tensor()
    starts, ends = a.setting("starts", 1), a.setting("ends", 2)
    axes = a.setting("axes", 3, range(len(starts)))
    steps = a.numbers(4, [1] * len(starts))
    assert steps is not None
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            size = x.shape[axis]
            places = range(*slice(start, None if end < -size else end, step).indices(size))
            x = x.index_select(axis, torch.tensor(list(places)))
        else:
            index: list[Any] = [slice(None)] * x.ndim
            index[axis] = slice(start, end, step)
            x = x[tuple(index)]
    return x


def _split(a: Arguments) -> list[Tensor]:
    x, axis, sizes = a.tensor(), a.get("axis", 0), a.setting("split", 1)
    if sizes is None:
        parts = int(a.get("num_outputs", len(a.node.outputs)))
        return list(torch.split(x, -(-x.shape[axis] // parts), axis))
    return list(torch.split(x, sizes, axis))


def _gather(a: Arguments) -> Tensor:
    x, axis = a.tensor(0), a.get("axis", 0)
    places = a.values[1]
    if isinstance(places, Tensor):
        if axis != 0:
            raise NotKnown("places that depend on the data, along an axis that is not the first")
        return F.embedding(places, x) if x.ndim == 2 else x[places]
    assert places is not None
    if places.ndim == 0:
        return x.select(axis, int(places))
    chosen = x.index_select(axis, torch.from_numpy(places.reshape(-1).astype(np.int64)))
    shape = [*x.shape[: axis % x.ndim], *places.shape, *x.shape[axis % x.ndim + 1 :]]
    return chosen.reshape(shape) if places.ndim > 1 else chosen


def _pad(a: Arguments) -> Tensor:
    x, mode = a.tensor(), a.get("mode", "constant")
    pads = a.setting("pads", 1)
    axes = a.numbers(3, range(x.ndim))
    assert axes is not None
    begin, end = [0] * x.ndim, [0] * x.ndim
    for at, axis in enumerate(axes):
        begin[axis], end[axis] = pads[at], pads[at + len(axes)]
    if mode == "constant":
        value = float(a.known(2).reshape(-1)[0]) if a.has(2) else float(a.get("value", 0.0))
        return _padded(x, begin, end, value)
    pairs = [n for b, e in zip(reversed(begin[2:]), reversed(end[2:]), strict=True) for n in (b, e)]
    return F.pad(x, pairs, mode={"reflect": "reflect", "edge": "replicate"}[mode])


def _resize(a: Arguments) -> Tensor:
    x = a.tensor()
    mode, how = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    sizes = a.numbers(3) if a.node.kind == "Resize" else None
    if sizes is None:
        scales: Known = a.known(2 if a.node.kind == "Resize" else 1)
        sizes = [int(n * s) for n, s in zip(x.shape[2:], scales[2:].tolist(), strict=True)]
    else:
        sizes = sizes[2:]
    if mode == "nearest":
        whole = all(new % old == 0 for new, old in zip(sizes, x.shape[2:], strict=True))
        if not (whole or (how, a.get("nearest_mode")) == ("asymmetric", "floor")):
            raise NotKnown(f"a nearest Resize by a fraction with {how}")
        return F.interpolate(x, sizes, mode="nearest")
    if mode != "linear" or how not in ("half_pixel", "align_corners", "pytorch_half_pixel"):
        raise NotKnown(f"a Resize with mode {mode} and {how}")
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sizes)]
    return F.interpolate(x, sizes, mode=kind, align_corners=how == "align_corners")


def _depth_to_space(a: Arguments) -> Tensor:
    x, r = a.tensor(), a["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, r)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, r, r, channels // r**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // r**2, height * r, width * r)


def _space_to_depth(a: Arguments) -> Tensor:
    x, r = a.tensor(), a["blocksize"]
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // r, r, width // r, r)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * r**2, height // r, width // r)


def _filled(a: Arguments) -> Tensor:
    value, shape = a.get("value"), a.numbers(0)
    fill = 0.0 if value is None else value.reshape(-1)[0].item()
    dtype = torch.float32 if value is None else torch.from_numpy(value).dtype
    return torch.full(shape or (), fill, dtype=dtype)


def _range(a: Arguments) -> Tensor:
    start, limit, delta = (a.known(i).reshape(-1)[0] for i in range(3))
    return torch.arange(start, limit, delta)


def _tile(a: Arguments) -> Tensor:
    return a.tensor().repeat(*(a.numbers(1) or ()))


MOVES: Mapping[str, Rule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool("max"),
    "AveragePool": pool("average"),
    "GlobalAveragePool": _everywhere(torch.mean),
    "GlobalMaxPool": _everywhere(torch.amax),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Concat": lambda a: torch.cat([a.tensor(i) for i in range(len(a.values))], a["axis"]),
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Tile": _tile,
    "ConstantOfShape": _filled,
    "Range": _range,
    "Shape": lambda a: np.array(list(a.tensor().shape), object)[a.get("start", 0) : a.get("end")],
    "Size": lambda a: np.array(math.prod(a.tensor().shape), object),
}
