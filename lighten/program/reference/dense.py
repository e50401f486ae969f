"""Matrix products, normalisation and reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighten.program.ir import Op
from lighten.program.reference.elementwise import activate, align

Array = np.ndarray[Any, Any]
REDUCTIONS: Mapping[str, Callable[..., Any]] = {"mean": np.mean, "sum": np.sum, "max": np.max}


def linear(op: Op, x: Array, w: Array, b: Array | None = None) -> Array:
    """[n, …, C] · [K, C]ᵀ + b, then the activation."""
    y = x @ w.T
    return activate(op, y if b is None else y + b)


def matmul(op: Op, a: Array, b: Array) -> Array:
    """[n, …, M, K] · [n, …, K, N]."""
    rank = max(a.ndim, b.ndim)
    return np.asarray(align(a, rank) @ align(b, rank))


def per_channel(v: Array, axis: int, ndim: int) -> Array:
    """`[C]` shaped to broadcast along `axis` of an array of `ndim` axes."""
    return v.reshape(tuple(-1 if a == axis else 1 for a in range(ndim)))


def affine(op: Op, x: Array, scale: Array, shift: Array) -> Array:
    """x · scale + shift along per-sample `axis`: BatchNorm as it runs."""
    axis = op["axis"] + 1
    return np.asarray(x * per_channel(scale, axis, x.ndim) + per_channel(shift, axis, x.ndim))


def group_norm(op: Op, x: Array, w: Array | None = None, b: Array | None = None) -> Array:
    """Each group of channels to mean 0, variance 1; then w, b per channel."""
    grouped = x.reshape(x.shape[0], op["groups"], -1)
    centred = grouped - grouped.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    y = (centred / np.sqrt(variance + op["epsilon"])).reshape(x.shape)
    y = y if w is None else y * per_channel(w, 1, x.ndim)
    return np.asarray(y if b is None else y + per_channel(b, 1, x.ndim))


def layer_norm(op: Op, x: Array, w: Array | None = None, b: Array | None = None) -> Array:
    """The last `axes` axes to mean 0 (not for `rms`), variance 1; then w, b."""
    axes = tuple(range(-op["axes"], 0))
    centred = x if op["rms"] else x - x.mean(axes, keepdims=True)
    y = centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + op["epsilon"])
    y = y if w is None else y * w
    return np.asarray(y if b is None else y + b)


def softmax(op: Op, x: Array) -> Array:
    """eˣ / Σ eˣ along per-sample `axis`."""
    axis = op["axis"] + 1
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def reduce(op: Op, x: Array) -> Array:
    """Mean, sum or max over per-sample `axes`."""
    axes = tuple(axis + 1 for axis in op["axes"])
    return np.asarray(REDUCTIONS[op["function"]](x, axis=axes, keepdims=op["keepdims"]))
