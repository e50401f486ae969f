"""The networks people bring: cut exactly, trained on, lowered, and run by onnxruntime."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lighten.backends.eager import Eager
from lighten.backends.native import Native
from lighten.backends.onnxruntime import OnnxRuntime
from lighten.network import Graph, check_exact, cut, lower, share, trace
from lighten.network.exact import doubled
from tests.architectures import ARCHITECTURES, HEADS

pytest.importorskip("transformers")
QUICK = ("bert classifier, masked", "t5 encoder", "gpt2", "qwen3", "swin", "segformer", "convnext")
CONVOLUTIONS = {
    *("resnet", "regnet", "convnext", "poolformer"),
    *("mobilenet v1", "mobilenet v2", "efficientnet"),
}
OTHER = {
    *("mobilevit", "segformer", "swin", "wav2vec2"),  # heads of several counts, or one
    *("convnext v2", "bit"),  # normalised over all channels, or with computed weights
}
GROUPED = {"llama", "mistral", "qwen2", "qwen3"}  # two queries share keys and values
BOUND = 1e-5  # max |y − y64| / max |y64|


def outputs(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """The network's float outputs."""
    with torch.no_grad():
        found = [y for y in tree_leaves(net(*inputs)) if isinstance(y, Tensor)]
    return [y.numpy() for y in found]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def wide(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).double()


def wide_of(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.double() if x.is_floating_point() else x for x in inputs)


def keep_70_percent(graph: Graph) -> dict[str, list[int]]:
    rng = random.Random(0)
    return {
        g.name: sorted(rng.sample(range(g.size), max(1, round(0.7 * g.size)))) for g in graph.groups
    }


def has_heads(graph: Graph, count: int) -> bool:
    """Whether whole heads of queries, keys, values and the output after them form a group."""
    return any(
        group.size == count
        and any(len(member.slices[0]) > 1 for member in group.producers)
        and group.consumers
        for group in graph.groups
    )


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in ARCHITECTURES],
)
def test_cut_trained_lowered_and_run(name: str) -> None:
    case = ARCHITECTURES[name]
    net = case.make()
    graph = trace(net, case.inputs)
    if name in CONVOLUTIONS:
        assert share(graph) >= 0.8
    elif name not in OTHER:
        assert has_heads(graph, HEADS // 2 if name in GROUPED else HEADS)
    keep = keep_70_percent(graph)
    assert check_exact(graph, keep, (), case.inputs) < 1e-9
    small = cut(graph, keep)
    arrays = [x.numpy() for x in case.inputs]
    program = lower(graph.module, case.inputs)
    exact = outputs(wide(net), wide_of(case.inputs))
    engine = Native().compile(program)
    assert not engine.plan.interpreted
    for run in (Eager().compile(program), engine):
        for found, wanted in zip(run(*arrays), exact, strict=True):
            assert error(found, wanted) < BOUND
    shipped = OnnxRuntime().compile(lower(small, case.inputs))
    for found, wanted in zip(
        shipped(*arrays),
        outputs(doubled(copy.deepcopy(small.eval())), wide_of(case.inputs)),
        strict=True,
    ):
        assert error(found, wanted) < 10 * BOUND
    trains_on(small.train(), case.inputs)


def trains_on(net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """One step of SGD with finite gradients moves the network."""
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    before = [p.detach().clone() for p in net.parameters()]
    floats = [y for y in tree_leaves(net(*inputs)) if y.is_floating_point()]
    torch.stack([y.square().mean() for y in floats]).sum().backward()
    optimizer.step()
    for path, parameter in net.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), path
    assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("gpt2", "whisper encoder") else pytest.param(n, marks=pytest.mark.soak)
        for n in ("gpt2", "whisper encoder", "bert", "vit", "llama", "t5 encoder", "swin", "mpnet")
    ],
)
def test_transformer_layers_are_dropped(name: str) -> None:
    """Row C4: the attention and the feed-forward branch of a layer go, the rest is cut."""
    case = ARCHITECTURES[name]
    graph = trace(case.make(), case.inputs)
    attention, forward = graph.blocks[2:4]
    assert "1" in attention.name.split("#")[0].split("."), "they are called after the second layer"
    keep = keep_70_percent(graph)
    gone = set(attention.layers) | set(forward.layers)
    keep = {g.name: keep[g.name] for g in graph.groups if g.name not in gone}
    assert check_exact(graph, keep, (attention.name, forward.name), case.inputs) < 1e-9
    small = cut(graph, keep, (attention.name, forward.name))
    assert not gone & {path for path, _ in small.named_modules()}
    arrays = [x.numpy() for x in case.inputs]
    (found, *_), (wanted, *_) = (
        OnnxRuntime().compile(lower(small, case.inputs))(*arrays),
        outputs(doubled(copy.deepcopy(small.eval())), wide_of(case.inputs)),
    )
    assert error(found, wanted) < 10 * BOUND
