"""Quality and its intervals: coverage by simulation, against the truth that made the samples."""

from __future__ import annotations

import numpy as np
import pytest

from lighten.core.task import Batch, Metric
from lighten.core.trial import Interval
from lighten.errors import DataError
from lighten.measure import quality as measure_quality
from lighten.measure.quality import interval, paired_drop, quality, rows, standard_error

ACCURACY = Metric()
TRIALS = 2000


def rmse(found: np.ndarray) -> float:
    return float(np.sqrt(found.mean()))


RMSE = Metric("rmse", "K", False, rows=lambda y, t: (y - t) ** 2, reduce=rmse)


def covered(found: Interval, truth: float) -> bool:
    return found.low <= truth <= found.high


def test_rows_come_in_the_order_of_the_batches() -> None:
    class Identity:
        threads = 1

        def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            return inputs

    logits = np.eye(3)[[0, 1, 2, 1, 0]]
    target = np.array([0, 1, 0, 1, 1])
    batches = [Batch((logits[:3],), target[:3]), Batch((logits[3:],), target[3:])]
    found = rows(Identity(), batches, ACCURACY)  # type: ignore[arg-type]
    assert found.tolist() == [1, 1, 0, 1, 0]
    assert quality(found, ACCURACY) == pytest.approx(60)
    two = Metric(rows=lambda outputs, target: outputs[0][:, 0] + outputs[1][:, 0])
    pair = [Batch((logits, logits), target)]
    assert rows(Identity(), pair, two).tolist() == [2, 0, 0, 0, 2]  # type: ignore[arg-type]
    with pytest.raises(DataError):
        rows(Identity(), [], ACCURACY)  # type: ignore[arg-type]


def test_wilsons_interval_against_a_worked_example() -> None:
    # 8 of 10 right: Wilson's 95 % interval is 0.490 to 0.943
    found = interval(np.array([1.0] * 8 + [0.0] * 2), ACCURACY)
    assert (found.low, found.high) == pytest.approx((49.02, 94.33), abs=0.01)
    sure = interval(np.ones(100), ACCURACY)
    assert sure.high == 100 and 96 < sure.low < 97


@pytest.mark.parametrize("share", [0.5, 0.93, 0.99])
def test_the_interval_of_a_share_covers_it(share: float) -> None:
    rng = np.random.default_rng(0)
    n = 500
    inside = [
        covered(interval((rng.random(n) < share).astype(float), ACCURACY), 100 * share)
        for _ in range(TRIALS)
    ]
    assert 0.935 <= np.mean(inside) <= 0.975


@pytest.mark.parametrize(
    ("n", "lost", "won"),
    [(500, 0.02, 0.01), (500, 0.03, 0.03), (2000, 0.006, 0.001), (200, 0.01, 0.0), (360, 0, 0)],
)
def test_the_interval_of_a_paired_drop_covers_it(n: int, lost: float, won: float) -> None:
    """Exact pairs: right before and wrong after with chance `lost`, the reverse with `won`."""
    rng = np.random.default_rng(1)
    truth = 100 * (lost - won)
    inside = []
    for _ in range(TRIALS):
        u = rng.random(n)
        before = np.where(u < lost, 1.0, np.where(u < lost + won, 0.0, u < 0.95))
        after = np.where(u < lost, 0.0, np.where(u < lost + won, 1.0, u < 0.95))
        drop, found = paired_drop(before, after, ACCURACY)
        assert covered(found, drop)
        inside.append(covered(found, truth))
    # at least nominal up to 3 standard errors of the simulation; conservative where few differ
    assert np.mean(inside) >= 0.935
    if n * (lost + won) > 5:
        assert np.mean(inside) <= 0.985


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    before = (rng.random(1000) < 0.9).astype(float)
    after = before.copy()
    after[:10] = 0.0
    drop, paired = paired_drop(before, after, ACCURACY)
    assert drop == pytest.approx(quality(before, ACCURACY) - quality(after, ACCURACY))
    alone = interval(before, ACCURACY)
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert paired.low > 0  # ten lost and none won is no accident


def test_no_change_is_not_certainty() -> None:
    same = np.ones(400)
    drop, found = paired_drop(same, same, ACCURACY)
    assert drop == 0 and found.low < 0 < found.high
    assert found.high < 1.0  # points: about 2 / 402
    assert standard_error(same, same, ACCURACY) > 0


def test_worse_is_positive_whichever_way_the_metric_points() -> None:
    low, high = np.full(50, 1.0), np.full(50, 4.0)
    assert paired_drop(low, high, RMSE)[0] == pytest.approx(1.0)  # 2 K after 1 K: worse
    assert paired_drop(high, low, RMSE)[0] == pytest.approx(-1.0)
    errors = Metric("error", "points", higher_is_better=False)
    wrong_before, wrong_after = np.zeros(100), np.repeat([1.0, 0.0], [20, 80])
    drop, found = paired_drop(wrong_before, wrong_after, errors)
    assert drop == pytest.approx(20) and 0 < found.low < 20 < found.high


def test_the_bootstrap_of_any_metric_covers_its_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_quality, "RESAMPLES", 300)
    rng = np.random.default_rng(3)
    inside = []
    for seed in range(120):
        base = rng.normal(size=300)
        before, after = base**2, (1.2 * base + rng.normal(0, 0.3, 300)) ** 2
        truth = np.sqrt(1.2**2 + 0.3**2) - 1.0
        inside.append(covered(paired_drop(before, after, RMSE, seed)[1], truth))
    assert 0.88 <= np.mean(inside) <= 0.995  # 0.95 ± 3.5 standard errors of 120 trials


def test_standard_errors_agree_with_what_repeats_show() -> None:
    rng = np.random.default_rng(4)
    drops, errors = [], []
    for _ in range(400):
        u = rng.random(1000)
        before, after = (u > 0.05).astype(float), ((u > 0.03) & (u < 0.95)).astype(float)
        drops.append(paired_drop(before, after, ACCURACY)[0])
        errors.append(standard_error(before, after, ACCURACY))
    assert np.mean(errors) == pytest.approx(np.std(drops), rel=0.15)
    base = rng.normal(size=400)
    soft = standard_error(base**2, (base + 0.1 * rng.normal(size=400)) ** 2, RMSE)
    assert 0 < soft < 0.05


def test_rows_with_several_numbers_per_sample() -> None:
    # precision: right among those said; one row is (right, said)
    metric = Metric(
        "precision", "share", True, reduce=lambda r: float(r[:, 0].sum() / r[:, 1].sum())
    )
    rng = np.random.default_rng(5)
    said = np.ones(200)
    before = np.stack([(rng.random(200) < 0.9).astype(float), said], 1)
    after = np.stack([before[:, 0] * (rng.random(200) < 0.9), said], 1)
    drop, found = paired_drop(before, after, metric)
    assert found.low < drop < found.high and found.low > 0
    assert covered(interval(before, metric), quality(before, metric))


def test_unpaired_rows_are_refused() -> None:
    with pytest.raises(DataError, match="same samples"):
        paired_drop(np.ones(3), np.ones(4), ACCURACY)
    with pytest.raises(DataError):
        standard_error(np.ones(0), np.ones(0), ACCURACY)


def test_divergence_of_class_scores_and_of_other_answers() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(8, 5))
    other = logits + rng.normal(size=(8, 5))
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (logits, other))
    by_hand = float((p * np.log(p / q)).sum(-1).mean())
    assert measure_quality.divergence(logits, other, "cross_entropy") == pytest.approx(by_hand)
    assert measure_quality.divergence(logits, logits, "cross_entropy") == pytest.approx(
        0.0, abs=1e-12
    )
    flat = np.full_like(logits, logits.mean())
    assert measure_quality.divergence(logits, flat, "mse") == pytest.approx(1.0)
    pixels = (logits.reshape(2, 5, 4), other.reshape(2, 5, 4))  # classes lie along axis 1
    rows = [np.moveaxis(x, 1, -1).reshape(-1, 5) for x in pixels]
    assert measure_quality.divergence(*pixels, "cross_entropy") == pytest.approx(
        measure_quality.divergence(*rows, "cross_entropy")
    )


def test_networks_are_compared_over_all_samples() -> None:
    batches = [Batch((np.full((n, 3), n, np.float32),), np.zeros(n)) for n in (1, 3)]
    shifted = measure_quality.apart(lambda x: (x,), lambda x: (x + x,), batches, "mse")
    ours = [measure_quality.divergence(b.inputs[0], 2 * b.inputs[0], "mse") for b in batches]
    assert shifted == pytest.approx((ours[0] + 3 * ours[1]) / 4)


def test_embeddings_diverge_by_direction_and_detections_by_what_they_see() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 6))
    scaled = vectors * rng.uniform(0.5, 2.0, (20, 1))
    assert measure_quality.divergence(vectors, scaled, "similarity") == pytest.approx(0, abs=1e-12)
    assert measure_quality.divergence(vectors, -vectors, "similarity") > 1.0
    grid = rng.normal(size=(3, 8, 4, 4))
    grid[:, 4] = -40.0
    grid[:, 4, 1, 1] = 40.0
    for row, column in ((0, 0), (1, 1)):
        other = grid.copy()
        other[:, :4, row, column] += 2.0
        found = measure_quality.divergence(grid, other, "detection")
        assert (found > 1e-3) == (row == 1)
