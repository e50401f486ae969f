"""The solver as a searcher: the integer program's optimum, then the best that are different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.search.history import tried
from lighten.search.milp import Solution, solve
from lighten.search.problem import Choice
from lighten.search.space import Space

name = "solver"
SHARE = 8  # of the places: one in so many must differ between two proposals
SHADES = (1.0, 0.94, 1.05)  # of the limits: the predictions may be off to either side
RUNGS = 8


def propose(space: Space, history: Sequence[Trial], seed: int, count: int) -> list[Recipe]:
    """The recipes of least predicted loss, each well apart from the others and from the history.

    Where nothing meets the limits, the nearest.
    """
    problem = space.priced
    apart = max(1, len(space.places) // SHARE)
    known: list[Choice] = list(tried(space, history))
    found: list[Recipe] = []
    for turn in range(4 * count):
        if len(found) == count:
            break
        shade = SHADES[turn % len(SHADES)] if turn >= count else 1.0
        limits = {q: limit * min(shade, 1.0) for q, limit in space.limits.items()}
        forbidden = [(choice, apart if turn < 2 * count else 1) for choice in known]
        solution = solve(problem, limits, forbidden=forbidden)
        choice = space.plain(solution.choice)
        if not np.isfinite(solution.gap) or choice in known:
            continue
        known.append(choice)
        found.append(space.recipe(choice))
    return found


def front(space: Space, rungs: int = RUNGS) -> list[tuple[Recipe, dict[str, float]]]:
    """The predicted Pareto front of loss against the tightest limited quantity (else latency).

    From the limit's neighbourhood to nothing done: (recipe, its predicted costs and "loss").
    """
    problem = space.priced
    quantity = next(iter(space.limits), "latency")
    most = problem.cost(problem.mildest, quantity)
    least = solve(problem, {quantity: 0.25 * space.limits.get(quantity, most)}).costs[quantity]
    found: dict[Choice, Solution] = {}
    for limit in np.geomspace(max(least, 1e-9) * 1.001, most * 1.001, rungs):
        solution = solve(problem, {quantity: float(limit)})
        if solution.meets:
            found.setdefault(space.plain(solution.choice), solution)
    return [(space.recipe(choice), _costs(solution)) for choice, solution in found.items()]


def _costs(solution: Solution) -> dict[str, float]:
    costs: Mapping[str, float] = solution.costs
    return {**costs, "loss": solution.loss}
