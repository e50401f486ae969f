"""Zeros that come while the network learns (rows C1, C6, C7).

    one-shot    all at once, at `begin`                       (Han et al., NIPS 2015, one round)
    iterative   in rounds, each leaving the same share of what was left (Han 2015: cut, retrain, …)
    gradual     d + (1 − d)·(1 − t)³, t from `begin` to `end`  (Zhu & Gupta 2017, equation 1)

Masks are made anew from the dense weights every so many steps, and what is masked keeps learning
(straight through), so zeros may regrow. From `freeze` on they may not: masks stay, and masked
weights are exactly zero after every step, whatever momentum and weight decay do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lighten.errors import RecipeError
from lighten.formats.projections import Pattern
from lighten.network.compressed import Compressed

ROUNDS = 5  # of the iterative schedule


def one_shot(share: float, density: float) -> float:
    """The density wanted, from the first step on."""
    del share
    return density


def iterative(share: float, density: float) -> float:
    """Equal ratios between rounds: density^(1/5), density^(2/5), …"""
    return float(density ** (min(int(share * ROUNDS) + 1, ROUNDS) / ROUNDS))


def gradual(share: float, density: float) -> float:
    """Fast at first, when much can go, and slow at the end: a cubic."""
    return float(density + (1.0 - density) * (1.0 - share) ** 3)


SCHEDULES: Mapping[str, Callable[[float, float], float]] = {
    "one-shot": one_shot,
    "iterative": iterative,
    "gradual": gradual,
}


@dataclass(frozen=True)
class Thinning:
    """How one layer loses its weights. `begin`, `end` and `freeze` are shares of the run; `every`
    is how many steps a mask holds while zeros may regrow. In each of these a masked weight loses
    the share `fade`: only what gradients go on asking for stays large enough to come back.
    """

    pattern: Pattern
    density: float
    criterion: str = "magnitude"
    schedule: str = "gradual"
    begin: float = 0.0
    end: float = 0.5
    freeze: float = 0.75
    every: int = 32
    fade: float = 0.03

    def __post_init__(self) -> None:
        for name, known in (("criterion", SCORES), ("schedule", SCHEDULES)):
            given = getattr(self, name)
            if given not in known:
                raise RecipeError(
                    f"The {name} must be one of {', '.join(known)}, but got {given!r}."
                )
        for name in ("density", "fade"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(
                    f"The {name} must lie between 0 and 1, but got {getattr(self, name)}."
                )
        if not 0 <= self.begin <= self.end <= self.freeze <= 1 or self.every < 1:
            raise RecipeError(
                "A thinning must have 0 ≤ begin ≤ end ≤ freeze ≤ 1 and every ≥ 1, "
                f"but got {self.begin}, {self.end}, {self.freeze} and {self.every}."
            )

    def at(self, share: float) -> float:
        """The density when `share` of the run is over."""
        if share < self.begin:
            return 1.0
        if share >= self.end:
            return self.density
        return SCHEDULES[self.schedule](
            (share - self.begin) / (self.end - self.begin), self.density
        )


def magnitude(part: Compressed) -> Tensor:
    """w²: of single weights the order of |w| (Han et al. 2015), of blocks that of their norms."""
    return _weight(part).detach().square()


def movement(part: Compressed) -> Tensor:
    """−Σ w·∂L/∂w over the steps so far, from the least on (Sanh et al., NeurIPS 2020).

    Large where training drives a weight away from zero; counted from the smallest, so that no
    score is negative.
    """
    total: Tensor = part.movement  # type: ignore[assignment]
    return total - total.min()


SCORES: Mapping[str, Callable[[Compressed], Tensor]] = {
    "magnitude": magnitude,
    "movement": movement,
}


class Sparsify:
    """A hook: masks the layers of a network as training goes. Resumes to the bit.

    Masks and scores are buffers of the layers and so in every checkpoint; all else follows from
    the number of the step.
    """

    def __init__(self, layers: Mapping[str, tuple[Compressed, Thinning]], steps: int) -> None:
        self.layers, self.steps = layers, steps
        for part, thinning in layers.values():
            part.pattern = thinning.pattern
            if thinning.criterion == "movement" and not hasattr(part, "movement"):
                part.register_buffer("movement", torch.zeros_like(part.mask))

    def before_step(self, step: int) -> None:
        """Masks for this step."""
        for part, thinning in self.layers.values():
            freeze = round(thinning.freeze * self.steps)
            part.regrows = step < freeze
            if step == freeze or (part.regrows and step % thinning.every == 0):
                share = 1.0 if step == freeze else step / self.steps
                self._thin_(part, thinning, share)

    def after_step(self, step: int) -> None:
        """Scores that need the gradient; zeros that stay zero."""
        with torch.no_grad():
            for part, thinning in self.layers.values():
                weight = _weight(part)
                if thinning.criterion == "movement" and weight.grad is not None and part.regrows:
                    part.movement.sub_(weight * weight.grad)  # type: ignore[operator]
                if step == self.steps - 1 and part.regrows:
                    self._thin_(part, thinning, 1.0)
                    part.regrows = False
                left = thinning.fade if part.regrows else 1.0
                weight.mul_(1 - left * (1 - part.mask))

    def finish(self) -> None:
        """Nothing: the last step left the masks as they stay."""

    def _thin_(self, part: Compressed, thinning: Thinning, share: float) -> None:
        part.thin_(SCORES[thinning.criterion](part), thinning.at(share))


def _weight(part: Compressed) -> nn.Parameter:
    return part.layer.weight  # type: ignore[return-value]
