"""Every zoo network: cut 30 % of every group, equal to the masked network, and it trains on."""

from __future__ import annotations

import random

import pytest
import torch

from lighten.network import check_exact, cut, share, trace
from lighten.zoo import TABLE, build
from tests.tiny_nets import settled

QUICK = ("lenet5", "digits_cnn", "resnet20", "shufflenet_v2", "unet")


def shape(name: str) -> tuple[int, ...]:
    """The network's own input shape, ImageNet's made small."""
    channels, *sides = TABLE[name].input_shape
    return (channels, *(min(side, 64) for side in sides))


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in TABLE]
)
def test_cut_equals_masked_and_trains(name: str) -> None:
    graph = trace(settled(build(name)), torch.zeros(1, *shape(name)))
    assert share(graph) >= 0.8
    rng = random.Random(0)
    keep = {
        g.name: sorted(rng.sample(range(g.size), max(1, round(0.7 * g.size)))) for g in graph.groups
    }
    drop = [block.name for block in graph.blocks[::3]]
    torch.manual_seed(0)
    assert check_exact(graph, keep, drop, torch.randn(1, *shape(name))) < 1e-9
    small = cut(graph, keep, drop).train()
    optimizer = torch.optim.SGD(small.parameters(), 1e-3)
    before = [p.detach().clone() for p in small.parameters()]
    small(torch.randn(2, *shape(name))).square().mean().backward()
    optimizer.step()
    for path, parameter in small.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), path
    moved = [not torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
