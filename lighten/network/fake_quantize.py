"""Rounding to a format inside torch, with gradients: one op, one node in an export (rows B3, B10).

    forward    y = s·(clip(round(x / s) + z) − z)
    backward   dx = g inside the range, 0 outside it        (straight-through, Bengio 2013)
               ds = k · Σ g·(y − x)/s inside, g·y/s outside (learned steps, Esser et al., ICLR 2020)

Both sums together are (Σ g·y − Σ dx·x)/s, so nothing but x and y is kept between the passes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lighten.formats.integer import Integer, Scale


def fake_quantize(x: Tensor, form: Integer, params: Scale, gain: float = 1.0) -> Tensor:
    """`decode(encode(x))`: what x becomes when it is stored in `form`, differentiably.

    `params` holds tensors or arrays; a scale that learns gets its gradient times `gain`. Codes are
    computed in float32 whatever x is (in float64 where x is), the result has the type of x.

    >>> x = torch.tensor([-1.0, 0.26, 9.0], requires_grad=True)
    >>> y = fake_quantize(x, Integer(8), Scale(torch.tensor(0.5), torch.tensor(2)))
    >>> y.tolist()
    [-1.0, 0.5, 9.0]
    """
    scale, zero = torch.as_tensor(params.scale), torch.as_tensor(params.zero_point)
    axis = -1 if params.axis is None else params.axis
    wide = torch.promote_types(x.dtype, torch.float32)
    rounded: Tensor = _rounded(
        x,
        scale.to(x.device, wide),
        zero.to(x.device, wide),
        int(form.bits),
        form.signed,
        form.symmetric,
        axis,
        gain,
    )
    return rounded


@torch.library.custom_op("lighten::fake_quantize", mutates_args=())
def _rounded(  # noqa: PLR0913, PLR0917 - an op's schema knows no dataclasses
    x: Tensor,
    scale: Tensor,
    zero: Tensor,
    bits: int,
    signed: bool,
    symmetric: bool,
    axis: int,
    gain: float = 1.0,
) -> Tensor:
    form = Integer(bits, signed, symmetric)
    step, middle = Scale(scale, zero, None if axis < 0 else axis).aligned(x.ndim)
    low, high = form.low - middle, form.high - middle
    y = x.to(scale.dtype, copy=True).div_(step).round_()  # in place: passes over near memory
    y = y.clamp_(float(low), float(high)) if axis < 0 else y.clamp_(low, high)
    return y.mul_(step).to(x.dtype)


@_rounded.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, zero, bits, signed, symmetric, axis, ctx.gain = inputs
    ctx.form, ctx.axis = Integer(bits, signed, symmetric), axis
    ctx.save_for_backward(x, output, scale, zero)


def _learned(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, y, scale, zero = ctx.saved_tensors
    low, high = _ends(ctx.form, scale, zero)
    if ctx.axis < 0:
        dx = torch.ops.aten.hardtanh_backward(gradient, x, float(low), float(high))
    else:
        shape = [-1 if d == ctx.axis else 1 for d in range(x.ndim)]
        dx = gradient * ((x > low.reshape(shape)) & (x < high.reshape(shape)))
    if not ctx.needs_input_grad[1]:
        return dx, *([None] * 7)
    return dx, ctx.gain * _slope(gradient, dx, x, y, ctx.axis) / scale, *([None] * 6)


def _ends(form: Integer, scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
    """Between these, x rounds to a code of the format."""
    return (form.low - 0.5 - zero) * scale, (form.high + 0.5 - zero) * scale


def _slope(gradient: Tensor, dx: Tensor, x: Tensor, y: Tensor, axis: int) -> Tensor:
    """Σ g·y − Σ dx·x over all dimensions but `axis`, summed in float32."""
    dims = [d for d in range(x.ndim) if d != axis]
    wide = torch.promote_types(x.dtype, torch.float32)
    change: Tensor = (gradient * y).sum(dims, dtype=wide) - (dx * x).sum(dims, dtype=wide)
    return change


_rounded.register_autograd(_learned, setup_context=_remember)
