"""Sets of sparse arrays: which entries stay (rows C1, C6), the same in NumPy and in torch."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from lighten.errors import RecipeError
from lighten.formats.projections import Pattern, mask

PATTERNS = [Pattern(), Pattern("block", (1, 4)), Pattern("block", (2, 3, 2)), Pattern("n:m", of=4)]


def scores(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (5, 7, 3, 1), (6, 10, 1, 1)])
def test_numpy_and_torch_keep_the_same(pattern: Pattern, shape: tuple[int, ...]) -> None:
    x = scores(shape)
    for density in (0.0, 0.3, 0.75, 1.0):
        ours = mask(x, pattern, density)
        assert ours.dtype == np.float32 and set(np.unique(ours)) <= {0.0, 1.0}
        assert np.array_equal(mask(torch.from_numpy(x), pattern, density).numpy(), ours)


@pytest.mark.parametrize("pattern", PATTERNS[:3], ids=str)
def test_the_count_is_the_density_rounded(pattern: Pattern) -> None:
    x = scores((8, 16, 3, 3))
    extents = pattern.extents(4)
    corners = tuple(slice(None, None, extent) for extent in extents)
    for density in (0.0, 0.1, 0.26, 0.5, 1.0):
        kept = mask(x, pattern, density)
        blocks = kept[corners]
        assert blocks.sum() == round(density * blocks.size)


def test_blocks_stay_or_go_whole() -> None:
    kept = mask(scores((8, 16, 3, 3)), Pattern("block", (1, 4)), 0.25)
    fours = kept.reshape(8, 4, 4, 3, 3)
    assert np.array_equal(fours.min(2), fours.max(2))


def test_a_ragged_block_counts_what_it_has() -> None:
    x = np.array([[1.0, 1.0, 1.0, 1.0, 5.0]], np.float32)
    assert mask(x, Pattern("block", (1, 4)), 0.5).tolist() == [[0, 0, 0, 0, 1]]


def test_it_is_the_nearest_of_the_set() -> None:
    """No other three of eight entries are nearer: tried one by one."""
    w = np.random.default_rng(1).normal(size=8)
    kept = w * mask(np.abs(w), Pattern(), 3 / 8)
    others = [
        sum((w[i] ** 2 for i in range(8) if i not in c), 0.0) for c in combinations(range(8), 3)
    ]
    assert np.isclose(np.sum((w - kept) ** 2), min(others))


def test_two_of_four_in_every_four() -> None:
    kept = mask(scores((4, 8, 3, 3)), Pattern("n:m", of=4), 0.5)
    assert (kept.reshape(4, 2, 4, 3, 3).sum(2) == 2).all()


def test_equal_scores_keep_the_first() -> None:
    assert mask(np.ones(4, np.float32), Pattern(), 0.5).tolist() == [1, 1, 0, 0]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(RecipeError, match="pattern must be one of unstructured"):
        Pattern("stripes")
    with pytest.raises(RecipeError, match="at least 1"):
        Pattern("block", (0, 4))
    with pytest.raises(RecipeError, match="between 0 and 1"):
        mask(np.ones(4), Pattern(), 1.5)
    with pytest.raises(RecipeError, match="dimensions"):
        mask(np.ones(4), Pattern("block", (1, 4)), 0.5)
    with pytest.raises(RecipeError, match="second axis"):
        mask(np.ones(4), Pattern("n:m"), 0.5)
