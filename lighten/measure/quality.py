"""How good answers are, and how much worse than before, with 95 % intervals.

Both networks answer the same samples, so the difference is measured sample by sample: its interval
is far narrower than two separate ones would suggest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import log_softmax

from lighten.core.protocols import Executable
from lighten.core.task import Batch, Metric, mean_percent
from lighten.core.trial import Interval
from lighten.errors import DataError
from lighten.metrics import boxes
from lighten.metrics.embeddings import unit

Array = np.ndarray[Any, Any]
Z = 1.959963984540054  # a normal variable lies within ± Z of its mean in 95 % of cases
RESAMPLES = 2000


def rows(executable: Executable, batches: Iterable[Batch], metric: Metric) -> Array:
    """One row of the metric's statistics per sample, `[n]` or `[n, k]`, in the batches' order.

    A network with one output hands the metric that array, one with several a tuple.
    """
    found = []
    for batch in batches:
        outputs = executable(*batch.inputs)
        found.append(metric.rows(outputs[0] if len(outputs) == 1 else outputs, batch.target))
    if not found:
        raise DataError("Quality needs at least one sample, but got none.")
    return np.concatenate(found)


def quality(rows: Array, metric: Metric) -> float:
    """The metric's number, in its unit."""
    return float(metric.reduce(rows))


# the loss of a task → what counts of an answer, beside the original's, where that is not all of it
COUNTS: dict[str, Callable[[Array, Array], Array]] = {
    "similarity": lambda answer, original: unit(answer),
    "detection": boxes.told,
}


def divergence(before: Array, after: Array, loss: object) -> float:
    """How far the answers `after` are from `before`, `[n, …]`, on average; `loss` is the task's.

    Of class scores `[n, classes, …]`: the Kullback–Leibler divergence, in nats. Of other answers:
    the squared error relative to the variance of `before`; of embeddings only the directions
    count, of detections only what is said of objects.
    """
    if loss == "cross_entropy":
        scores = (np.moveaxis(x, 1, -1).astype(np.float64) for x in (before, after))
        p, q = (log_softmax(x, axis=-1) for x in scores)
        return float((np.exp(p) * (p - q)).sum(-1).mean())
    if isinstance(loss, str) and loss in COUNTS:
        before, after = (COUNTS[loss](answer, before) for answer in (before, after))
    spread = float(before.var()) if before.size > 1 else 1.0
    return float(np.square(after - before).mean()) / max(spread, 1e-12)


def apart(before: Executable, after: Executable, batches: Iterable[Batch], loss: object) -> float:
    """The `divergence` of two networks' first outputs over all these samples."""
    total, count = 0.0, 0
    for batch in batches:
        pair = (before(*batch.inputs)[0], after(*batch.inputs)[0])
        total += len(batch) * divergence(*pair, loss)
        count += len(batch)
    return total / max(count, 1)


def interval(rows: Array, metric: Metric, seed: int = 0) -> Interval:
    """The 95 % interval of `quality(rows, metric)`.

    Shares of right answers: Wilson's score interval (1927), in points. Everything else: percentile
    bootstrap over samples.
    """
    if _is_share(rows, metric):
        return _wilson(float(rows.sum()), len(rows))
    values = [metric.reduce(rows[draw]) for draw in _draws(len(rows), seed)]
    return _middle(np.array(values))


def paired_drop(
    rows_before: Array, rows_after: Array, metric: Metric, seed: int = 0
) -> tuple[float, Interval]:
    """How much worse `after` is than `before` on the same samples, with its 95 % interval.

    In the metric's unit, positive where worse. Shares of right answers: Tango's score interval for
    paired proportions (1998), Wilson's for pairs: it does not collapse where no answer changed.
    Everything else: percentile bootstrap over pairs.
    """
    _same_samples(rows_before, rows_after)
    drop = metric.drop(quality(rows_before, metric), quality(rows_after, metric))
    if _is_share(rows_before, metric) and _is_share(rows_after, metric):
        if metric.higher_is_better:
            return drop, _tango(rows_before, rows_after)
        return drop, _tango(rows_after, rows_before)
    return drop, _middle(_drops(rows_before, rows_after, metric, seed))


def standard_error(rows_before: Array, rows_after: Array, metric: Metric, seed: int = 0) -> float:
    """The standard error of `paired_drop`, in the metric's unit.

    Of shares of right answers, after half a sample is added to each of the four kinds of pairs
    (Agresti and Min 2005): positive even where all agree.
    """
    _same_samples(rows_before, rows_after)
    if _is_share(rows_before, metric) and _is_share(rows_after, metric):
        return _agresti_min(rows_before, rows_after)
    return float(_drops(rows_before, rows_after, metric, seed).std())


def _is_share(rows: Array, metric: Metric) -> bool:
    """Whether the metric is the share of ones among zeros and ones, in percent."""
    return metric.reduce is mean_percent and rows.ndim == 1 and bool(np.isin(rows, (0, 1)).all())


def _wilson(right: float, n: int) -> Interval:
    share = right / n
    center = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Interval(100 * max(0.0, float(center - half)), 100 * min(1.0, float(center + half)))


def _agresti_min(before: Array, after: Array) -> float:
    lost = float(np.sum(before > after)) + 0.5
    won = float(np.sum(before < after)) + 0.5
    n = len(before) + 2
    return 100 * float(np.sqrt(lost + won - (lost - won) ** 2 / n)) / n


def _tango(before: Array, after: Array) -> Interval:
    """The differences of shares, in points, that a score test does not reject.

    `lost` samples were right before only, `won` after only. A difference d is rejected where
    |lost − won − n·d| > Z·√(n·(2q + d·(1 − d))), q the likeliest share won given d.
    """
    lost, won, n = float(np.sum(before > after)), float(np.sum(before < after)), len(before)

    def rejected(d: float) -> bool:
        b = -lost - won + (2 * n - lost + won) * d
        root = sqrt(max(b * b + 8 * n * won * d * (1 - d), 0.0))
        variance = n * (2 * (root - b) / (4 * n) + d * (1 - d))
        return abs(lost - won - n * d) > Z * sqrt(max(variance, 0.0))

    seen = (lost - won) / n
    low, high = (_edge(rejected, seen, end) for end in (-1.0, 1.0))
    return Interval(100 * low, 100 * high)


def _edge(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where, between a value that is not rejected and the end of the range, rejection begins."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside


def _draws(n: int, seed: int) -> Iterable[Array]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, n, n) for _ in range(RESAMPLES))


def _drops(before: Array, after: Array, metric: Metric, seed: int) -> Array:
    draws = _draws(len(before), seed)
    return np.array(
        [metric.drop(metric.reduce(before[draw]), metric.reduce(after[draw])) for draw in draws]
    )


def _middle(values: Array) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))


def _same_samples(before: Array, after: Array) -> None:
    if before.shape != after.shape or len(before) == 0:
        raise DataError(
            f"Paired rows must be of the same samples, but got {before.shape} and {after.shape}."
        )
