"""Whether what was measured lies within what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lighten.core.budget import Budget
from lighten.core.trial import Trial
from lighten.errors import BudgetError
from lighten.search.workbench import Timing

MARGIN = 0.97  # of a latency limit is aimed at: a later measurement may come out a little higher


@dataclass(frozen=True)
class Bounds:
    """The budget in absolute terms: milliseconds, bytes, MACs. `before` is the original."""

    budget: Budget | None
    before: Mapping[str, float]

    @property
    def absolute(self) -> dict[str, float]:
        """Quantity → the most it may be."""
        limits = self.budget.limits().items() if self.budget else ()
        return {name: limit.against(self.before[name]) for name, limit in limits}

    @property
    def aims(self) -> dict[str, float]:
        """What the search aims at."""
        aims = self.absolute
        if "latency" in aims:
            aims["latency"] *= MARGIN
        return aims

    def excess(self, trial: Trial) -> dict[str, float]:
        """Quantity → measured ÷ limit; above 1 where the limit is missed."""
        score = trial.score
        if score is None or score.latency_ms is None or score.bytes is None or score.macs is None:
            return {name: float("inf") for name in self.absolute}
        found = {"latency": score.latency_ms, "size": score.bytes, "macs": score.macs}
        limit = self.budget.latency if self.budget else None
        over = {name: found[name] / most for name, most in self.absolute.items()}
        if limit is not None and not isinstance(limit, str) and limit.relative:
            over["latency"] = trial.predicted["measured_ratio"] / limit.amount
        return over

    def meets(self, trial: Trial) -> bool:
        """Whether every limit holds (the drop is another question)."""
        return max(self.excess(trial).values()) <= 1.0


def check_possible(budget: Budget, floor_ms: float, timing: Timing) -> None:
    """Refuse a latency below what calling an empty network costs here."""
    limit = budget.latency
    if limit is None or isinstance(limit, str):
        return
    most = limit.against(timing.before.median_ms)
    if most <= floor_ms:
        raise BudgetError(
            f"The latency limit of {most:.4f} ms cannot be met by any network here: "
            f"calling one that does nothing takes {floor_ms:.4f} ms.",
            "Give a limit above that.",
        )
