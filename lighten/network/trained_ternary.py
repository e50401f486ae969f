"""Ternary weights with two learned magnitudes (TTQ, Zhu et al., ICLR 2017; row B21).

    w > Δ → +p    |w| ≤ Δ → 0    w < −Δ → −n        Δ = 0.05·max |w|, p and n one per filter

Gradients: of p the sum over what is positive, of n that over what is negative, turned; of w the
gradient times p, 1 or n (their equations 7 and 8).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lighten.errors import NetworkError
from lighten.network.compressed import LAYERS, at, computed
from lighten.program.ir import Stored

THRESHOLD = 0.05  # of the largest weight


class TrainedTernary(nn.Module):
    """A layer whose weight is −n, 0 or p, and which learns all three."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, LAYERS):
            raise NetworkError(
                "Only convolutions and linear layers can be ternary, "
                f"but got {type(layer).__name__}."
            )
        self.layer = layer
        w: Tensor = layer.weight.detach()
        limit = threshold(w)
        self.positive = nn.Parameter(_mean(w, w > limit))
        self.negative = nn.Parameter(_mean(-w, w < -limit))

    def forward(self, x: Tensor) -> Tensor:
        return computed(self.layer, x, self.weight())

    def weight(self) -> Tensor:
        """−n, 0 and p."""
        found: Tensor = _Ternary.apply(self.layer.weight, self.positive, self.negative)  # type: ignore[no-untyped-call]
        return found

    def stored(self) -> Stored:
        """The weight in floats: two magnitudes are not one step."""
        return Stored(self.weight().detach().float().cpu().numpy())


class _Ternary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, p: Tensor, n: Tensor) -> Tensor:
        limit = threshold(w)
        above, below = (w > limit).to(w.dtype), (w < -limit).to(w.dtype)
        ctx.save_for_backward(above, below, p, n)
        return _each(p, w) * above - _each(n, w) * below

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        above, below, p, n = ctx.saved_tensors
        (g,) = gradients
        factor = _each(p, g) * above + _each(n, g) * below + (1 - above - below)
        return g * factor, (g * above).flatten(1).sum(1), -(g * below).flatten(1).sum(1)


def threshold(w: Tensor) -> Tensor:
    """What a weight must exceed."""
    return THRESHOLD * w.abs().max()


def ternary_(module: nn.Module, path: str) -> TrainedTernary:
    """Make the layer at `path` a trained ternary one, in place."""
    owner, leaf, layer = at(module, path)
    made = TrainedTernary(layer)
    setattr(owner, leaf, made)
    return made


def _mean(w: Tensor, where: Tensor) -> Tensor:
    kept = where.to(w.dtype)
    return (w * kept).flatten(1).sum(1) / kept.flatten(1).sum(1).clamp(min=1)


def _each(scale: Tensor, like: Tensor) -> Tensor:
    """One number per filter, shaped to multiply weights."""
    return scale.reshape(-1, *(1,) * (like.ndim - 1))
