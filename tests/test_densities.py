"""Rows C8, C9, C10: densities of all layers from one target, by weights and by time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from lighten.criteria.densities import LEAST, cheapest, of_weights, triangle, uniform
from lighten.criteria.thinning import losses
from lighten.errors import BudgetError
from lighten.formats.projections import Pattern

SIZES = {"a": 100, "b": 4000, "c": 30000, "d": 600}
OFFERED = (0.1, 0.25, 0.5, 1.0)


def total(found: dict[str, float]) -> float:
    return sum(SIZES[name] * found[name] for name in SIZES) / sum(SIZES.values())


def test_uniform_is_the_same_everywhere() -> None:
    assert uniform(SIZES, 0.3) == {"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3}


@pytest.mark.parametrize("density", [0.1, 0.4, 0.9])
def test_a_triangle_falls_with_depth_and_meets_the_target(density: float) -> None:
    found = list(triangle(SIZES, density).values())
    assert found == sorted(found, reverse=True) and found[0] > found[-1] >= LEAST
    assert abs(total(triangle(SIZES, density)) - density) < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_the_cheapest_is_the_best_of_all(seed: int) -> None:
    """Every one of the 256 choices tried; costs are whole, so that none is rounded up."""
    rng = np.random.default_rng(seed)
    loss = {name: np.sort(rng.random(4))[::-1].tolist() for name in SIZES}
    cost = {name: np.sort(rng.integers(1, 1000, 4)).tolist() for name in SIZES}
    found = cheapest(OFFERED, loss, cost, 2000)
    at = {name: OFFERED.index(share) for name, share in found.items()}
    best = min(
        sum(loss[name][i] for name, i in zip(SIZES, choice, strict=True))
        for choice in product(range(4), repeat=4)
        if sum(cost[name][i] for name, i in zip(SIZES, choice, strict=True)) <= 2000
    )
    assert sum(cost[name][i] for name, i in at.items()) <= 2000
    assert np.isclose(sum(loss[name][i] for name, i in at.items()), best)


def test_a_sensitive_layer_stays_denser_at_equal_weights() -> None:
    loss = {name: [0.9, 0.5, 0.2, 0.0] for name in SIZES}
    loss["b"] = [90.0, 50.0, 20.0, 0.0]
    found = of_weights(OFFERED, loss, SIZES, 0.3)
    assert found["b"] == 1.0 and total(found) <= 0.3


def test_by_time_a_layer_without_gain_stays_whole() -> None:
    """What no density makes faster is not thinned, however small its loss."""
    seconds = {"flat": [1.0, 1.0, 1.0, 1.0], "steep": [0.1, 0.25, 0.5, 1.0]}
    loss = {"flat": [0.1, 0.05, 0.01, 0.0], "steep": [3.0, 2.0, 1.0, 0.0]}
    assert cheapest(OFFERED, loss, seconds, 1.6) == {"flat": 1.0, "steep": 0.5}


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(BudgetError, match="at most 0.1"):
        cheapest(OFFERED, {"a": [0.0] * 4}, {"a": [1.0] * 4}, 0.1)


def test_losses_leave_the_weights_as_they_were() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    before = [p.detach().clone() for p in net.parameters()]
    found = losses(net, [(torch.randn(32, 8),)], ["0", "2"], Pattern(), (0.1, 0.5, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    for row in found.values():
        assert row[0] > row[1] > row[2] == 0.0
