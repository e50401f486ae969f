"""Windows that slide, as torch computes them: convolution, its transpose, pooling.

Up to three spatial axes; padding and dilation that torch does not take are done by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lighten.program.ir import Op
from lighten.program.shapes import windows

CONV: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE: Mapping[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
MAX_POOL: Mapping[int, Callable[..., Tensor]] = {
    1: F.max_pool1d,
    2: F.max_pool2d,
    3: F.max_pool3d,
}
AVERAGE_POOL: Mapping[int, Callable[..., Tensor]] = {
    1: F.avg_pool1d,
    2: F.avg_pool2d,
    3: F.avg_pool3d,
}

FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros((), dtype=x.dtype)),
    "mish": F.mish,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "neg": torch.neg,
    "abs": torch.abs,
    "reciprocal": torch.reciprocal,
    "square": torch.square,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "sign": torch.sign,
    "floor": torch.floor,
    "round": torch.round,
}


def activate(op: Op, x: Tensor) -> Tensor:
    """The op's fused activation, if it has one."""
    name = op.get("activation", "")
    return FUNCTIONS[name](x) if name else x


def padded(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0) -> Tensor:
    """`x` with its last axes padded (cut where negative); torch lists them last axis first."""
    pairs = list(zip(begins, ends, strict=True))
    amounts = [amount for pair in reversed(pairs) for amount in pair]
    return F.pad(x, amounts, value=value) if any(amounts) else x


def conv(op: Op, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Convolution; uneven padding is done first."""
    rank = w.ndim - 2
    begins, ends = op["pads"][:rank], op["pads"][rank:]
    even = tuple(begins)
    if even != tuple(ends):
        x, even = padded(x, begins, ends), (0,) * rank
    y = CONV[rank](x, w, b, tuple(op["strides"]), even, tuple(op["dilations"]), op["groups"])
    return activate(op, y)


def conv_transpose(op: Op, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Transposed convolution without padding, then cut (or filled) to what the padding leaves."""
    rank = w.ndim - 2
    none = (0,) * rank
    y = CONV_TRANSPOSE[rank](
        x, w, None, tuple(op["strides"]), none, none, op["groups"], tuple(op["dilations"])
    )
    begins = [-begin for begin in op["pads"][:rank]]
    ends = [more - end for more, end in zip(op["output_padding"], op["pads"][rank:], strict=True)]
    y = padded(y, begins, ends)
    return activate(op, y if b is None else y + b.reshape(-1, *(1,) * rank))


def pool(op: Op, x: Tensor) -> Tensor:
    """The largest, or the mean, of each window."""
    kernel, rank = tuple(op["kernel"]), len(op["kernel"])
    strides, dilations = tuple(op["strides"]), tuple(op["dilations"])
    begins, ends = tuple(op["pads"][:rank]), tuple(op["pads"][rank:])
    usual = begins == ends and all(2 * p <= k for p, k in zip(begins, kernel, strict=True))
    if usual and op["function"] == "max":
        return MAX_POOL[rank](x, kernel, strides, begins, dilations, op["ceil"])
    if usual and set(dilations) == {1}:
        return AVERAGE_POOL[rank](x, kernel, strides, begins, op["ceil"], op["include_pad"])
    return pool_anyhow(op, x)


def pool_anyhow(op: Op, x: Tensor) -> Tensor:
    """Pooling with padding or dilation that torch's own does not take."""
    kernel, rank = tuple(op["kernel"]), len(op["kernel"])
    strides, dilations = tuple(op["strides"]), tuple(op["dilations"])
    counts = windows(op, tuple(x.shape[2:]), kernel, op["ceil"])
    begins, ends = op["pads"][:rank], op["pads"][rank:]
    reach = [(counts[a] - 1) * strides[a] + dilations[a] * (kernel[a] - 1) + 1 for a in range(rank)]
    full = [max(reach[a] - x.shape[2 + a] - begins[a], ends[a]) for a in range(rank)]
    crop = (slice(None), slice(None), *(slice(count) for count in counts))
    if op["function"] == "max":
        wide = padded(x, begins, full, float("-inf"))
        return MAX_POOL[rank](wide, kernel, strides, 0, dilations)[crop]
    counted = torch.ones_like(x[:1, :1])
    if op["include_pad"]:
        counted = padded(padded(counted, begins, ends, 1.0), (0,) * rank, _less(full, ends))
    else:
        counted = padded(counted, begins, full)
    ones = x.new_ones(x.shape[1], 1, *kernel)
    total = CONV[rank](
        padded(x, begins, full), ones, None, strides, 0, dilations, groups=x.shape[1]
    )
    count = CONV[rank](counted, ones[:1], None, strides, 0, dilations)
    return (total / count)[crop]


def _less(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [x - y for x, y in zip(a, b, strict=True)]
