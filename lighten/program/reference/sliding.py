"""Windows that slide: convolution, its transpose, pooling. Any number of spatial axes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lighten.program.ir import Op
from lighten.program.reference.elementwise import activate
from lighten.program.shapes import windows

Array = np.ndarray[Any, Any]


def view_windows(op: Op, x: Array, kernel: tuple[int, ...], fill: float) -> Array:
    """[n, c, *size] as [n, c, *windows, *kernel], padded with `fill`; a view, nothing repeated."""
    rank = len(kernel)
    pads, strides, dilations = op["pads"], op["strides"], op["dilations"]
    counts = windows(op, x.shape[2:], kernel, op.get("ceil", False))
    widths = [(0, 0), (0, 0)]
    for a in range(rank):
        needed = (counts[a] - 1) * strides[a] + dilations[a] * (kernel[a] - 1) + 1
        beyond = max(needed - x.shape[2 + a] - pads[a], pads[rank + a])
        widths.append((pads[a], beyond))
    padded = np.pad(x, widths, constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, 2 + rank)))
    starts = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
    taps = tuple(slice(None, None, d) for d in dilations)
    view = view[(*starts, *taps)]
    return view[(slice(None), slice(None), *(slice(count) for count in counts))]


def _correlate(op: Op, x: Array, w: Array, groups: int) -> Array:
    """[n, C, *size] and [K, C / groups, *kernel] give [n, K, *windows], as a matrix product."""
    kernel, rank = w.shape[2:], w.ndim - 2
    view = view_windows(op, x, kernel, 0.0)
    n, out = x.shape[0], view.shape[2 : 2 + rank]
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    taps = w.shape[1] * prod(kernel)
    columns = view.transpose(order).reshape(n * prod(out), groups, taps).transpose(1, 0, 2)
    filters = w.reshape(groups, w.shape[0] // groups, taps)
    y = columns @ filters.transpose(0, 2, 1)  # [groups, n · windows, K / groups]
    y = y.transpose(1, 0, 2).reshape(n, *out, w.shape[0])
    return np.moveaxis(y, -1, 1)


def _finish(op: Op, y: Array, b: Array | None) -> Array:
    return activate(op, y if b is None else y + b.reshape(-1, *(1,) * (y.ndim - 2)))


def conv(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    """Cross-correlation, as every framework calls convolution."""
    return _finish(op, _correlate(op, x, w, op["groups"]), b)


def conv_transpose(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    """Zeros between the inputs, then a convolution with the kernel turned around."""
    groups, rank, kernel = op["groups"], w.ndim - 2, w.shape[2:]
    spread = tuple((e - 1) * s + 1 for e, s in zip(x.shape[2:], op["strides"], strict=True))
    sparse = np.zeros((*x.shape[:2], *spread), x.dtype)
    sparse[(slice(None), slice(None), *(slice(None, None, s) for s in op["strides"]))] = x
    grouped = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    turned = np.flip(grouped.reshape(-1, w.shape[0] // groups, *kernel), tuple(range(2, 2 + rank)))
    reach = tuple(d * (k - 1) for d, k in zip(op["dilations"], kernel, strict=True))
    begins = tuple(r - p for r, p in zip(reach, op["pads"][:rank], strict=True))
    ends = tuple(
        r - p + o for r, p, o in zip(reach, op["pads"][rank:], op["output_padding"], strict=True)
    )
    cut = (slice(None), slice(None), *(slice(max(-p, 0), None) for p in begins))
    sparse = sparse[cut]
    crop = (slice(None), slice(None), *(slice(None, p if p < 0 else None) for p in ends))
    pads = (*(max(p, 0) for p in begins), *(max(p, 0) for p in ends))
    unit = {"strides": (1,) * rank, "pads": pads, "dilations": op["dilations"]}
    plain = Op("conv", op.name, (), (), unit)
    return _finish(op, _correlate(plain, sparse[crop], turned, groups), b)


def pool(op: Op, x: Array) -> Array:
    """The largest, or the mean, of each window. Padding is never the largest, and counts in the
    mean only if `include_pad`; what a window reaches beyond the padding (`ceil`) never counts.
    """
    kernel = tuple(op["kernel"])
    axes = tuple(range(-len(kernel), 0))
    if op["function"] == "max":
        return np.asarray(view_windows(op, x, kernel, -np.inf).max(axes))
    rank, pads = len(kernel), op["pads"]
    counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
    total = view_windows(op, x, kernel, 0.0).sum(axes)
    if op["include_pad"]:
        widths = [(0, 0), (0, 0), *((pads[a], pads[rank + a]) for a in range(rank))]
        counted = np.pad(counted, widths, constant_values=1)
        bare = Op("pool", op.name, (), (), {**op.attributes, "pads": (0,) * 2 * rank})
        count = view_windows(bare, counted, kernel, 0.0).sum(axes)
        count = count[(slice(None), slice(None), *(slice(e) for e in total.shape[2:]))]
    else:
        count = view_windows(op, counted, kernel, 0.0).sum(axes)
    return np.asarray(total / count)
