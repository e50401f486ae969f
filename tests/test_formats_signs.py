"""Row A7: sums of signs as codes and scales, values that are signs, and words of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lighten.formats.binary import SUMS, Signs, alternating
from lighten.formats.integer import Scale
from lighten.formats.signs import SIGN, TERNARY, Binary, coded, packed, unpacked

RNG = np.random.default_rng(0)
FORMATS = {
    "signs": Binary(1),
    "ternary": TERNARY,
    "nearest": TERNARY,
    "greedy": Binary(2),
    "alternating": Binary(2),
}


@pytest.mark.parametrize("name", SUMS)
def test_codes_stand_for_the_sum_that_was_found(name: str) -> None:
    found = SUMS[name](RNG.normal(size=(5, 3, 3, 3)))
    made = coded(found)
    assert made is not None
    codes, form, params = made
    assert form == FORMATS[name] and codes.dtype == form.dtype and codes.shape == (5, 3, 3, 3)
    assert form.low <= codes.min() and codes.max() <= form.high
    assert params.scale.shape == form.scales(5) and (params.scale > 0).all()
    decoded = form.decode(codes.astype(np.float32), params)
    np.testing.assert_allclose(decoded, found.decode(), rtol=1e-5, atol=1e-7)


def test_a_scale_below_zero_turns_the_signs() -> None:
    codes = RNG.choice([-1.0, 1.0], (3, 4, 6))
    sums = Signs(codes, np.array([[1.0, -2, 3, -4], [0.5, 0.5, -0.5, 0.25], [0.125] * 4]))
    made = coded(sums)
    assert made is not None and (made[2].scale > 0).all()
    np.testing.assert_array_equal(
        made[1].decode(made[0].astype(np.float32), made[2]), sums.decode()
    )
    one = coded(Signs(np.array([[[0.0, 1.0, -1.0]]]), np.array([[-2.0]])))
    assert one is not None and one[1] == TERNARY
    assert one[1].decode(one[0].astype(np.float32), one[2]).tolist() == [[0.0, -2.0, 2.0]]


def test_zeros_in_several_planes_have_no_codes() -> None:
    assert coded(Signs(np.array([[[0.0, 1.0]], [[1.0, 1.0]]]), np.ones((2, 1)))) is None


@pytest.mark.parametrize("w", [np.zeros((2, 8)), np.ones((2, 8)), -np.ones((2, 8))])
def test_equal_numbers_have_scales_above_zero(w: np.ndarray) -> None:
    made = coded(alternating(w, 3))
    assert made is not None and (made[2].scale > 0).all()
    assert np.abs(made[1].decode(made[0].astype(np.float32), made[2]) - w).max() < 1e-5


def test_values_are_signs_and_zero_is_positive_in_both_libraries() -> None:
    x = np.array([-2.0, -0.0, 0.0, 1e-30, 3.0], np.float32)
    params = Scale(np.float32(0.5), np.float32(0))
    codes = SIGN.encode(x, params)
    assert SIGN.decode(codes, params).tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5]
    other = Scale(torch.tensor(0.5), torch.tensor(0.0))
    again = SIGN.decode(SIGN.encode(torch.from_numpy(x), other), other)
    assert again.tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_words_hold_the_signs_in_order(count: int) -> None:
    bits = RNG.integers(0, 2, (3, 4, count)).astype(np.uint8)
    held = packed(bits)
    assert held.dtype == np.uint32 and held.shape == (3, 4, -(-count // 32))
    assert held[2, 1, 0] & 1 == bits[2, 1, 0]
    assert held[2, 1, -1] >> (count - 1) % 32 == bits[2, 1, -1]  # zeros beyond
    np.testing.assert_array_equal(unpacked(held, count), bits)
