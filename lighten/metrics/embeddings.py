"""Whether embeddings lie as near each other as what they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.core.task import Array, Metric, mean_percent

PARTNERS = 4  # pairs per sample: with the next ones in the order of the rows
TINY = 1e-12


def cosine() -> Metric:
    """100 × the mean cosine between each embedding and its target, both `[n, d]`.

    The target may be another network's embedding of the same sample.
    """

    def rows(outputs: Any, target: Any) -> Array:
        found: Array = (unit(outputs) * unit(target)).sum(1)
        return found

    return Metric("cosine", rows=rows, reduce=mean_percent)


def spearman() -> Metric:
    """100 × Spearman's rank correlation of the cosines of pairs with their true similarities.

    Outputs are embeddings `[n, d]`; the target `[n, k]` holds vectors whose cosines are the true
    similarities (graded attributes, or a better network's embeddings). Every sample is paired with
    the next four. Definition: Spearman 1904, ties at their mean rank; use on cosines of
    embeddings: Reimers & Gurevych 2019, section 4.1.
    """

    def rows(outputs: Any, target: Any) -> Array:
        answer, truth = unit(outputs), unit(target)
        wide = max(answer.shape[1], truth.shape[1])
        pad = [np.pad(v, ((0, 0), (0, wide - v.shape[1]))) for v in (answer, truth)]
        return np.stack(pad, axis=1).reshape(len(answer), 2 * wide)

    return Metric("Spearman", rows=rows, reduce=rank_agreement)


def unit(vectors: Any) -> Array:
    """Every row `[n, …]` flattened and divided by its length."""
    flat = np.asarray(vectors, np.float64)
    flat = flat.reshape(len(flat), -1)
    scaled: Array = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), TINY)
    return scaled


def rank_agreement(rows: Array) -> float:
    """100 × Spearman's correlation over the pairs of rows `[n, 2·d]`: embedding, then truth.

    A row is never paired with its own copy, which resampling brings.
    """
    vectors = rows.reshape(len(rows), 2, -1)
    found = []
    for step in range(1, min(PARTNERS, len(rows) - 1) + 1):
        other = np.roll(vectors, -step, axis=0)
        pair = np.einsum("ncd,ncd->nc", vectors, other)
        found.append(pair[(vectors != other).any(axis=(1, 2))])
    pairs = np.concatenate(found) if found else np.zeros((0, 2))
    return 100.0 * correlation(ranks(pairs[:, 0]), ranks(pairs[:, 1])) if len(pairs) else 0.0


def ranks(values: Array) -> Array:
    """The rank of every value from 1, equal values at the mean of theirs.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    means: Array = np.cumsum(count) - (count - 1) / 2
    found: Array = means[place]
    return found


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
