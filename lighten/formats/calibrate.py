"""Choosing the range that codes cover, from a histogram of what flows (rows B1 and B2).

A range that covers everything wastes codes on outliers; one that cuts too much distorts. `max`
cuts nothing, `percentile` a fixed share, `mse` what makes the squared error least, and `kl` what
keeps the distribution's information (Migacz, "8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from lighten.errors import DataError
from lighten.formats.integer import Integer

Array = np.ndarray[Any, Any]
BINS = 2048


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often values fell into bins of one width, bin k being [k · width, (k + 1) · width).

    At most `BINS` bins are held, the first being number `start`; zero is always an edge. `low` and
    `high` are the exact extremes. Adding values outside doubles the width until all fit, so that
    old counts stay exact.

    >>> Histogram.of(np.array([0.0, 1.0, 4.0])).high
    4.0
    """

    counts: Array
    start: int = 0
    width: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def empty(cls) -> Histogram:
        """Nothing seen yet."""
        return cls(np.zeros(0, np.int64))

    @classmethod
    def of(cls, x: Array) -> Histogram:
        """The histogram of one array."""
        return cls.empty().add(x)

    @property
    def total(self) -> int:
        """How many values were added."""
        return int(self.counts.sum())

    @property
    def centres(self) -> Array:
        """The middle of every bin."""
        return np.asarray((self.start + np.arange(len(self.counts)) + 0.5) * self.width)

    def add(self, x: Array) -> Histogram:
        """This histogram with the values of `x` in it. Raises `DataError` on NaN or infinity."""
        x = np.asarray(x, np.float64).ravel()
        if not len(x):
            return self
        low, high = float(x.min()), float(x.max())
        if not np.isfinite(low) or not np.isfinite(high):
            raise DataError("Values to be quantised must be finite, but got NaN or infinity.")
        low, high = min(low, self.low), max(high, self.high)
        width = self.width or _width(low, high)
        while _count(low, high, width) > BINS:
            width *= 2
        first = floor(low / width)
        counts = np.zeros(max(_count(low, high, width), 1), np.int64)
        if self.counts.size:
            old = np.arange(self.start, self.start + len(self.counts))
            # a power of two wider: every old bin lies whole in one new bin
            np.add.at(counts, old // round(width / self.width) - first, self.counts)
        index = np.clip(np.floor(x / width).astype(np.int64) - first, 0, len(counts) - 1)
        counts += np.bincount(index, minlength=len(counts))
        extremes = (low, high) if self.counts.size else (float(x.min()), float(x.max()))
        return Histogram(counts, first, width, *extremes)

    def magnitudes(self) -> Array:
        """Counts of |x|, from zero up: both sides laid on each other."""
        positive = self.counts[max(-self.start, 0) :]
        negative = self.counts[: max(-self.start, 0)][::-1]
        lead = np.zeros(max(self.start, 0), np.int64)
        folded = np.zeros(max(len(positive) + len(lead), len(negative)), np.int64)
        folded[len(lead) : len(lead) + len(positive)] += positive
        folded[: len(negative)] += negative
        return folded


def _width(low: float, high: float) -> float:
    """A width at which [low, high] fits: exact where only one side of zero is used."""
    if low < 0 < high:
        return (high - low) / (BINS - 2)
    return max(max(-low, high) / BINS, float(np.finfo(np.float64).tiny))


def _count(low: float, high: float, width: float) -> int:
    # a hair of slack, so that high == BINS · width is BINS bins whatever the rounding
    return ceil(high / width * (1 - 1e-12)) - floor(low / width * (1 - 1e-12))


def largest(histogram: Histogram, format: Integer) -> tuple[float, float]:
    """Everything (row B1): the range saturates nothing."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram, format: Integer, share: float = 0.9999) -> tuple[float, float]:
    """All but the outermost 1 − `share` of the values, half of it on each side that is used."""
    below = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / max(histogram.total, 1)
    edges = (histogram.start + np.arange(len(below))) * histogram.width
    sides = (histogram.low < 0) + (histogram.high > 0)
    tail = (1 - share) / max(sides, 1)
    low = float(np.interp(tail, below, edges)) if histogram.low < 0 else 0.0
    high = float(np.interp(1 - tail, below, edges)) if histogram.high > 0 else 0.0
    return max(low, min(histogram.low, 0.0)), min(high, max(histogram.high, 0.0))


def least_squares(histogram: Histogram, format: Integer, steps: int = 50) -> tuple[float, float]:
    """The range whose codes lie nearest in the mean square: both ends, then each end alone."""
    x, weight = histogram.centres, histogram.counts / max(histogram.total, 1)

    def error(low: float, high: float) -> float:
        params = format.span(low, high)
        return float((weight * (format.decode(format.encode(x, params), params) - x) ** 2).sum())

    best = (min(histogram.low, 0.0), max(histogram.high, 0.0))
    for low_moves, high_moves in ((1, 1), (0, 1), (1, 0)):
        low, high = best
        ranges = [
            (low * (1 - s * low_moves), high * (1 - s * high_moves))
            for s in np.linspace(0, 0.9, steps)
        ]
        best = min(ranges, key=lambda pair: error(*pair))
    return best


def neutralised(counts: Array) -> Array:
    """The zero bin made like its neighbour: after a ReLU it holds half of all values, which says
    nothing about where to cut but would outweigh everything else.
    """
    return np.concatenate([counts[1:2], counts[1:]]) if len(counts) > 1 else counts


def split(counts: Array, kept: int) -> tuple[Array, Array]:
    """What is compared at a cut after `kept` bins: the clipped distribution, outliers in its last
    bin, and the bins as they are, from which the codes' distribution is built.
    """
    inside = counts[:kept].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[kept:].sum()
    return clipped, inside


def coarse(bins: Array, levels: int) -> Array:
    """`bins` as `levels` codes see them: each level's mean, over its bins that are not empty."""
    starts = np.arange(levels) * len(bins) // levels
    used = (bins > 0).astype(np.float64)
    mean = np.add.reduceat(bins, starts) / np.maximum(np.add.reduceat(used, starts), 1)
    return np.asarray(np.repeat(mean, np.diff([*starts, len(bins)])) * used)


def divergence(p: Array, q: Array) -> float:
    """KL(P ‖ Q) of two histograms, infinite where Q lacks what P has."""
    held = p > 0
    if not q.sum() or (q[held] == 0).any():
        return float("inf")
    p, q = p[held] / p.sum(), q[held] / q.sum()
    return float((p * np.log(p / q)).sum())


def entropy(histogram: Histogram, format: Integer) -> tuple[float, float]:
    """The magnitude T beyond which to saturate, so that KL(P ‖ Q) is least (row B2).

    A side of zero has 128 levels, or all 256 of an affine format where only one side is used.
    """
    counts = neutralised(histogram.magnitudes())
    codes = format.high - format.low + 1
    both = format.symmetric or histogram.low < 0 < histogram.high
    levels = (codes + 1) // 2 if both else codes
    kept = range(levels, len(counts) + 1)
    scores = []
    for bins in kept:
        clipped, inside = split(counts, bins)
        scores.append(divergence(clipped, coarse(inside, levels)))
    if not scores or not np.isfinite(min(scores)):
        return largest(histogram, format)
    cut = (kept[int(np.argmin(scores))] + 0.5) * histogram.width
    return max(histogram.low, -cut), min(histogram.high, cut)


CALIBRATORS: Mapping[str, Callable[[Histogram, Integer], tuple[float, float]]] = {
    "max": largest,
    "percentile": percentile,
    "mse": least_squares,
    "kl": entropy,
}
