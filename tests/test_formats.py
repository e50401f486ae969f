"""Rows A6 (affine integers), B1 and B2 (calibration)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lighten.errors import DataError
from lighten.formats import CALIBRATORS, INT8_WEIGHT, UINT8, Histogram, Integer, calibrate

FORMATS = {
    "u8": UINT8,
    "i8 symmetric": INT8_WEIGHT,
    "i8": Integer(8, signed=True),
    "u4": Integer(4),
}
RNG = np.random.default_rng(0)
GAUSSIAN = RNG.normal(size=500_000)
OUTLIERS = np.concatenate([GAUSSIAN[50:], np.repeat([20.0, -20.0], 25)])


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@given(low=st.floats(-100, 0), high=st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_round_trip_is_within_half_a_step_and_zero_is_exact(form, low, high):
    x = np.append(np.linspace(low, high, 1001), 0.0)
    params = form.fit(x)
    codes = form.encode(x, params)
    back = form.decode(codes, params)
    assert form.low <= codes.min() and codes.max() <= form.high
    # the affine zero point is rounded, so the ends may lie up to half a step beyond the codes
    ends = form.decode(np.array([form.low, form.high]), params)
    inside = (x >= ends[0]) & (x <= ends[1])
    assert np.abs(back - x)[inside].max() <= params.scale / 2 * (1 + 1e-5)
    assert np.abs(back - x).max() <= params.scale * (1 + 1e-5)
    assert back[-1] == 0.0


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_numpy_and_torch_agree_bit_for_bit(form):
    x = RNG.normal(size=(16, 33)).astype(np.float32) * 3
    params = form.fit(x)
    codes = form.encode(x, params)
    scale = torch.tensor(params.scale), torch.tensor(params.zero_point)
    other = type(params)(*scale)
    torch_codes = form.encode(torch.from_numpy(x), other)
    assert np.array_equal(codes, torch_codes.numpy())
    assert np.array_equal(form.decode(codes, params), form.decode(torch_codes, other).numpy())


def test_encoding_saturates():
    params = UINT8.span(-1.0, 3.0)
    assert UINT8.encode(np.array([-9.0, 9.0]), params).tolist() == [0, 255]


def test_per_channel_weights_lose_less_than_per_tensor():
    w = RNG.normal(size=(16, 8, 3, 3)) * np.logspace(-2, 0, 16).reshape(-1, 1, 1, 1)
    errors = []
    for axis in (0, None):
        params = INT8_WEIGHT.fit(w, axis)
        errors.append(np.square(INT8_WEIGHT.decode(INT8_WEIGHT.encode(w, params), params) - w))
    assert errors[0].mean() < 0.5 * errors[1].mean()


def test_histograms_add_up_exactly_however_the_values_come():
    parts = [RNG.normal(size=1000) * scale for scale in (0.1, 5, 1, 300)]
    seen = Histogram.empty()
    for part in parts:
        seen = seen.add(part)
    x = np.concatenate(parts)
    assert seen.total == len(x) and len(seen.counts) <= calibrate.BINS
    assert (seen.low, seen.high) == (x.min(), x.max())
    edges = (seen.start + np.arange(len(seen.counts) + 1)) * seen.width
    edges[-1] = np.inf
    assert np.array_equal(seen.counts, np.histogram(x, np.append(edges[:-1], np.inf))[0])
    assert seen.magnitudes().sum() == len(x)


def test_nan_is_refused():
    with pytest.raises(DataError, match="finite"):
        Histogram.of(np.array([1.0, np.nan]))


def threshold(x: np.ndarray) -> float:
    return CALIBRATORS["kl"](Histogram.of(np.abs(x)), INT8_WEIGHT)[1]


def bulk_error(x: np.ndarray, limit: float) -> tuple[float, float]:
    params = INT8_WEIGHT.span(-limit, limit)
    error = (INT8_WEIGHT.decode(INT8_WEIGHT.encode(x, params), params) - x) ** 2
    bulk = np.abs(x) < np.quantile(np.abs(x), 0.999)
    return float(error[bulk].mean()), float(error.mean())


def test_max_saturates_nothing():
    assert CALIBRATORS["max"](Histogram.of(OUTLIERS), UINT8) == (-20.0, 20.0)


def test_kl_cuts_outliers_and_serves_the_bulk():
    found = threshold(OUTLIERS)
    assert 4 < found < 5
    (bulk, everything), (bulk_max, everything_max) = (
        bulk_error(OUTLIERS, limit) for limit in (found, 20.0)
    )
    assert bulk_max / bulk >= 15
    assert everything > 5 * everything_max  # what it gives up


@pytest.mark.parametrize("x", [RNG.uniform(-1, 1, 500_000), GAUSSIAN], ids=["uniform", "gaussian"])
def test_kl_keeps_everything_where_nothing_sticks_out(x):
    assert threshold(x) == pytest.approx(np.abs(x).max(), rel=1e-3)


def test_kl_after_relu():
    assert 4 < threshold(np.maximum(GAUSSIAN, 0)) < 4.6


def test_without_the_zero_bin_fix_relu_is_cut_in_half(monkeypatch):
    monkeypatch.setattr(calibrate, "neutralised", lambda counts: counts)
    assert 1.5 < threshold(np.maximum(GAUSSIAN, 0)) < 2.5


def test_codes_built_from_the_clipped_distribution_would_cut_almost_everything(monkeypatch):
    right = calibrate.split
    monkeypatch.setattr(calibrate, "split", lambda counts, kept: (right(counts, kept)[0],) * 2)
    assert threshold(GAUSSIAN) == pytest.approx(0.30, abs=0.02)


def test_percentile_cuts_its_share():
    low, high = CALIBRATORS["percentile"](Histogram.of(GAUSSIAN), UINT8)
    assert np.mean((low > GAUSSIAN) | (high < GAUSSIAN)) == pytest.approx(1e-4, rel=0.15)
    assert CALIBRATORS["percentile"](Histogram.of(np.abs(GAUSSIAN)), UINT8)[0] == 0.0


@pytest.mark.parametrize("form", [UINT8, Integer(4)], ids=["u8", "u4"])
def test_mse_is_never_worse_than_the_others(form):
    for x in (GAUSSIAN, OUTLIERS, np.maximum(GAUSSIAN, 0), RNG.exponential(size=100_000) - 0.3):
        seen, errors = Histogram.of(x), {}
        for name, choose in CALIBRATORS.items():
            params = form.span(*choose(seen, form))
            errors[name] = np.square(form.decode(form.encode(x, params), params) - x).mean()
        assert errors["mse"] <= min(errors.values()) * 1.02


@pytest.mark.parametrize("name", CALIBRATORS)
@pytest.mark.parametrize("x", [np.zeros(10), np.array([3.0]), np.array([-2.0, -1.0])])
def test_calibrators_survive_odd_inputs(name, x):
    low, high = CALIBRATORS[name](Histogram.of(x), UINT8)
    params = UINT8.span(low, high)
    assert np.isfinite(UINT8.decode(UINT8.encode(x, params), params)).all()


@pytest.mark.parametrize("room", ["formats", "program"])
def test_the_room_shows_itself(room):
    command = [sys.executable, "-m", f"lighten.{room}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) > 10 and not shown.stderr
