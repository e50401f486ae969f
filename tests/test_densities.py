"""Rows C8, C9, C10: densities of all layers from one target, by weights and by time."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from lighten import zoo
from lighten.criteria.densities import LEAST, cheapest, of_weights, triangle, uniform
from lighten.criteria.thinning import losses, thinned
from lighten.errors import BudgetError
from lighten.formats.projections import Pattern
from lighten.network import trace
from tests.small import digits, trained

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
    with pytest.raises(BudgetError, match="must cost at most"):
        cheapest(OFFERED, {"a": [0.0] * 4}, {"a": [1.0] * 4}, 0.1)


def test_losses_leave_the_weights_as_they_were() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    before = [p.detach().clone() for p in net.parameters()]
    found = losses(net, [(torch.randn(32, 8),)], ["0", "2"], Pattern(), (0.1, 0.5, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    for row in found.values():
        assert row[0] > row[1] > row[2] == 0.0


def test_a_triangle_takes_many_weights_and_few_multiplications() -> None:
    """Row C10, LeNet-5: its weights lie in the last layers, its multiplications in the first."""
    layers = trace(zoo.build("lenet5"), torch.zeros(2, 1, 28, 28)).layers
    layers = tuple(layer for layer in layers if layer.macs)
    found = triangle({layer.name: layer.parameters for layer in layers}, 0.25, slope=0.95)
    weights, macs = (
        sum((1 - found[layer.name]) * getattr(layer, kind) for layer in layers)
        / sum(getattr(layer, kind) for layer in layers)
        for kind in ("parameters", "macs")
    )
    assert abs(weights - 0.75) < 0.01 and 1 - macs > 1.6 * (1 - weights)


def test_by_sensitivity_less_is_lost_than_uniformly() -> None:
    """Row C9, at equal weights: all layers thinned together, the answers compared."""
    net, layers = trained().eval(), ("0", "3.conv1", "3.conv2", "6")
    inputs = [(torch.from_numpy(batch.inputs[0]),) for batch in digits().calibration(256)]
    offered = [share / 20 for share in range(1, 21)]
    sizes = {name: net.get_submodule(name).weight.numel() for name in layers}  # type: ignore[union-attr, operator]
    measured = losses(net, inputs, layers, Pattern(), offered)
    changed = []
    for found in (of_weights(offered, measured, sizes, 0.3), uniform(sizes, 0.3)):
        assert sum(sizes[name] * found[name] for name in sizes) <= 0.3 * sum(sizes.values()) + 1
        with torch.no_grad(), ExitStack() as stack:
            whole = torch.cat([net(*batch) for batch in inputs])
            for name in layers:
                stack.enter_context(thinned(net.get_submodule(name), Pattern(), found[name]))
            thin = torch.cat([net(*batch) for batch in inputs])
        changed.append(float((thin - whole).square().mean()))
    assert changed[0] < 0.8 * changed[1]
