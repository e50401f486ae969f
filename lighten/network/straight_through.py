"""Gradients through what has none: estimators for signs and projections (row B15).

Each is the derivative that stands in for that of the sign at x, and changes no answer:

    identity     1                                             (Bengio et al. 2013)
    clip         1 where |x| ≤ 1                               (BNN, Hubara et al. 2016)
    polynomial   2 − 2|x| where |x| ≤ 1                        (Bi-Real Net, Liu et al. 2018)
    swish        β(2 − βx·tanh(βx/2)) / (1 + cosh βx), β = 5   (Darabi et al. 2018)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

BETA = 5.0


def identity(x: Tensor) -> Tensor:
    """1 everywhere."""
    return torch.ones_like(x)


def clip(x: Tensor) -> Tensor:
    """1 from −1 to 1."""
    return (x.abs() <= 1).to(x.dtype)


def polynomial(x: Tensor) -> Tensor:
    """A triangle of height 2: the derivative of a piecewise square."""
    return (2 - 2 * x.abs()).clamp(min=0)


def swish(x: Tensor) -> Tensor:
    """Steep at zero, and a little below zero far away."""
    z = (BETA * x).clamp(-30, 30)
    return BETA * (2 - z * torch.tanh(z / 2)) / (1 + torch.cosh(z))


ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "identity": identity,
    "clip": clip,
    "polynomial": polynomial,
    "swish": swish,
}


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, estimator: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.estimator = estimator
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * ESTIMATORS[ctx.estimator](x), None, None


def through(x: Tensor, y: Tensor, estimator: str = "identity") -> Tensor:
    """`y`, whose gradient goes to `x` times the estimator's derivative.

    >>> x = torch.tensor([0.5, -3.0], requires_grad=True)
    >>> through(x, x.sign(), "clip").sum().backward()
    >>> x.grad.tolist()
    [1.0, 0.0]
    """
    found: Tensor = _Through.apply(x, y, estimator)  # type: ignore[no-untyped-call]
    return found


def sign(x: Tensor, estimator: str = "clip") -> Tensor:
    """1 from zero on, −1 below, with a gradient."""
    return through(x, torch.where(x >= 0, 1.0, -1.0).to(x.dtype), estimator)
