"""Metrics against their definitions, written out as loops, and against scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import lighten
from lighten.core.task import Metric
from lighten.errors import DataError
from lighten.measure import quality
from lighten.metrics import COCO, METRICS, average_precision, cosine, miou, psnr, spearman
from lighten.metrics.boxes import Boxes, decoded, overlap, suppressed
from lighten.metrics.embeddings import ranks, unit

RNG = np.random.default_rng


def number(metric: Metric, outputs: Any, target: Any) -> float:
    return metric.reduce(metric.rows(outputs, target))


def test_miou_by_hand() -> None:
    """Two images of two pixels; class 0: 1 of 3 pixels shared, class 1: 1 of 3, class 2 absent."""
    scores = np.eye(3)[np.array([[0, 1], [1, 0]])].transpose(0, 2, 1)
    target = np.array([[0, 0], [1, 1]])
    assert number(miou(3), scores, target) == pytest.approx(100 / 3)
    assert number(miou(3, ignore=1), scores, target) == pytest.approx(100 * (1 / 2 + 0) / 2)


def test_miou_sums_pixels_over_images_as_the_loop_does() -> None:
    rng, classes = RNG(0), 4
    scores, target = rng.normal(size=(5, classes, 6, 7)), rng.integers(0, classes, (5, 6, 7))
    said, shares = scores.argmax(1), []
    for kind in range(classes):
        both = np.sum((said == kind) & (target == kind))
        shares.append(both / np.sum((said == kind) | (target == kind)))
    assert number(miou(classes), scores, target) == pytest.approx(100 * np.mean(shares))


def test_miou_names_what_is_wrong() -> None:
    scores = np.zeros((1, 2, 3, 3))
    with pytest.raises(DataError, match="0 to 1, but got 2"):
        miou(2).rows(scores, np.full((1, 3, 3), 2))
    with pytest.raises(DataError, match=r"\(1, 3, 3\), but got \(1, 2, 2\)"):
        miou(2).rows(scores, np.zeros((1, 2, 2), int))


def test_psnr_is_the_formula_of_every_image() -> None:
    rng = RNG(0)
    truth, answer = rng.random((3, 1, 8, 8)), rng.random((3, 1, 8, 8)) * 1.4 - 0.2
    wanted = []
    for t, a in zip(truth, np.clip(answer, 0, 1), strict=True):
        wanted.append(-10 * np.log10(np.mean((t - a)[:, 2:-2, 2:-2] ** 2)))
    assert number(psnr(border=2), answer, truth) == pytest.approx(np.mean(wanted))
    assert number(psnr(255.0), truth, truth) == 100.0
    assert psnr().unit == "dB"


def test_ranks_are_scipys() -> None:
    values = RNG(0).integers(0, 20, 100).astype(float)
    np.testing.assert_allclose(ranks(values), stats.rankdata(values))


def test_spearman_is_scipys_over_the_same_pairs() -> None:
    rng, n = RNG(0), 50
    answer, truth = rng.normal(size=(n, 8)), rng.normal(size=(n, 3))
    truth[:, :2] += answer[:, :2]
    pairs = [(i, (i + step) % n) for step in range(1, 5) for i in range(n)]
    cosines = [[float(unit(v)[i] @ unit(v)[j]) for i, j in pairs] for v in (answer, truth)]
    wanted = 100 * stats.spearmanr(*cosines).statistic
    assert number(spearman(), answer, truth) == pytest.approx(wanted)
    assert number(spearman(), 3 * truth, truth) == pytest.approx(100)
    assert number(spearman(), -truth[:, :2], truth[:, :2]) == pytest.approx(100)


def test_cosine_is_one_for_parallel_vectors() -> None:
    rows = cosine().rows(
        np.array([[2.0, 0], [1, 1], [0, 1]]), np.array([[1.0, 0], [1, 0], [0, -3]])
    )
    np.testing.assert_allclose(rows, [1, 0.5**0.5, -1])


# ── detection ────────────────────────────────────────────────────────────────


def plain_iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(shared / (sum(areas) - shared))


def plain_average_precision(found: Boxes, truth: Any, kind: int, wanted: float) -> float:
    """As in the COCO paper: a list of detections over all images, looked through once."""
    there = {
        image: [
            (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for k, x, y, w, h in objects if k == kind
        ]
        for image, objects in enumerate(truth)
    }
    total = sum(map(len, there.values()))
    listed = [
        (float(found.scores[i, j]), i, found.corners[i, j])
        for i in range(len(truth))
        for j in range(found.scores.shape[1])
        if found.scores[i, j] >= 0 and found.classes[i, j] == kind
    ]
    taken: set[tuple[int, int]] = set()
    curve, right = [], 0
    for seen, (_, image, box) in enumerate(sorted(listed, key=lambda d: -d[0]), 1):
        best, which = 0.0, -1
        for place, object_ in enumerate(there[image]):
            shared = plain_iou(box, object_)
            if (image, place) not in taken and shared > best:
                best, which = shared, place
        if best >= wanted:
            taken.add((image, which))
            right += 1
        curve.append((right / total, right / seen))
    levels = [
        max((p for r, p in curve if r >= level), default=0.0) for level in np.linspace(0, 1, 101)
    ]
    return float(np.mean(levels))


def scenes(n: int = 12, objects: int = 4, classes: int = 3) -> tuple[Boxes, Any]:
    """Objects, and detections of them: some good, some poor, some doubled, some of nothing."""
    rng = RNG(3)
    truth = np.concatenate(
        [rng.integers(-1, classes, (n, objects, 1)), rng.uniform(0.2, 0.8, (n, objects, 4))], axis=2
    )
    truth[..., 3:] *= 0.4
    said = np.concatenate([truth, truth, rng.uniform(0.2, 0.6, (n, 2, 5))], axis=1)
    said[..., 1:] *= np.exp(rng.normal(0, 0.06, said[..., 1:].shape))
    kinds = np.maximum(said[..., 0].astype(int), 0)
    x, y, w, h = np.moveaxis(said[..., 1:], -1, 0)
    scores = rng.random(kinds.shape)
    scores[rng.random(kinds.shape) < 0.2] = -1
    order = np.argsort(-scores, axis=1)
    corners = np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), axis=-1)
    take = np.take_along_axis
    return Boxes(
        take(corners, order[..., None], 1), take(kinds, order, 1), take(scores, order, 1)
    ), truth


def test_average_precision_equals_the_plain_reference() -> None:
    found, truth = scenes()
    metric = average_precision(3, COCO, boxes=lambda _: found)
    plain = [
        plain_average_precision(found, truth, kind, wanted) for kind in range(3) for wanted in COCO
    ]
    assert number(metric, None, truth) == pytest.approx(100 * np.mean(plain), abs=1e-9)
    half = average_precision(3, boxes=lambda _: found)
    wanted = [plain_average_precision(found, truth, kind, 0.5) for kind in range(3)]
    assert number(half, None, truth) == pytest.approx(100 * np.mean(wanted), abs=1e-9)
    assert 5 < number(metric, None, truth) < number(half, None, truth) < 95
    assert (metric.name, half.name) == ("AP", "AP50")


def test_a_resampled_detection_is_one_of_the_resampled_images() -> None:
    """Rows of a draw give what the drawn images give, so intervals are of images."""
    found, truth = scenes()
    metric = average_precision(3, boxes=lambda _: found)
    rows, draw = metric.rows(None, truth), RNG(0).integers(0, len(truth), len(truth))
    drawn = Boxes(found.corners[draw], found.classes[draw], found.scores[draw])
    again = average_precision(3, boxes=lambda _: drawn)
    assert metric.reduce(rows[draw]) == pytest.approx(number(again, None, truth[draw]))


def grid_answer(truth: Any, classes: int = 3, side: int = 8) -> Any:
    """What a perfect grid detector would answer."""
    answer = np.zeros((len(truth), 5 + classes, side, side))
    answer[:, 4] = -8
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    for image, objects in enumerate(truth):
        for kind, x, y, w, h in objects:
            if kind >= 0:
                row, column = int(y * side), int(x * side)
                offset = [logit(np.clip(v * side % 1, 1e-3, 1 - 1e-3)) for v in (x, y)]
                answer[image, :5, row, column] = (*offset, logit(w), logit(h), 8)
                answer[image, 5 + int(kind), row, column] = 9
    return answer


def test_a_perfect_grid_finds_everything() -> None:
    rng = RNG(1)
    cells = np.stack([rng.permutation(64)[:4] for _ in range(10)])
    centres = (np.stack((cells % 8, cells // 8), -1) + rng.uniform(0.2, 0.8, (10, 4, 2))) / 8
    kinds = rng.integers(-1, 3, (10, 4, 1))
    truth = np.concatenate((kinds, centres, rng.uniform(0.05, 0.1, (10, 4, 2))), axis=2)
    answer = grid_answer(truth)
    assert number(average_precision(3), answer, truth) == pytest.approx(100)
    answer[:, 0] += 3  # centres moved: the boxes are small, so few overlap by half
    assert number(average_precision(3), answer, truth) < 60


def test_suppression_is_the_greedy_loop() -> None:
    rng = RNG(5)
    answer = rng.normal(0, 1.5, (4, 8, 5, 5))
    answer[:, 2:4] = rng.normal(0.5, 0.5, (4, 2, 5, 5))
    boxes, kept = decoded(answer), suppressed(decoded(answer), most=25)
    for image in range(4):
        wanted: list[int] = []
        for place in np.argsort(-boxes.scores[image]):
            box, kind = boxes.corners[image, place], boxes.classes[image, place]
            hidden = any(
                boxes.classes[image, other] == kind
                and plain_iou(box, boxes.corners[image, other]) > 0.5
                for other in wanted
            )
            if boxes.scores[image, place] >= 0.01 and not hidden:
                wanted.append(int(place))
        there = kept.scores[image] >= 0
        np.testing.assert_allclose(kept.corners[image, there], boxes.corners[image, wanted])
        assert 3 < len(wanted) < 25


def test_overlap_is_the_plain_one() -> None:
    found, _ = scenes()
    pairs = overlap(found.corners, found.corners)
    assert pairs[2, 3, 5] == pytest.approx(plain_iou(found.corners[2, 3], found.corners[2, 5]))


# ── all of them ──────────────────────────────────────────────────────────────

SAMPLES: dict[str, tuple[Metric, Callable[[Any], tuple[Any, Any]]]] = {
    "accuracy": (Metric(), lambda r: (r.normal(size=(30, 3)), r.integers(0, 3, 30))),
    "miou": (miou(3), lambda r: (r.normal(size=(30, 3, 4, 4)), r.integers(0, 3, (30, 4, 4)))),
    "average_precision": (
        average_precision(2),
        lambda r: (r.normal(size=(30, 7, 4, 4)), scenes(30, 3, classes=2)[1]),
    ),
    "psnr": (psnr(), lambda r: (r.random((30, 1, 4, 4)), r.random((30, 1, 4, 4)))),
    "spearman": (spearman(), lambda r: (r.normal(size=(30, 6)), r.normal(size=(30, 3)))),
    "cosine": (cosine(), lambda r: (r.normal(size=(30, 6)), r.normal(size=(30, 6)))),
}


def test_every_metric_is_sampled_here() -> None:
    assert set(SAMPLES) == set(METRICS)
    assert lighten.metrics.miou is miou


@pytest.mark.parametrize("name", SAMPLES)
def test_rows_are_one_per_sample_and_drops_pair(name: str) -> None:
    metric, draw = SAMPLES[name]
    outputs, target = draw(RNG(0))
    rows = metric.rows(outputs, target)
    parts = [metric.rows(outputs[s], target[s]) for s in (slice(0, 11), slice(11, 30))]
    np.testing.assert_allclose(np.concatenate(parts), rows)
    drop, interval = quality.paired_drop(rows, rows, metric)
    assert drop == 0.0 and interval.low <= 0.0 <= interval.high
    assert len(rows) == 30 and metric.higher_is_better
