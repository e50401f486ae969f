"""Criteria: conformance, and that each ranks what it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten import criteria, testing
from lighten.core.task import Batch
from lighten.criteria import TABLE, Statistics
from lighten.errors import InputError
from lighten.network.graph import Graph
from lighten.network.trace import trace
from tests.small import untrained


def cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, target)


def batches(shape: tuple[int, ...], classes: int = 10) -> list[Batch]:
    rng = np.random.default_rng(0)
    return [
        Batch((rng.normal(size=(48, *shape)).astype(np.float32),), rng.integers(0, classes, 48))
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(untrained(), torch.zeros(2, 1, 8, 8))


@pytest.fixture(scope="module")
def stats(graph: Graph) -> Statistics:
    return criteria.gather(graph, batches((1, 8, 8)), cross_entropy)


@pytest.mark.parametrize("check", testing.CRITERION, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TABLE)
def test_conformance(name: str, check: object, graph: Graph, stats: Statistics) -> None:
    assert callable(check)
    check(TABLE[name], graph, stats)


def test_gather_leaves_the_network_alone(graph: Graph) -> None:
    before = {name: t.clone() for name, t in graph.module.state_dict().items()}
    graph.module.train()
    criteria.gather(graph, batches((1, 8, 8)), cross_entropy)
    after = graph.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert graph.module.training
    assert all(p.grad is None and p.requires_grad for p in graph.module.parameters())


def test_taylor_is_the_change_of_the_loss_to_first_order() -> None:
    """Scaling one hidden unit by 1 − ε changes the loss by −ε · Σ w·g: compare with the scores."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    graph = trace(net.float(), torch.zeros(1, 6))
    data = batches((6,), 3)[:1]
    stats = criteria.gather(graph, data, cross_entropy, samples=48)
    scores = criteria.score(graph, graph.groups[0], stats, "taylor")
    x, y = torch.from_numpy(data[0].inputs[0]).double(), torch.from_numpy(data[0].target)
    net = net.double()

    def loss(unit: int, scale: float) -> float:
        hidden = torch.tanh(net[0](x)).clone()
        hidden[:, unit] *= scale
        return float(cross_entropy(net[2](hidden), y).detach())

    slopes = [abs(loss(i, 1 + 1e-4) - loss(i, 1 - 1e-4)) / 2e-4 for i in range(5)]
    np.testing.assert_allclose(scores, slopes, rtol=1e-3, atol=1e-6)


def test_a_dead_channel_comes_last() -> None:
    net = untrained()
    with torch.no_grad():
        net[3].conv1.weight[7] = 0.0
        net[3].bn1.weight[7] = 0.0
        net[3].bn1.bias[7] = 0.0
    graph = trace(net, torch.zeros(2, 1, 8, 8))
    stats = criteria.gather(graph, batches((1, 8, 8)), cross_entropy)
    group = next(g for g in graph.groups if g.size == 32)
    for name in set(TABLE) - {"random"}:
        scores = criteria.score(graph, group, stats, name)
        assert criteria.order(scores)[-1] == 7, name
        assert scores[7] < 0.5 * np.median(scores), name


def test_random_follows_its_seed(graph: Graph) -> None:
    group = graph.groups[0]
    first, again, other = (
        criteria.score(graph, group, Statistics(seed=seed), "random") for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_unknown_criterion(graph: Graph) -> None:
    with pytest.raises(InputError, match="must be one of l1"):
        criteria.score(graph, graph.groups[0], Statistics(), "l3")
