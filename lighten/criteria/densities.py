"""How dense each layer stays, from one target for all (rows C8, C9, C10).

    uniform    the same everywhere                                       (C8)
    triangle   less with depth, along a line                             (C10)
    cheapest   whatever loses least at a total cost: of weights (C9, the sensitivity of every layer
               to every density), or of seconds, where a table says what a layer takes

Densities are shares of the weights that stay, by layer, in the order of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lighten.errors import BudgetError

Array = np.ndarray[Any, Any]
Table = Mapping[str, Sequence[float]]  # layer → one number per density on offer
STEPS = 4000  # of the budget, in which costs are counted
LEAST = 0.02  # what no layer falls below


def uniform(sizes: Mapping[str, int], density: float) -> dict[str, float]:
    """The same density everywhere."""
    return dict.fromkeys(sizes, density)


def triangle(sizes: Mapping[str, int], density: float, slope: float = 0.8) -> dict[str, float]:
    """Falling along a line from the first layer to the last, `density` of all weights in all.

    `slope` is the drop from first to last relative to the first; densities lie in LEAST … 1.
    """
    weight = np.array([sizes[name] for name in sizes], float)
    line = 1.0 - slope * np.linspace(0.0, 1.0, len(sizes))
    low, high = 0.0, float(1.0 / line.min())
    for _ in range(60):  # clipped sums rise with the factor: halve the interval
        factor = (low + high) / 2
        total = float(weight @ np.clip(factor * line, LEAST, 1.0)) / weight.sum()
        low, high = (low, factor) if total > density else (factor, high)
    return dict(zip(sizes, np.clip(low * line, LEAST, 1.0).tolist(), strict=True))


def of_weights(
    offered: Sequence[float], losses: Table, sizes: Mapping[str, int], density: float
) -> dict[str, float]:
    """The densities that lose least where `density` of all weights stays (C9)."""
    costs = {name: [size * share for share in offered] for name, size in sizes.items()}
    return cheapest(offered, losses, costs, density * sum(sizes.values()))


def cheapest(
    offered: Sequence[float], losses: Table, costs: Table, budget: float
) -> dict[str, float]:
    """One of the `offered` densities for each layer: the least Σ losses with Σ costs ≤ `budget`.

    Solved exactly for costs rounded up to a 4000th of the budget (a knapsack with one choice per
    layer, by dynamic programming). Raises `BudgetError` where even the cheapest are too dear.
    """
    best = np.zeros(STEPS + 1)  # best[b]: the least loss of the layers so far, for b steps at most
    choices: list[Array] = []
    for name in losses:
        loss = np.asarray(losses[name], float)
        steps = np.ceil(np.asarray(costs[name], float) / budget * STEPS - 1e-9).astype(int)
        rows = np.full((len(loss), STEPS + 1), np.inf)
        for row, own, taken in zip(rows, loss, steps, strict=True):
            if taken <= STEPS:
                row[taken:] = best[: STEPS + 1 - taken] + own
        choices.append(rows.argmin(0))
        best = rows.min(0)
    if not np.isfinite(best[STEPS]):
        least = sum(min(costs[name]) for name in losses)
        raise BudgetError(
            f"The layers must cost at most {budget:.4g}, but their least is {least:.4g}.",
            "Offer lower densities, or a larger budget.",
        )
    left, found = STEPS, {}
    for name, choice in zip(reversed(list(losses)), reversed(choices), strict=True):
        at = int(choice[left])
        found[name] = float(offered[at])
        left -= int(np.ceil(costs[name][at] / budget * STEPS - 1e-9))
    return {name: found[name] for name in losses}
