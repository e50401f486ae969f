"""Three ways to a network whose weights lie in a set, for any set with a projection (B14, B23).

once              w = P(w) before the first step; only what is not projected learns
straight-through  compute with P(w), learn w                     (BinaryConnect, BWN, TWN, …)
admm              learn w, pulled to g − u;  g = P(w + u);  u = u + w − g;  at the end w = P(w)
                  (Leng et al., AAAI 2018; Boyd et al. 2011, section 3.1.1)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lighten.errors import RecipeError
from lighten.network.projected import Projected

WAYS = ("once", "straight-through", "admm")
EVERY = 16  # steps between two moves of g and u
FINAL = 0.5  # share of the run that ADMM pulls; then weights are projected, and learn on


class Project:
    """A hook that takes layers into their sets by one of `WAYS`. Resumes to the bit.

    `pull` is ADMM's ρ. For its last steps it goes on straight through, from where it arrived.
    """

    def __init__(
        self, layers: Iterable[Projected], way: str, steps: int, pull: float = 0.2
    ) -> None:
        if way not in WAYS:
            raise RecipeError(f"The way must be one of {', '.join(WAYS)}, but got {way!r}.")
        self.layers, self.way = tuple(layers), way
        self.first = round(FINAL * steps)
        self.pull = pull

    def before_step(self, step: int) -> None:
        """Where the layers stand in this step."""
        for part in self.layers:
            if self.way == "once":
                self._once_(part, step)
            elif self.way == "admm":
                self._admm_(part, step)
            else:
                part.state = "through"

    def after_step(self, step: int) -> None:
        """ADMM's projection and dual step."""
        if self.way != "admm" or step + 1 >= self.first or (step + 1) % EVERY:
            return
        with torch.no_grad():
            for part in self.layers:
                w = part.layer.weight
                part.target.copy_(part.projection(w + part.dual))
                part.dual.add_(w - part.target)

    def finish(self) -> None:
        """Nothing: what is computed with lies in the set already."""

    def residual(self) -> float:
        """How far the weights are from their projections, relatively: ‖w − P(w)‖ / ‖w‖."""
        with torch.no_grad():
            away = whole = 0.0
            for part in self.layers:
                w = part.layer.weight
                away += float((w - part.projection(w)).square().sum())
                whole += float(w.square().sum())
            return float((away / whole) ** 0.5)

    def _once_(self, part: Projected, step: int) -> None:
        part.state = "fixed"
        if step == 0:
            with torch.no_grad():
                part.layer.weight.copy_(part.projection(part.layer.weight))

    def _admm_(self, part: Projected, step: int) -> None:
        with torch.no_grad():
            if step == 0:
                part.target.copy_(part.projection(part.layer.weight))
            if step == self.first:
                part.layer.weight.copy_(part.projection(part.layer.weight))
        part.state = "pulled" if step < self.first else "through"
        part.pull = self.pull
