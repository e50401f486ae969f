"""What choices cost in quality, and the 50 % scan (row C5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lighten import search
from lighten.core.task import Batch, Task
from lighten.criteria import Statistics
from lighten.network import trace
from lighten.network.graph import Graph
from lighten.search import sensitivity
from lighten.search.problem import Node, Problem
from tests.small import digits, trained


class Bench:
    """The part of the workbench that looking needs."""

    def __init__(self, graph: Graph, task: Task) -> None:
        self.graph, self.task = graph, task
        self.calibration = task.calibration(128)
        self.known: dict[str, Any] = {}

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def progress(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(trace(trained(), torch.zeros(2, 1, 8, 8)), digits())


@pytest.fixture(scope="module")
def space(bench: Bench) -> search.Space:
    return search.space(bench.graph, sensitivity.statistics(bench))


@pytest.fixture(scope="module")
def losses(bench: Bench, space: search.Space) -> dict[str, tuple[float, ...]]:
    return sensitivity.losses(bench, space)


def test_losses_begin_at_zero_and_never_fall(
    space: search.Space, losses: dict[str, tuple[float, ...]]
) -> None:
    assert list(losses) == [place.key for place in space.places]
    for place in space.places:
        found = losses[place.key]
        assert len(found) == len(place.edits)
        assert found[0] == 0.0
        assert list(found) == sorted(found)
    channels = [losses[p.key] for p in space.places if p.technique == "channels"]
    assert all(found[-1] > 0.05 for found in channels)
    eight = [losses[p.key][-1] for p in space.places if p.technique == "quantize"]
    assert 0 < max(eight) < 0.05


def test_taylor_loses_less_than_random(bench: Bench, losses: dict[str, Any]) -> None:
    control = search.space(bench.graph, Statistics(), "random", techniques=("channels",))
    random = sensitivity.losses(bench, control)
    assert sum(sum(losses[key]) for key in random) < 0.8 * sum(map(sum, random.values()))


def test_nothing_is_looked_at_twice(bench: Bench, space: search.Space) -> None:
    first = sensitivity.losses(bench, space)
    count = len(bench.known)
    assert sensitivity.losses(bench, space) == first
    assert len(bench.known) == count


def test_per_layer_takes_the_half(space: search.Space, losses: dict[str, Any]) -> None:
    nodes = tuple(Node(p.key, p.widths, losses[p.key]) for p in space.places)
    found = sensitivity.per_layer(space.bounded(Problem(nodes, ()), {}))
    place = next(p for p in space.places if p.technique == "channels")
    half = place.widths.index(place.widths[0] / 2)
    assert found[place.name] == losses[place.key][half]


def test_int8_and_scan_give_the_weights_back(bench: Bench) -> None:
    before = {name: t.clone() for name, t in bench.graph.module.state_dict().items()}
    layer = bench.graph.layer("3.conv1")
    x = torch.randn(4, 1, 8, 8)
    bench.graph.module.eval()
    plain = bench.graph.module(x).detach()
    with sensitivity.fake_int8(bench.graph.module, layer.name):
        eight = bench.graph.module(x).detach()
    with pytest.raises(RuntimeError), sensitivity.half_zeroed(bench.graph.module, layer):
        assert int((layer_weight(bench, layer.name).abs().sum((1, 2, 3)) == 0).sum()) == 16
        raise RuntimeError
    assert 0 < float((eight - plain).abs().max()) < 0.2 * float(plain.abs().max())
    after = bench.graph.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(bench.graph.module(x).detach(), plain)


def layer_weight(bench: Bench, name: str) -> torch.Tensor:
    return bench.graph.module.get_submodule(name).get_parameter("weight").detach()


def test_scan_on_a_small_network(bench: Bench) -> None:
    found = sensitivity.scan(bench.graph, bench.task)
    assert set(found) == {"0", "3.conv1", "3.conv2", "6"}
    assert all(0 <= value <= 100 for value in found.values())
    assert len(set(found.values())) > 1


def halves(task: Task, parts: Sequence[int], count: int) -> Callable[[], list[Batch]]:
    """A task's valid samples, those whose number mod `count` is in `parts`."""

    def batches() -> list[Batch]:
        found = []
        for batch in task.valid():
            rows = np.flatnonzero(np.isin(np.arange(len(batch)) % count, parts))
            found.append(Batch(tuple(x[rows] for x in batch.inputs), batch.target[rows]))
        return found

    return batches


@pytest.mark.soak
@pytest.mark.shared
def test_scan_ranks_alike_on_two_splits(shared_data: Path) -> None:
    """Row C5: Spearman ≥ 0.9 between the layers' ranking on the two halves of `valid`."""
    from safetensors.torch import load_file

    from lighten import api, zoo

    net = zoo.build("resnet20")
    net.load_state_dict(load_file(shared_data / "resnet20-cifar10.safetensors"))
    task = api.load_task(str(shared_data / "cifar10-jpeg.tar"))
    graph = trace(net, torch.zeros(2, 3, 32, 32))
    one, two = (sensitivity.scan(graph, task, halves(task, [part], 2)) for part in (0, 1))
    assert spearmanr([one[k] for k in one], [two[k] for k in one]).statistic >= 0.9
