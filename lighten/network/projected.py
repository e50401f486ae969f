"""Layers whose weights are learned as sums of scaled signs, and values that are signs (B14–B24)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lighten.errors import NetworkError
from lighten.formats.binary import SUMS, Signs
from lighten.formats.signs import coded
from lighten.network.compressed import LAYERS, Compressed, compressed, computed
from lighten.network.straight_through import ESTIMATORS, sign, through
from lighten.program.ir import Stored


class Signed(nn.Module):
    """The sign of a value, 1 from zero on: what a popcount kernel multiplies."""

    def __init__(self, estimator: str = "clip") -> None:
        super().__init__()
        self.estimator = known("estimator", estimator, ESTIMATORS)

    def forward(self, x: Tensor) -> Tensor:
        return sign(x, self.estimator)


class Projected(nn.Module):
    """A layer computed with the projection of its weight onto a set of `formats.binary`.

    `state` says what is computed with, and what learns:
        "through"  the projection; the gradient goes to the real weight behind it (B14, B15)
        "pulled"   the real weight, its gradient with a pull to `target` − `dual` (ADMM, B23)
        "fixed"    the weight as it is, which learns no more
    """

    target: Tensor
    dual: Tensor

    def __init__(self, layer: nn.Module, onto: str, estimator: str = "identity") -> None:
        super().__init__()
        if not isinstance(layer, LAYERS):
            raise NetworkError(
                "Only convolutions and linear layers can be projected, "
                f"but got {type(layer).__name__}."
            )
        self.layer = layer
        self.onto = known("projection", onto, SUMS)
        self.estimator = known("estimator", estimator, ESTIMATORS)
        self.state = "through"
        self.pull = 0.0
        self.register_buffer("target", torch.zeros_like(layer.weight))
        self.register_buffer("dual", torch.zeros_like(layer.weight))

    def forward(self, x: Tensor) -> Tensor:
        return computed(self.layer, x, self.weight())

    def weight(self) -> Tensor:
        """What is computed with."""
        w: Tensor = self.layer.weight
        if self.state == "through":
            return through(w, self.projection(w).to(w.dtype), self.estimator)
        if self.state == "pulled":
            pulled: Tensor = _Pulled.apply(w, self.target - self.dual, self.pull)  # type: ignore[no-untyped-call]
            return pulled
        return w.detach()

    def signs(self) -> Signs:
        """The sum of scaled signs nearest to the weight."""
        return SUMS[self.onto](self.layer.weight.detach().float())

    def projection(self, w: Tensor) -> Tensor:
        """`w` projected onto the set."""
        found: Tensor = SUMS[self.onto](w.detach().float()).decode()
        return found

    def stored(self) -> Stored:
        """Signs ship as one bit for each plane, ternary weights as two, with a scale per filter."""
        found = self.signs()
        made = coded(Signs(found.codes.cpu().numpy(), found.scales.cpu().numpy()))
        if made is None:
            return Stored(found.decode().cpu().numpy().astype(np.float32))
        return Stored(*made)


class _Pulled(torch.autograd.Function):
    """x, whose gradient gets pull·(x − to) added: that of the augmented Lagrangian."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, to: Tensor, pull: float) -> Tensor:
        ctx.save_for_backward(x, to)
        ctx.pull = pull
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, to = ctx.saved_tensors
        return gradients[0] + ctx.pull * (x - to), None, None


def known(what: str, name: str, table: Any) -> str:
    """`name`, where the table has it."""
    if name not in table:
        raise NetworkError(f"The {what} must be one of {', '.join(table)}, but got {name!r}.")
    return name


def projected(module: nn.Module) -> dict[str, Projected]:
    """The projected layers of a network, by path."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Projected)}


def as_shipped(module: nn.Module, arrays: Collection[str]) -> dict[str, Stored]:
    """Array → the weight of a compressed or projected layer as it ships: in codes, with zeros."""
    parts: dict[str, Compressed | Projected] = {**compressed(module), **projected(module)}
    named = {f"{path}.weight": part for path, part in parts.items()}
    return {name: part.stored() for name, part in named.items() if name in arrays}
