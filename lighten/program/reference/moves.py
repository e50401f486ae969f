"""Where elements lie: nothing here computes, but `resize` between its samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.program.ir import Op

Array = np.ndarray[Any, Any]


def concat(op: Op, *xs: Array) -> Array:
    """End to end; constants are repeated for every sample."""
    n = max(x.shape[0] for x in xs)
    return np.concatenate([np.broadcast_to(x, (n, *x.shape[1:])) for x in xs], op["axis"] + 1)


def slice_(op: Op, x: Array) -> Array:
    """`x[start:stop:step]` along per-sample `axis`."""
    index = [slice(None)] * x.ndim
    index[op["axis"] + 1] = slice(op["start"], op["stop"], op["step"])
    return x[tuple(index)]


def pad(op: Op, x: Array) -> Array:
    """`value` around every axis but the batch."""
    rank = x.ndim - 1
    widths = [(0, 0), *zip(op["pads"][:rank], op["pads"][rank:], strict=True)]
    return np.pad(x, widths, constant_values=op["value"])


def reshape(op: Op, x: Array) -> Array:
    """The same elements in row-major order."""
    return x.reshape(x.shape[0], *op["shape"])


def transpose(op: Op, x: Array) -> Array:
    """Per-sample axes in another order."""
    return x.transpose(0, *(axis + 1 for axis in op["permutation"]))


def expand(op: Op, x: Array) -> Array:
    """Repeated to `shape`."""
    aligned = x.reshape(x.shape[0], *(1,) * (len(op["shape"]) + 1 - x.ndim), *x.shape[1:])
    return np.broadcast_to(aligned, (x.shape[0], *op["shape"]))


def cast(op: Op, x: Array) -> Array:
    """The same numbers: the format is the value's."""
    return x


def gather(op: Op, table: Array, indices: Array) -> Array:
    """`take(table[i], indices[i], axis)` for every sample i."""
    axis, indices = op["axis"], indices.astype(np.int64)
    n = max(table.shape[0], indices.shape[0])
    tables = np.broadcast_to(table, (n, *table.shape[1:]))
    chosen = np.broadcast_to(indices, (n, *indices.shape[1:]))
    return np.stack([np.take(t, i, axis) for t, i in zip(tables, chosen, strict=True)])


def resize(op: Op, x: Array) -> Array:
    """Spatial axes sampled anew, one after the other (linear: between the two nearest)."""
    for axis, size in enumerate(op["size"], start=2):
        x = _resize_axis(x, axis, size, op["mode"], op["align_corners"])
    return x


def nearest(extent: int, size: int) -> Array:
    """The index each of `size` samples takes from `extent`, rounded in float32 as torch does."""
    scale = np.float32(extent) / np.float32(size)
    found = np.floor(np.arange(size, dtype=np.float32) * scale).astype(np.int64)
    return np.asarray(np.minimum(found, extent - 1))


def _resize_axis(x: Array, axis: int, size: int, mode: str, align_corners: bool) -> Array:
    extent = x.shape[axis]
    steps = np.arange(size)
    if mode == "nearest":
        return np.asarray(np.take(x, nearest(extent, size), axis))
    if align_corners:
        at = steps * ((extent - 1) / max(size - 1, 1))
    else:
        at = np.clip((steps + 0.5) * (extent / size) - 0.5, 0, extent - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, extent - 1)
    share = (at - low).reshape(tuple(-1 if a == axis else 1 for a in range(x.ndim)))
    y: Array = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return np.asarray(y, x.dtype)
