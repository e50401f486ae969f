"""Mean intersection over union of predicted and true regions (the Jaccard index per class)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.core.task import Array, Metric
from lighten.errors import DataError


def miou(classes: int, ignore: int | None = None) -> Metric:
    """100 × the mean over classes of |predicted ∩ true| / |predicted ∪ true|, in points.

    Outputs are scores `[n, classes, …]`, the target class numbers `[n, …]`; pixels whose label is
    `ignore` count nowhere. Pixels are summed over all samples before dividing; a class that is
    neither predicted nor true is left out. Source: Everingham et al. 2015, "The Pascal Visual
    Object Classes Challenge: A Retrospective", section 4.3.

    >>> scores = np.eye(2)[np.array([[0, 0, 1, 1]])].transpose(0, 2, 1)
    >>> metric = miou(2)
    >>> round(metric.reduce(metric.rows(scores, np.array([[0, 1, 1, 1]]))), 2)
    58.33
    """

    def rows(outputs: Any, target: Any) -> Array:
        return overlaps(np.asarray(outputs).argmax(1), np.asarray(target), classes, ignore)

    return Metric("mIoU", rows=rows, reduce=mean_ratio)


def overlaps(predicted: Array, target: Array, classes: int, ignore: int | None = None) -> Array:
    """Pixels in the intersection, then in the union, of every class and sample: `[n, 2·classes]`.

    Raises `DataError` where the maps differ in shape or a label is out of range.
    """
    if predicted.shape != target.shape:
        raise DataError(
            f"The map of labels must have the answer's shape {predicted.shape}, "
            f"but got {target.shape}."
        )
    counted = np.ones(target.shape, bool) if ignore is None else target != ignore
    wrong = target[counted & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise DataError(f"A pixel's label must be 0 to {classes - 1}, but got {wrong[0]}.")
    n = len(target)
    sample = np.arange(n).reshape(n, *(1,) * (target.ndim - 1))
    cell = (sample * classes + target.astype(np.int64)) * classes + predicted
    confusion = np.bincount(cell[counted], minlength=n * classes**2)
    confusion = confusion.reshape(n, classes, classes)
    both = np.diagonal(confusion, axis1=1, axis2=2)
    either = confusion.sum(1) + confusion.sum(2) - both
    return np.concatenate((both, either), axis=1).astype(np.float64)


def mean_ratio(rows: Array) -> float:
    """100 × the mean over classes of the summed intersections over the summed unions."""
    both, either = np.split(rows.sum(0), 2)
    there = either > 0
    return 100.0 * float((both[there] / either[there]).mean()) if there.any() else 0.0
