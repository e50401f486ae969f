"""The solver as a searcher: the integer program's optimum, then the best that are different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.search.evidence import WIDTH
from lighten.search.history import tried
from lighten.search.milp import Away, Solution, solve
from lighten.search.problem import Choice
from lighten.search.space import Space

name = "solver"
SHARE = 8  # of the places that give the network its form: one in so many must differ
SHADES = (1.0, 0.94, 1.05)  # of the limits: the predictions may be off to either side
TILTS = (1.0, 4.0, 0.25)  # times that lost width counts: no one knows beforehand what decides
RUNGS = 8


def propose(space: Space, history: Sequence[Trial], seed: int, count: int) -> list[Recipe]:
    """The recipes of least predicted loss, each well apart from the others and from the history.

    They differ in how much the width that goes counts beside what was seen: the trials tell.
    Where nothing meets the limits, the nearest.
    """
    shaping = (*space.of("channels"), *space.of("blocks")) or tuple(range(len(space.places)))
    apart = max(1, len(shaping) // SHARE)
    known: list[Choice] = list(tried(space, history))
    found: list[Recipe] = []
    for turn in range(4 * count):
        if len(found) == count:
            break
        shade = SHADES[turn % len(SHADES)] if turn >= count else 1.0
        limits = {q: limit * min(shade, 1.0) for q, limit in space.limits.items()}
        wanted = apart if turn < 2 * count else 1
        away = [Away(choice, shaping, wanted) for choice in known]
        tilted = {**space.factors, WIDTH: TILTS[turn % len(TILTS)] * space.factors.get(WIDTH, 1.0)}
        solution = solve(space.weighed(tilted).priced, limits, away=away)
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
