"""Rounding to a format inside torch, with a gradient: one op, one node in an export (row B3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lighten.formats.integer import Integer, Scale


def fake_quantize(x: Tensor, form: Integer, params: Scale) -> Tensor:
    """`decode(encode(x))`: what x becomes when it is stored in `form`, differentiably.

    The gradient is the straight-through estimator (Bengio 2013): 1 where x rounds to a code of the
    format, 0 where it saturates; none for the scale. `params` holds tensors or arrays.

    >>> x = torch.tensor([-1.0, 0.26, 9.0], requires_grad=True)
    >>> y = fake_quantize(x, Integer(8), Scale(torch.tensor(0.5), torch.tensor(2)))
    >>> y.tolist()
    [-1.0, 0.5, 9.0]
    """
    scale, zero = torch.as_tensor(params.scale), torch.as_tensor(params.zero_point)
    axis = -1 if params.axis is None else params.axis
    bits = int(form.bits)
    rounded: Tensor = _rounded(x, scale.to(x), zero.to(x), bits, form.signed, form.symmetric, axis)
    return rounded


@torch.library.custom_op("lighten::fake_quantize", mutates_args=())
def _rounded(  # noqa: PLR0913, PLR0917 - an op's schema knows no dataclasses
    x: Tensor, scale: Tensor, zero: Tensor, bits: int, signed: bool, symmetric: bool, axis: int
) -> Tensor:
    form = Integer(bits, signed, symmetric)
    params = Scale(scale, zero, None if axis < 0 else axis)
    rounded: Tensor = form.decode(form.encode(x, params), params)
    return rounded


@_rounded.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, zero, bits, signed, symmetric, axis = inputs
    form = Integer(bits, signed, symmetric)
    wide, middle = Scale(scale, zero, None if axis < 0 else axis).aligned(x.ndim)
    code = torch.round(x / wide + middle)
    ctx.save_for_backward((code >= form.low) & (code <= form.high))


def _straight_through(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (inside,) = ctx.saved_tensors
    return (gradient * inside, *([None] * 6))


_rounded.register_autograd(_straight_through, setup_context=_remember)
