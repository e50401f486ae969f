"""What it would take to go further: from the result on, by the search's own predictions.

The integer program is solved once more with everything that was done kept and a limit tightened
from what the result is predicted to cost. What that loses is predicted too; the trials tell how
many points of the metric one nat (or unit of squared error) has cost so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.search.milp import Solution, solve
from lighten.search.problem import Choice, Problem
from lighten.search.space import Space
from lighten.search.why import covered

SHARES = (0.1, 0.25)  # less of each limited quantity
BARRED = 2e4  # loss of undoing what was done: above that of missing a limit by all of it
SECONDS = 5.0  # for each solution
LEAST = 0.01  # a share below this is no step


def further(
    space: Space, recipe: Recipe, trials: Sequence[Trial], scale: tuple[float, float]
) -> list[dict[str, Any]]:
    """For every limited quantity, what 10 % and 25 % less would lose, and where; all predicted.

    `space` is corrected by the trials, and latency is `scale`: offset + factor · predicted. A share
    that no choice reaches has "possible" False, and tells the most that can be reached, if any.
    "seen" is the largest loss that a trial came to: what lies beyond is a guess.
    """
    choice = space.choice(recipe.without_training())
    problem = onward(space, choice)
    points = points_per_loss(trials)
    seen = max((t.predicted.get("divergence", 0.0) for t in trials), default=0.0)
    found: list[dict[str, Any]] = []
    for quantity in space.limits:
        line = scale if quantity == "latency" else (0.0, 1.0)
        now = problem.cost(choice, quantity)
        shown = line[0] + line[1] * now
        for share in SHARES:
            limits = _limits(space, problem, choice)
            limits[quantity] = now - share * shown / line[1]
            solution = solve(problem, limits, SECONDS)
            told = {"quantity": quantity, "share": share, "from": shown, "seen": seen}
            told["possible"] = solution.meets
            if solution.meets:
                found.append({**told, **_told(space, choice, solution, (quantity, line, points))})
                continue
            found.append({**told, **_most(space, choice, solution, (quantity, line, points))})
            break
    return found


def onward(space: Space, choice: Choice) -> Problem:
    """The problem of going on from a choice: its losses count from there, undoing is barred.

    What a block loses when it is dropped is less what was lost inside it already.
    """
    nodes = space.priced.nodes
    losses = [np.array(node.loss) - node.loss[c] for node, c in zip(nodes, choice, strict=True)]
    for at, place in enumerate(space.places):
        if place.technique == "blocks" and not choice[at]:
            inside = sum(nodes[i].loss[choice[i]] for i in space.inside[place.name])
            losses[at][1:] -= inside
    for loss, c in zip(losses, choice, strict=True):
        loss[:c] = BARRED
    pairs = zip(nodes, losses, strict=True)
    onward = [replace(node, loss=tuple(map(float, loss))) for node, loss in pairs]
    return replace(space.priced, nodes=tuple(onward))


def points_per_loss(trials: Sequence[Trial]) -> tuple[float, float, int]:
    """How much of the metric went per unit of divergence measured: slope, standard error, trials.

    Least squares through zero, each trial counting by its own standard error. (0, inf, 0) where no
    trial says anything.

    >>> seen = {"drop": 1.0, "divergence": 0.1, "standard_error": 0.5}
    >>> slope, error, count = points_per_loss([Trial(Recipe(), None, "verify", seen)] * 4)
    >>> round(slope, 6), round(error, 6), count
    (10.0, 2.5, 4)
    """
    keys = ("drop", "divergence", "standard_error")
    told = [t.predicted for t in trials if all(t.predicted.get(key) is not None for key in keys)]
    if not told:
        return 0.0, float("inf"), 0
    drops, apart, errors = np.array([[each[key] for key in keys] for each in told]).T
    weight = 1.0 / np.maximum(errors, 1e-6 + 1e-3 * np.abs(drops).max()) ** 2
    known = float((weight * apart**2).sum())
    if known <= 0:
        return 0.0, float("inf"), 0
    return float((weight * apart * drops).sum()) / known, float(known**-0.5), len(told)


def _limits(space: Space, problem: Problem, choice: Choice) -> dict[str, float]:
    """The limits that there are, or what the result costs where it is predicted above them."""
    return {q: max(limit, problem.cost(choice, q)) for q, limit in space.limits.items()}


def _told(
    space: Space, choice: Choice, solution: Solution, known: tuple[str, Any, Any]
) -> dict[str, Any]:
    """A solution as plain values: what it comes to, what it loses, and the steps it takes."""
    quantity, (offset, factor), (slope, error, count) = known
    plain = space.plain(solution.choice)
    loss = max(0.0, solution.loss)
    told = {"to": offset + factor * solution.costs[quantity], "loss": loss, "trials": count}
    if count:
        told |= {"drop": max(0.0, slope) * loss, "drop_error": error * loss}
    return {**told, "steps": _steps(space, choice, plain)}


def _most(
    space: Space, choice: Choice, solution: Solution, known: tuple[str, Any, Any]
) -> dict[str, Any]:
    """The most that can be reached where a share cannot: the nearest solution, or nothing."""
    quantity, (offset, factor), _ = known
    now = offset + factor * space.priced.cost(choice, quantity)
    reached = offset + factor * solution.costs[quantity]
    undone = any(new < old for new, old in zip(solution.choice, choice, strict=True))
    if undone or not np.isfinite(solution.gap) or reached > (1 - LEAST) * now:
        return {"steps": []}
    return _told(space, choice, solution, known)


def _steps(space: Space, choice: Choice, plain: Choice) -> list[dict[str, Any]]:
    """Where the two choices differ, in layers: the dearest first."""
    dropped = {
        at
        for i, place in enumerate(space.places)
        if place.technique == "blocks" and plain[i]
        for at in space.inside[place.name]
    }
    groups = {group.name: group for group in space.graph.groups}
    nodes = onward(space, choice).nodes
    blocks = {block.name: block for block in space.graph.blocks}
    kinds: Mapping[str, Mapping[str, Any]] = {"channels": groups, "blocks": blocks}
    found = []
    for at, place in enumerate(space.places):
        if plain[at] == choice[at] or at in dropped:
            continue
        whole = kinds.get(place.technique, {}).get(place.name)
        found.append(
            {
                "technique": place.technique,
                "place": place.name,
                "layers": list(covered(whole)) if whole else [place.name],
                "from": place.widths[choice[at]],
                "to": place.widths[plain[at]],
                "loss": nodes[at].loss[plain[at]],
            }
        )
    return sorted(found, key=lambda step: (-step["loss"], step["place"]))
