"""A cut network equals the masked one, and one whose channels were zeroed by hand."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import Tensor, nn

from lighten.errors import InexactError, RecipeError
from lighten.network import Graph, check_exact, cut, masked, trace
from lighten.network.groups import Coupling
from tests.tiny_nets import SHAPE, STRUCTURES, graph_of, make, settled


def draw(graph: Graph, ratio: float, seed: int = 0) -> dict[str, list[int]]:
    """A random choice of slices: `ratio` of each group is cut."""
    rng = random.Random(seed)
    return {
        g.name: sorted(rng.sample(range(g.size), max(1, round(g.size * (1 - ratio)))))
        for g in graph.groups
    }


def zeroed(net: nn.Module, graph: Graph, keep: dict[str, list[int]]) -> nn.Module:
    """The original network, with what makes and carries the cut channels set to zero by hand."""
    net = copy.deepcopy(net)
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    with torch.no_grad():
        for group in graph.groups:
            for member in group.producers + group.followers:
                if member.parameter.endswith("running_var"):
                    continue
                for index in set(range(group.size)) - set(keep[group.name]):
                    for place in member.slices[index]:
                        tensors[member.parameter].select(member.dim, place).zero_()
    return net


class Attends(nn.Module):
    """`nn.MultiheadAttention`, which views batch times heads as one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("name", STRUCTURES)
def test_equals_the_network_zeroed_by_hand(name: str) -> None:
    net, graph = make(name), graph_of(name)
    x = torch.randn(3, *SHAPE)
    for seed in range(3):
        keep = draw(graph, 0.4, seed)
        small = cut(graph, keep).eval()
        expected = zeroed(net, graph, keep)(x).detach()
        assert not torch.allclose(expected, net(x), atol=1e-3)
        assert torch.allclose(small(x), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", [*STRUCTURES, "Heads"])
def test_equals_the_masked_network_forward_and_backward(name: str) -> None:
    graph = graph_of(name)
    for seed, ratio in enumerate((0.3, 0.9)):
        assert check_exact(graph, draw(graph, ratio, seed), (), torch.randn(2, *SHAPE)) < 1e-10


@pytest.mark.parametrize("name", ["Residual", "Depthwise", "Norms", "Shuffle"])
def test_a_cut_network_goes_on(name: str) -> None:
    """It trains, copies, is traced and cut again, and keeps the original's names."""
    net, graph = make(name), graph_of(name)
    small = cut(graph, draw(graph, 0.3))
    assert list(small.state_dict()) == list(net.state_dict())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    twin = copy.deepcopy(small.train())
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    twin(torch.randn(4, *SHAPE)).square().mean().backward()
    optimizer.step()
    again = trace(twin, torch.randn(1, *SHAPE))
    assert again.macs < graph.macs
    assert {g.name: g.size for g in again.groups} == {
        name: len(kept) for name, kept in draw(graph, 0.3).items()
    }
    assert check_exact(again, draw(again, 0.3), (), torch.randn(2, *SHAPE)) < 1e-10


def test_heads_behind_the_batch_are_cut_at_every_batch_size() -> None:
    graph = trace(Attends(), torch.randn(2, 5, 16))
    (name,) = (group.name for group in graph.groups if group.size == 4)
    for kept in ([0, 2, 3], [1]):
        for batch in (1, 3):
            assert check_exact(graph, {name: kept}, (), torch.randn(batch, 5, 16)) < 1e-10
    again = trace(cut(graph, {name: [0, 2, 3]}), torch.randn(2, 5, 16))
    assert [group.size for group in again.groups] == [3, 16]


def test_attributes_follow_the_weights() -> None:
    graph = graph_of("Depthwise")
    small = cut(graph, {"stem": [1, 4, 6], "point": [0]})
    depth, point = small.get_submodule("depth"), small.get_submodule("point")
    assert isinstance(depth, nn.Conv2d) and isinstance(point, nn.Conv2d)
    assert (depth.in_channels, depth.out_channels, depth.groups) == (3, 6, 3)
    assert (point.in_channels, point.out_channels) == (6, 1)
    assert small.get_submodule("norm").num_features == 6
    graph = graph_of("Norms")
    norm = cut(graph, {"conv": [0, 3]}).get_submodule("norm")
    assert (norm.num_groups, norm.num_channels) == (2, 4)


def test_untouched_where_nothing_is_asked() -> None:
    net, graph = make("ZeroPad"), graph_of("ZeroPad")
    x = torch.randn(2, *SHAPE)
    assert torch.equal(cut(graph, {}).eval()(x), net(x))
    assert graph.module.get_submodule("conv").out_channels == 16


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 1)) for _ in range(3)
        )
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x)


def test_dropping_blocks() -> None:
    net = settled(Blocks())
    graph = trace(net, torch.randn(1, *SHAPE))
    assert [block.name for block in graph.blocks] == ["blocks.0", "blocks.1", "blocks.2"]
    small = cut(graph, {}, ["blocks.1"]).eval()
    assert not any(name.startswith("blocks.1") for name in small.state_dict())
    x = torch.randn(2, *SHAPE)
    expected = copy.deepcopy(net)
    for value in expected.blocks[1][2].parameters():
        nn.init.zeros_(value)
    assert torch.allclose(small(x), expected(x), atol=1e-6)
    assert check_exact(graph, draw(graph, 0.3), ["blocks.0", "blocks.2"], x) < 1e-10
    assert trace(small, x).macs == graph.macs - 2 * 48 * 64


class Nested(nn.Module):
    """A residual branch inside another, and one whose sum nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.outer, self.inner, self.unread = (nn.Conv2d(8, 8, 1) for _ in range(3))
        self.drop = nn.Dropout(0.1)  # kept by the export, with what it reads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.outer(x)
        y = torch.relu(x + (y + self.inner(y)))
        self.drop(y + self.unread(y))
        return y * 2


def test_dropping_blocks_inside_each_other_and_one_that_nothing_reads() -> None:
    graph, x = trace(settled(Nested()), torch.randn(1, *SHAPE)), torch.randn(2, *SHAPE)
    names = {block.name for block in graph.blocks}
    assert len(names) == 3
    assert check_exact(graph, {}, sorted(names), x) < 1e-10
    assert {name.split(".")[0] for name, _ in cut(graph, {}, names).named_parameters()} == {"stem"}


class Singled(nn.Module):
    """Both channels are taken one by one and put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.cat([x[:, ::2] * 2, x[:, 1::2]], 1))


def test_a_slice_taken_alone_is_never_cut_away() -> None:
    graph = trace(settled(Singled()), torch.randn(1, *SHAPE))
    assert [group.size for group in graph.groups] == [1, 1]


def test_wrong_requests_are_named() -> None:
    graph = graph_of("Residual")
    for keep, drop, message in (
        ({"nowhere": [0]}, (), "no group nowhere"),
        ({"stem": []}, (), "at least one of its slices 0…7"),
        ({"stem": [8]}, (), r"but got \[8\]"),
        ({}, ("nowhere",), "no block nowhere"),
    ):
        with pytest.raises(RecipeError, match=message):
            cut(graph, keep, drop)


def test_an_inexact_cut_is_refused() -> None:
    """The mutant: the padded shortcut's channels believed to be where they were before padding."""
    graph = trace(make("ZeroPad"), torch.randn(1, *SHAPE))
    coupling: Coupling = graph.module.meta["coupling"]
    axis, *_ = coupling.parameters["more.weight"]
    wrong = type(axis)(axis.dim, axis.classes.roll(1), axis.size)
    broken = dict(coupling.parameters) | {
        "more.weight": (wrong, *coupling.parameters["more.weight"][1:])
    }
    graph.module.meta["coupling"] = Coupling(coupling.tensors, broken, coupling.atoms)
    with pytest.raises(InexactError, match="differs from the masked one"):
        check_exact(graph, {"stem": [0, 1, 2, 3, 4]}, (), torch.randn(2, *SHAPE))


def test_masks_change_nothing_where_all_is_kept() -> None:
    net, graph = make("Concat"), graph_of("Concat")
    x = torch.randn(2, *SHAPE)
    assert torch.equal(masked(graph, {"stem": range(6)}).eval()(x), net(x))


def test_a_network_whose_weights_are_frozen_is_compared_by_its_outputs() -> None:
    net = make("Residual").requires_grad_(False)
    graph = trace(net, torch.randn(1, *SHAPE))
    assert check_exact(graph, draw(graph, 0.3), (), torch.randn(2, *SHAPE)) < 1e-10
