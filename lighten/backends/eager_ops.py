"""Every op kind as torch computes it: fast, and otherwise what `program.reference` says.

Each function takes the op and its inputs. Operands are `[n, …]`, or `[1, …]` where a stored array
stands for the same constant in every sample; weights are as stored; absent ones are None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lighten.backends.eager_sliding import FUNCTIONS, activate, conv, conv_transpose, padded, pool
from lighten.program.ir import Op

LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}

PARAMETRIC: Mapping[str, Callable[[Tensor, Op], Tensor]] = {
    "leaky_relu": lambda x, op: F.leaky_relu(x, op["slope"]),
    "elu": lambda x, op: F.elu(x, op["slope"]),
    "clip": lambda x, op: torch.clamp(x, op["low"], op["high"]),
}
ARITHMETIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "pow": torch.pow,
    "equal": lambda a, b: torch.eq(a, b).float(),
    "less": lambda a, b: torch.lt(a, b).float(),
}
REDUCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "max": torch.amax,
}


def linear(op: Op, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """x · wᵀ + b on the last axis."""
    return activate(op, F.linear(x, w, b))


def align(x: Tensor, rank: int) -> Tensor:
    """`[n, *shape]` with ones after the batch, so that per-sample shapes broadcast from the end."""
    if x.ndim == rank:
        return x
    return x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])


def matmul(op: Op, a: Tensor, b: Tensor) -> Tensor:
    """A product of matrices."""
    rank = max(a.ndim, b.ndim)
    return align(a, rank) @ align(b, rank)


def unary(op: Op, x: Tensor) -> Tensor:
    """`function` of every element."""
    name = op["function"]
    return PARAMETRIC[name](x, op) if name in PARAMETRIC else FUNCTIONS[name](x)


def binary(op: Op, a: Tensor, b: Tensor) -> Tensor:
    """`function` of two operands, broadcast per sample, then the activation."""
    rank = max(a.ndim, b.ndim)
    return activate(op, ARITHMETIC[op["function"]](align(a, rank), align(b, rank)))


def where(op: Op, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where the condition is not 0, else `b`; broadcast per sample."""
    rank = max(condition.ndim, a.ndim, b.ndim)
    condition, a, b = (align(x, rank) for x in (condition, a, b))
    return torch.where(condition != 0, a, b)


def affine(op: Op, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x · scale + shift along per-sample `axis`."""
    shape = (-1, *(1,) * (x.ndim - 2 - op["axis"]))
    return torch.addcmul(shift.reshape(shape), x, scale.reshape(shape))


def recurrent(
    op: Op, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, rb: Tensor | None = None
) -> Tensor:
    """One direction of one layer over `[n, t, f]`, from a state of zeros."""
    biased = b is not None or rb is not None
    none = w.new_zeros(len(w))
    held = [w, r, *(none if bias is None else bias for bias in (b, rb) if biased)]
    zeros = x.new_zeros(1, len(x), r.shape[1])
    first: Any = (zeros, zeros) if op["function"] == "lstm" else zeros
    way = x.flip(1) if op["reverse"] else x
    call = getattr(torch, op["function"])
    y: Tensor = call(way, first, held, biased, 1, 0.0, False, False, True)[0]
    return y.flip(1) if op["reverse"] else y


def group_norm(op: Op, x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """Each group of channels to mean 0, variance 1; then w, b per channel."""
    return F.group_norm(x, op["groups"], w, b, op["epsilon"])


def layer_norm(op: Op, x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
    """The last `axes` axes to mean 0 (not for `rms`), variance 1; then w, b."""
    tail = x.shape[-op["axes"] :]
    if not op["rms"]:
        return F.layer_norm(x, tail, w, b, op["epsilon"])
    y = F.rms_norm(x, tail, w, op["epsilon"])
    return y if b is None else y + b


def softmax(op: Op, x: Tensor) -> Tensor:
    """eˣ / Σ eˣ along per-sample `axis`."""
    return torch.softmax(x, op["axis"] + 1)


def reduce(op: Op, x: Tensor) -> Tensor:
    """Mean, sum or max over per-sample `axes`."""
    axes = tuple(axis + 1 for axis in op["axes"])
    return REDUCTIONS[op["function"]](x, dim=axes, keepdim=bool(op["keepdims"])) if axes else x


def concat(op: Op, *xs: Tensor) -> Tensor:
    """End to end; constants are repeated for every sample."""
    n = max(x.shape[0] for x in xs)
    return torch.cat([x.expand(n, *x.shape[1:]) for x in xs], op["axis"] + 1)


def slice_(op: Op, x: Tensor) -> Tensor:
    """`x[start:stop:step]` along per-sample `axis`."""
    index = [slice(None)] * x.ndim
    index[op["axis"] + 1] = slice(op["start"], op["stop"], op["step"])
    return x[tuple(index)]


def pad(op: Op, x: Tensor) -> Tensor:
    """`value` around every axis but the batch."""
    rank = x.ndim - 1
    return padded(x, op["pads"][:rank], op["pads"][rank:], op["value"])


def reshape(op: Op, x: Tensor) -> Tensor:
    """The same elements in row-major order."""
    return x.reshape(x.shape[0], *op["shape"])


def transpose(op: Op, x: Tensor) -> Tensor:
    """Per-sample axes in another order."""
    return x.permute(0, *(axis + 1 for axis in op["permutation"]))


def expand(op: Op, x: Tensor) -> Tensor:
    """Repeated to `shape`."""
    return align(x, len(op["shape"]) + 1).expand(x.shape[0], *op["shape"])


def resize(op: Op, x: Tensor) -> Tensor:
    """Spatial axes sampled anew."""
    size = tuple(op["size"])
    if op["mode"] == "nearest":
        return F.interpolate(x, size, mode="nearest")
    return F.interpolate(x, size, mode=LINEAR_MODES[len(size)], align_corners=op["align_corners"])


def gather(op: Op, table: Tensor, indices: Tensor) -> Tensor:
    """Indices of one axis of the table, sample by sample."""
    axis, indices = op["axis"], indices.long()
    if table.shape[0] == 1 and axis == 0:  # one stored table for every sample
        return table[0][indices]
    if indices.shape[0] == 1:  # the same indices for every sample
        chosen = table.index_select(axis + 1, indices.flatten())
        shape = (*table.shape[: axis + 1], *indices.shape[1:], *table.shape[axis + 2 :])
        return chosen.reshape(shape)
    tables = table.expand(indices.shape[0], *table.shape[1:])
    rest = tables.shape[1 : axis + 1], tables.shape[axis + 2 :]
    rows = [t.index_select(axis, i.flatten()) for t, i in zip(tables, indices, strict=True)]
    return torch.stack([row.reshape(*rest[0], *indices.shape[1:], *rest[1]) for row in rows])


def cast(op: Op, x: Tensor) -> Tensor:
    """The same numbers: the format is the value's."""
    return x


TABLE: Mapping[str, Callable[..., Any]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "matmul": matmul,
    "affine": affine,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "recurrent": recurrent,
    "softmax": softmax,
    "unary": unary,
    "binary": binary,
    "where": where,
    "pool": pool,
    "reduce": reduce,
    "concat": concat,
    "slice": slice_,
    "pad": pad,
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "resize": resize,
    "gather": gather,
    "cast": cast,
}
