"""What trials teach: predictions scaled to what was measured."""

from __future__ import annotations

from collections.abc import Sequence
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
    disturbed baseline corrects itself. Loss: each kind of evidence counts by one factor, the
    non-negative least-squares fit of how far the trained answers were from the original's, pulled
    towards one common factor while trials are few.
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
    return space.bounded(space.problem, limits).weighed(loss_factors(space, trials))


def loss_factors(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Kind of evidence → nats measured after training per nat that it stands for."""
    names = sorted({kind for kinds in space.evidence for kind in kinds})
    grounds = [space.grounds(space.choice(t.recipe.without_training())) for t in trials]
    parts = np.array([[ground.get(name, 0.0) for name in names] for ground in grounds])
    measured = np.array([max(trial.predicted["divergence"], 0.0) for trial in trials])
    total = parts.sum()
    common = max(float(measured.sum() / total), 1e-3) if total > 0 else 1.0
    pull = PRIOR * np.sqrt((parts**2).mean(axis=0).sum() + 1e-12) * np.eye(len(names))
    matrix = np.vstack([parts, pull])
    wanted = np.concatenate([measured, pull.diagonal() * common])
    found, _ = nnls(matrix, wanted)
    return {name: max(float(f), 0.1 * common) for name, f in zip(names, found, strict=True)}
