"""Techniques: recipes become smaller networks that equal the masked ones (rows C3, C4)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lighten import techniques
from lighten.core.device import Device
from lighten.core.recipe import Edit, Recipe
from lighten.errors import NetworkError, RecipeError
from lighten.network import check_exact, masked
from lighten.network.graph import Graph
from lighten.network.trace import trace
from tests.small import untrained


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(untrained(), torch.zeros(2, 1, 8, 8))


def cut_of(graph: Graph, kept: int) -> Edit:
    group = max(graph.groups, key=lambda g: g.size)
    keep = list(range(group.size - kept, group.size))
    return Edit.of("channels", group.name, keep=keep, of=group.size)


@pytest.mark.parametrize("kept", [1, 21])
def test_channels_equal_the_masked_network(graph: Graph, kept: int) -> None:
    recipe = Recipe((cut_of(graph, kept),))
    keep, drop = techniques.cuts(recipe)
    x = torch.randn(4, 1, 8, 8)
    small = techniques.apply(graph, recipe).eval()
    torch.testing.assert_close(small(x), masked(graph, keep).eval()(x), rtol=1e-5, atol=1e-5)
    assert check_exact(graph, keep, drop, x) <= 1e-5
    fewer = sum(p.numel() for p in small.parameters())
    assert fewer < sum(p.numel() for p in graph.module.parameters())


def test_blocks_and_channels_in_one_surgery(graph: Graph) -> None:
    block = graph.blocks[0].name
    stream = min(graph.groups, key=lambda g: g.size)
    narrow = Edit.of("channels", stream.name, keep=list(range(8)), of=stream.size)
    recipe = Recipe((Edit.of("blocks", block), narrow, Edit.of("quantize", "0", bits=8)))
    small = techniques.apply(graph, recipe).eval()
    assert small(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert not any(name.startswith(f"{block}.conv") for name in small.state_dict())
    assert small.state_dict()["0.weight"].shape[0] == 8


def test_nothing_to_do_is_the_same_network(graph: Graph) -> None:
    x = torch.randn(2, 1, 8, 8)
    same = techniques.apply(graph, Recipe()).eval()
    torch.testing.assert_close(same(x), graph.module.eval()(x), rtol=0, atol=0)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("channels", {"place": "?", "keep": [0], "of": 4}, "no group"),
    ("channels", {"keep": [0], "of": 5}, "slices, not 5"),
    ("channels", {"keep": [3, 1], "of": 32}, "ascending"),
    ("channels", {"keep": [], "of": 32}, "ascending"),
    ("channels", {"keep": [32], "of": 32}, "ascending"),
    ("blocks", {"place": "?"}, "no residual block"),
    ("quantize", {"place": "?", "bits": 8}, "no layer"),
    ("quantize", {"place": "0", "bits": 4}, "must be 8"),
    ("magic", {"place": "0"}, "must be one of channels"),
]


@pytest.mark.parametrize(("technique", "settings", "message"), BAD)
def test_edits_that_do_not_fit(
    graph: Graph, technique: str, settings: dict[str, Any], message: str
) -> None:
    place = settings.pop("place", max(graph.groups, key=lambda g: g.size).name)
    with pytest.raises(RecipeError, match=message):
        techniques.apply(graph, Recipe((Edit.of(technique, place, **settings),)))


@pytest.mark.parametrize("name", techniques.TABLE)
def test_every_technique_says_what_may_be_chosen(graph: Graph, name: str) -> None:
    row = techniques.TABLE[name]
    assert row.name == name
    places = row.places(graph)
    assert places
    for place in places:
        knobs = row.knobs(place, graph, Device("", "", 1))
        assert bool(knobs.choices) != bool(knobs.reason)
    orders = [row.order for row in techniques.TABLE.values()]
    assert orders == sorted(orders)


def test_everywhere(graph: Graph) -> None:
    edits = techniques.everywhere("quantize", graph)
    layers = [layer.name for layer in graph.layers if layer.kind in ("conv2d", "linear")]
    assert [edit.place for edit in edits] == layers
    assert all(edit["bits"] == 8 for edit in edits)


def test_an_ignored_layer_is_left_alone_in_every_respect() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    graph = trace(net, torch.zeros(2, 4), ignore=("0",))
    assert [edit.place for edit in techniques.everywhere("quantize", graph)] == ["2"]
    assert graph.ignored == ("0",) and not graph.groups
    with pytest.raises(NetworkError, match="regular expression"):
        trace(net, torch.zeros(2, 4), ignore=("re:(",))
