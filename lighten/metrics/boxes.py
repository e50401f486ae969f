"""What a one-stage grid detector says, as boxes: decoding, overlap, non-maximum suppression.

The answer is `[n, 5 + classes, rows, columns]`: per cell two offsets of the centre within the
cell, width and height as shares of the image (all four before a sigmoid), the objectness and one
score per class. One box per cell, as in Redmon et al. 2016, "You Only Look Once".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lighten.core.task import Array

LEAST = 0.01  # detections of a lower score are not looked at
OVERLAP = 0.5  # of two boxes of one class that overlap more, the lower goes
MOST = 32  # detections kept per image


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of n images, at most m each: `corners` `[n, m, 4]` (left, top, right, bottom, in

    shares of the image), `classes` and `scores` `[n, m]`; absent ones have the score −1.
    """

    corners: Array
    classes: Array
    scores: Array


def decoded(answer: Array) -> Boxes:
    """One box per cell with its likeliest class; score = P(object) · P(class | object)."""
    n, depth, height, width = answer.shape
    cells = answer.astype(np.float64).reshape(n, depth, height * width)
    offset, size = _sigmoid(cells[:, :2]), _sigmoid(cells[:, 2:4])
    row, column = np.divmod(np.arange(height * width), width)
    x, y = (column + offset[:, 0]) / width, (row + offset[:, 1]) / height
    odds = np.exp(cells[:, 5:] - cells[:, 5:].max(1, keepdims=True))
    likely = odds / odds.sum(1, keepdims=True)
    scores = _sigmoid(cells[:, 4]) * likely.max(1)
    return Boxes(corners(x, y, size[:, 0], size[:, 1]), likely.argmax(1), scores)


def corners(x: Array, y: Array, width: Array, height: Array) -> Array:
    """Boxes `[…, 4]` as left, top, right, bottom from their centres and sizes `[…]`."""
    return np.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), axis=-1)


def overlap(a: Array, b: Array) -> Array:
    """Intersection over union of every box in `a` `[n, i, 4]` with every one in `b` `[n, j, 4]`.

    >>> overlap(np.array([[[0.0, 0, 2, 1]]]), np.array([[[1.0, 0, 3, 1]]])).round(3).tolist()
    [[[0.333]]]
    """
    first, second = a[:, :, None], b[:, None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.maximum(high - low, 0.0).prod(-1)
    areas = [np.maximum(box[..., 2:] - box[..., :2], 0.0).prod(-1) for box in (first, second)]
    found: Array = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    return found


def suppressed(boxes: Boxes, most: int = MOST) -> Boxes:
    """The best boxes of every image, best first; of two of one class that overlap the lower goes.

    Greedy non-maximum suppression (Felzenszwalb et al. 2010), all images at once.
    """
    order = np.argsort(-boxes.scores, axis=1, kind="stable")
    box = np.take_along_axis(boxes.corners, order[..., None], 1)
    kind = np.take_along_axis(boxes.classes, order, 1)
    score = np.take_along_axis(boxes.scores, order, 1)
    kept = score >= LEAST
    hides = (overlap(box, box) > OVERLAP) & (kind[:, :, None] == kind[:, None])
    for place in range(score.shape[1]):
        later = np.arange(score.shape[1]) > place
        kept &= ~(kept[:, place, None] & hides[:, place] & later)
    score = np.where(kept, score, -1.0)
    best = np.argsort(-score, axis=1, kind="stable")[:, :most]
    return Boxes(
        np.take_along_axis(box, best[..., None], 1),
        np.take_along_axis(kind, best, 1),
        np.take_along_axis(score, best, 1),
    )


def told(answer: Array, original: Array) -> Array:
    """What a grid's answer says of objects, as shares, in the answer's shape.

    Boxes and classes count as far as the original sees an object in the cell.
    """
    seen = _sigmoid(original[:, 4:5])
    odds = np.exp(answer[:, 5:] - answer[:, 5:].max(1, keepdims=True))
    likely = odds / odds.sum(1, keepdims=True)
    parts = (_sigmoid(answer[:, :4]) * seen, _sigmoid(answer[:, 4:5]), likely * seen)
    return np.concatenate(parts, axis=1)


def _sigmoid(x: Array) -> Array:
    found: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found
