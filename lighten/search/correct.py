"""What trials teach: predictions scaled to what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
from scipy.optimize import nnls

from lighten.core.trial import Trial
from lighten.search.space import Space

PRIOR = 1.0  # how many trials' worth of trust the first predictions get


def corrected(space: Space, history: Sequence[Trial], before_ms: float) -> Space:
    """The same space with its limits and losses scaled to what the trials showed.

    Latency: the limit is divided by the median of measured ÷ predicted, where measured is the
    ratio to the original, timed in turns, × the `before_ms` that the limit was made from: so a
    disturbed baseline corrects itself. Loss: each technique's
    predicted losses are multiplied by one factor, the non-negative least-squares fit of measured
    drops, pulled towards one common factor while trials are few.
    """
    trials = [t for t in history if t.score is not None and t.stage == "verify"]
    if not trials or space.problem is None:
        return space
    limits = dict(space.limits)
    ratios = [
        t.predicted["measured_ratio"] * before_ms / t.predicted["latency"]
        for t in trials
        if t.predicted.get("latency") and t.predicted.get("measured_ratio")
    ]
    if "latency" in limits and ratios:
        limits["latency"] /= median(ratios)
    factors = loss_factors(space, trials)
    nodes = tuple(
        replace(node, loss=tuple(factors[place.technique] * loss for loss in node.loss))
        for node, place in zip(space.problem.nodes, space.places, strict=True)
    )
    return space.bounded(replace(space.problem, nodes=nodes), limits)


def loss_factors(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Technique → points of drop per unit of predicted loss."""
    names = sorted({place.technique for place in space.places})
    parts = np.array([_parts(space, trial, names) for trial in trials])
    drops = np.array([max(trial.predicted["drop"], 0.0) for trial in trials])
    total = parts.sum()
    common = max(float(drops.sum() / total), 1e-3) if total > 0 else 1.0
    pull = PRIOR * np.sqrt((parts**2).mean(axis=0).sum() + 1e-12) * np.eye(len(names))
    matrix = np.vstack([parts, pull])
    wanted = np.concatenate([drops, pull.diagonal() * common])
    found, _ = nnls(matrix, wanted)
    return {name: max(float(f), 0.1 * common) for name, f in zip(names, found, strict=True)}


def _parts(space: Space, trial: Trial, names: Sequence[str]) -> list[float]:
    """The predicted loss of a trial, technique by technique."""
    choice = space.choice(trial.recipe.without_training())
    nodes = zip(space.priced.nodes, space.places, choice, strict=True)
    losses = [(place.technique, node.loss[c]) for node, place, c in nodes]
    return [sum(loss for technique, loss in losses if technique == name) for name in names]
