"""What trials teach: predictions corrected by what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from lighten.core.trial import Trial
from lighten.search.space import Space

PRIOR = 1.0  # how many trials' worth of trust the first predictions get
SPREAD = 0.05  # of a latency: what differs from network to network beyond any correction
DOUBT = 0.5  # of a latency: how far off the model may be as a whole, as a factor or as an offset
LEAST = 0.05  # of a latency limit stays, however wrong the predictions were


def corrected(space: Space, history: Sequence[Trial], before_ms: float) -> Space:
    """The same space with its limits and losses corrected by what the trials showed.

    Latency: measured = offset + factor · predicted, where measured is the ratio to the original,
    timed in turns, × the `before_ms` that the limit was made from: so a disturbed baseline corrects
    itself. The limit is what has to be predicted for the wanted to be measured. Loss: each kind of
    evidence counts by one factor, the non-negative least-squares fit of how far the trained answers
    were from the original's, pulled towards one common factor while trials are few.
    """
    trials = [t for t in history if t.score is not None and t.stage == "verify"]
    if not trials or space.problem is None:
        return space
    limits = dict(space.limits)
    if "latency" in limits:
        offset, factor = latency_scale(space, trials, before_ms)
        limits["latency"] = max((limits["latency"] - offset) / factor, LEAST * limits["latency"])
    return space.bounded(space.problem, limits).weighed(loss_factors(space, trials))


def latency_scale(space: Space, history: Sequence[Trial], before_ms: float) -> tuple[float, float]:
    """(offset, factor) of measured = offset + factor · predicted, from the trials' latencies."""
    pairs = [
        (t.predicted["latency"], t.predicted["measured_ratio"] * before_ms)
        for t in history
        if t.stage == "verify" and t.predicted.get("latency") and t.predicted.get("measured_ratio")
    ]
    return latency_line(pairs, space.limits.get("latency", before_ms)) if pairs else (0.0, 1.0)


def latency_line(pairs: Sequence[tuple[float, float]], typical: float) -> tuple[float, float]:
    """(offset, factor) of measured = offset + factor · predicted, by least squares on relative
    errors; few trials leave it near (0, 1), and `typical` is the latency that offsets compare to.

    >>> offset, factor = latency_line([(1.0, 2.0), (0.5, 1.5), (2.0, 3.0)] * 9, 1.0)
    >>> round(offset, 1), round(factor, 1)
    (1.0, 1.0)
    """
    predicted, measured = np.array(pairs).T
    rows = np.stack([typical / measured, predicted / measured], 1)
    matrix = np.vstack([rows / SPREAD, np.eye(2) / DOUBT])
    wanted = np.concatenate([np.ones(len(rows)) / SPREAD, [0.0, 1.0 / DOUBT]])
    (offset, factor), *_ = np.linalg.lstsq(matrix, wanted, rcond=None)
    return float(offset) * typical, max(float(factor), LEAST)


def loss_factors(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Kind of evidence → nats measured after training per nat that it stands for."""
    names = sorted({kind for kinds in space.evidence for kind in kinds})
    if not names:
        return {}
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
