"""Average precision of detected boxes, as COCO computes it (Lin et al. 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lighten.core.task import Array, Metric
from lighten.metrics.boxes import Boxes, corners, decoded, overlap, suppressed

COCO = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # the overlaps of COCO's headline figure
RECALLS = np.linspace(0.0, 1.0, 101)


def answered(outputs: Any) -> Boxes:
    """The grid's boxes after non-maximum suppression."""
    return suppressed(decoded(np.asarray(outputs)))


def average_precision(
    classes: int,
    overlaps: Sequence[float] = (0.5,),
    boxes: Callable[[Any], Boxes] = answered,
) -> Metric:
    """100 × the mean over classes and `overlaps` of the average precision, in points.

    Outputs become `Boxes` by `boxes`, by default a grid's. The target `[n, m, 5]` holds per object
    its class, centre x, y, width and height (in shares of the image); a class of −1 is no object.
    `overlaps=COCO` gives the mean over ten overlaps. A detection, best first, takes the free
    object of its class that it overlaps most; precision is the best at this recall or any higher,
    averaged over 101 recalls (Lin et al. 2014, and its `cocoeval`).
    """
    name = f"AP{round(100 * overlaps[0])}" if len(overlaps) == 1 else "AP"
    wanted = np.asarray(overlaps, np.float64)

    def rows(outputs: Any, target: Any) -> Array:
        truth = np.asarray(target, np.float64)
        found = boxes(outputs)
        matched = matches(found, truth, wanted)
        kinds = truth[..., 0]
        counts = (kinds[..., None] == np.arange(classes)).sum(1)
        columns = (found.scores[..., None], found.classes[..., None], matched)
        told = np.concatenate(columns, axis=2).reshape(len(truth), -1)
        return np.concatenate((counts, told), axis=1).astype(np.float64)

    def reduce(rows: Array) -> float:
        counts = rows[:, :classes].sum(0)
        told = rows[:, classes:].reshape(-1, 2 + len(wanted))
        told = told[told[:, 0] >= 0]
        told = told[np.argsort(-told[:, 0], kind="stable")]
        found = [
            precision(told[told[:, 1] == kind, 2:], counts[kind])
            for kind in range(classes)
            if counts[kind]
        ]
        return 100.0 * float(np.mean(found)) if found else 0.0

    return Metric(name, rows=rows, reduce=reduce)


def matches(found: Boxes, truth: Array, wanted: Array) -> Array:
    """Whether each detection finds an object, at every overlap: `[n, detections, overlaps]`.

    Detections come best first. Of objects that are overlapped alike, the first is taken.
    """
    there = corners(*np.moveaxis(truth[..., 1:], -1, 0))
    shared = overlap(found.corners, there)
    same = found.classes[..., None] == truth[:, None, :, 0]
    shared = np.where(same, shared, -1.0)  # [n, detections, objects]
    n, detections, objects = shared.shape
    taken = np.zeros((n, len(wanted), objects), bool)
    matched = np.zeros((n, detections, len(wanted)), bool)
    if not objects:
        return matched
    for place in range(detections):
        free = np.where(taken, -1.0, shared[:, place, None])
        hit = (free.max(-1) >= wanted) & (found.scores[:, place, None] >= 0)
        taken |= (np.arange(objects) == free.argmax(-1)[..., None]) & hit[..., None]
        matched[:, place] = hit
    return matched


def precision(matched: Array, objects: float) -> Array:
    """The average precision at every overlap, from detections `[m, overlaps]`, best first."""
    right = np.cumsum(matched, axis=0)
    share = right / np.arange(1, len(right) + 1)[:, None]
    best = np.maximum.accumulate(share[::-1], axis=0)[::-1]
    found = np.zeros(matched.shape[1])
    for column in range(matched.shape[1]):
        place = np.searchsorted(right[:, column] / objects, RECALLS, side="left")
        reached = place[place < len(right)]
        found[column] = best[reached, column].sum() / len(RECALLS)
    return found
