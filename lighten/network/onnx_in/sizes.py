"""Shape arithmetic of ONNX graphs on plain numbers, so that no tensor decides another's size.

A size that follows the batch is a symbol while the network is traced; arrays of such numbers have
dtype object. `None`: this op is not done on known numbers, but on tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighten.network.onnx_in.arguments import Arguments, Known

KINDS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float32, 11: np.float32}


class Open(Exception):
    """A size follows the batch, so that the result has to be a tensor."""


def plain(sizes: Any) -> list[int]:
    """Sizes as numbers; `Open` where one is a symbol."""
    listed = np.asarray(sizes).reshape(-1).tolist()
    if not all(isinstance(size, (int, float)) for size in listed):
        raise Open
    return [int(size) for size in listed]


def _axis(a: Arguments, default: int = 0) -> int:
    return int(a.get("axis", default))


def _slice(a: Arguments) -> Known:
    x = a.known(0)
    starts = a.setting("starts", 1)
    ends = a.setting("ends", 2)
    axes = a.setting("axes", 3, range(len(starts)))
    steps = a.numbers(4, [1] * len(starts))
    assert steps is not None
    index: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        last = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, last, step)
    return np.asarray(x[tuple(index)])


def _unsqueeze(a: Arguments) -> Known:
    x, axes = a.known(0), a.setting("axes", 1)
    return np.expand_dims(x, tuple(axes))


def _squeeze(a: Arguments) -> Known:
    axes = a.setting("axes", 1)
    return np.squeeze(a.known(0), None if axes is None else tuple(axes))


def _cast(a: Arguments) -> Known:
    x = a.known(0)
    return x if x.dtype == object else x.astype(KINDS.get(a["to"], x.dtype))


def _filled(a: Arguments) -> Known:
    value = a.get("value")
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(plain(a.known(0)), fill.reshape(-1)[0], fill.dtype)


def _range(a: Arguments) -> Known:
    return np.arange(*plain([a.known(i).reshape(-1)[0] for i in range(3)]))


def _divide(a: Arguments) -> Known:
    x, y = a.known(0), a.known(1)
    return x // y if x.dtype.kind in "iuO" and y.dtype.kind in "iuO" else x / y


def _reshape(a: Arguments) -> Known:
    return a.known(0).reshape(plain(a.known(1)))


def _scatter(a: Arguments) -> Known:
    x = a.known(0).copy()
    np.put_along_axis(x, a.known(1), a.known(2), _axis(a))
    return x


def _product(a: Arguments) -> Known:
    axes = a.setting("axes", 1)
    kept = bool(a.get("keepdims", 1))
    return np.asarray(
        np.prod(a.known(0), axis=None if axes is None else tuple(axes), keepdims=kept)
    )


SIZES: Mapping[str, Callable[[Arguments], Known]] = {
    "Identity": lambda a: a.known(0),
    "Gather": lambda a: np.asarray(np.take(a.known(0), a.known(1), _axis(a))),
    "Concat": lambda a: np.concatenate([np.asarray(v) for v in a.values], _axis(a)),
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": lambda a: np.transpose(a.known(0), a.get("perm")),
    "Expand": lambda a: a.known(0) * np.ones(plain(a.known(1)), a.known(0).dtype),
    "ConstantOfShape": _filled,
    "Range": _range,
    "ScatterElements": _scatter,
    "ReduceProd": _product,
    "Add": lambda a: a.known(0) + a.known(1),
    "Sub": lambda a: a.known(0) - a.known(1),
    "Mul": lambda a: a.known(0) * a.known(1),
    "Div": _divide,
    "Mod": lambda a: np.mod(a.known(0), a.known(1)),
    "Neg": lambda a: -a.known(0),
    "Sqrt": lambda a: np.sqrt(a.known(0).astype(np.float64)),
    "Floor": lambda a: np.floor(a.known(0)),
    "Ceil": lambda a: np.ceil(a.known(0)),
    "Min": lambda a: np.minimum(a.known(0), a.known(1)),
    "Max": lambda a: np.maximum(a.known(0), a.known(1)),
    "Equal": lambda a: np.asarray(a.known(0) == a.known(1)),
    "Less": lambda a: np.asarray(a.known(0) < a.known(1)),
    "Greater": lambda a: np.asarray(a.known(0) > a.known(1)),
    "Not": lambda a: np.logical_not(a.known(0)),
    "And": lambda a: np.logical_and(a.known(0), a.known(1)),
    "Or": lambda a: np.logical_or(a.known(0), a.known(1)),
    "Where": lambda a: np.where(a.known(0), a.known(1), a.known(2)),
}


def sized(a: Arguments) -> Known:
    """The node on known numbers; NumPy gives single ones back bare."""
    result: Any = SIZES[a.node.kind](a)
    if isinstance(result, (np.ndarray, np.generic)):
        return np.asarray(result)
    return np.array(result, object)
