"""Rows A7, B16, B21, B22, B24: sums of signs and ternary numbers are the nearest there are."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from lighten.formats.integer import Scale
from lighten.formats.signs import (
    SIGN,
    TERNARY,
    Binary,
    alternating,
    binary,
    packed,
    residual,
    ternary,
    unpacked,
)

RNG = np.random.default_rng(0)


def decoded(form, codes, params):
    return form.decode(codes.astype(np.float32), params).astype(np.float64)


def error(w, form, codes, params):
    return float(((decoded(form, codes, params) - w) ** 2).sum())


def least(w: np.ndarray, levels: tuple[int, ...]) -> float:
    """The least squared error of α · b over every b, α by least squares."""
    found = np.inf
    for b in product(levels, repeat=len(w)):
        square = float(np.dot(b, b))
        found = min(found, float(w @ w) - (np.dot(b, w) ** 2 / square if square else 0.0))
    return found


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_one_plane_and_ternary_are_optimal(size):
    for _ in range(5):
        w = RNG.normal(size=size)
        assert error(w[None], SIGN, *binary(w[None])) == pytest.approx(least(w, (-1, 1)), rel=1e-5)
        wanted = least(w, (-1, 0, 1))
        assert error(w[None], TERNARY, *ternary(w[None])) == pytest.approx(wanted, abs=1e-6)


def test_every_order_leaves_less():
    w = RNG.normal(size=(10, 60))
    left = [error(w, Binary(order), *residual(w, order)) for order in (1, 2, 3, 4)]
    assert all(after < before for before, after in pairwise(left))


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_no_turn_makes_the_error_larger(planes):
    for _ in range(100 // planes):
        w = RNG.normal(size=(1, 24))
        found = [error(w, Binary(planes), *alternating(w, planes, turns)) for turns in range(6)]
        assert all(b <= a * (1 + 1e-6) for a, b in pairwise(found))
        assert found[0] == pytest.approx(error(w, Binary(planes), *residual(w, planes)))


def test_alternating_gains_over_the_residual():
    w = RNG.normal(size=(50, 200))
    before, after = (error(w, Binary(2), *f(w, 2)) for f in (residual, alternating))
    assert after < 0.95 * before


def test_scales_are_above_zero_even_of_zeros_and_equal_planes():
    for w in (np.zeros((2, 8)), np.ones((2, 8)), -np.ones((2, 8))):
        for form, found in ((Binary(3), alternating(w, 3)), (TERNARY, ternary(w))):
            assert (np.asarray(found[1].scale) > 0).all()
            assert np.abs(decoded(form, *found) - w).max() < 1e-6


def test_values_are_signs_and_zero_is_positive_in_both_libraries():
    x = np.array([-2.0, -0.0, 0.0, 1e-30, 3.0], np.float32)
    params = Scale(np.float32(0.5), np.float32(0))
    codes = SIGN.encode(x, params)
    assert SIGN.decode(codes, params).tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5]
    other = Scale(torch.tensor(0.5), torch.tensor(0.0))
    again = SIGN.decode(SIGN.encode(torch.from_numpy(x), other), other)
    assert again.tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_words_hold_the_signs_in_order(count):
    bits = RNG.integers(0, 2, (3, 4, count)).astype(np.uint8)
    held = packed(bits)
    assert held.dtype == np.uint32 and held.shape == (3, 4, -(-count // 32))
    assert held[2, 1, 0] >> 0 & 1 == bits[2, 1, 0]
    assert held[2, 1, -1] >> (count - 1) % 32 == bits[2, 1, -1]  # zeros beyond
    np.testing.assert_array_equal(unpacked(held, count), bits)
