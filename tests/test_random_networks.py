"""Networks drawn at random: traced, cut exactly, lowered, exported and run; none wrong, none
crashing. A failure prints the network.
"""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from lighten.backends.eager import Eager
from lighten.backends.onnxruntime import OnnxRuntime
from lighten.network import Graph, check_exact, cut, lower, trace
from lighten.network.exact import doubled
from tests.grammar import draw, drawn_with, text
from tests.grammar_maps import MAPS
from tests.grammar_tokens import TOKENS
from tests.grammar_vectors import VECTORS

BOUND = 1e-5  # max |y − y64| / max |y64|
QUICK, MANY, CHUNK = 25, 2000, 50


def outputs(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """What the network gives."""
    with torch.no_grad():
        return [y.numpy() for y in tree_leaves(net(*inputs))]


def wide_copy(net: nn.Module) -> nn.Module:
    """The network in float64."""
    made = copy.deepcopy(net)
    return doubled(made) if isinstance(made, fx.GraphModule) else made.double()


def widened(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs in float64."""
    return tuple(x.double() if x.is_floating_point() else x for x in inputs)


def keep_70_percent(graph: Graph, rng: random.Random) -> dict[str, list[int]]:
    """Of each group about that many slices, at least one less where there are two."""
    return {
        group.name: sorted(
            rng.sample(range(group.size), min(max(1, round(0.7 * group.size)), group.size - 1))
        )
        for group in graph.groups
        if group.size > 1
    }


def apart(found: np.ndarray, exact: np.ndarray) -> float:
    """max |y − y64| / max |y64|."""
    assert found.shape == exact.shape
    return float(np.abs(found - exact).max() / max(np.abs(exact).max(), 1e-30))


def agree(found: list[np.ndarray], net: nn.Module, inputs: tuple[Tensor, ...], what: str) -> None:
    """The results are the network's in float64, to float32's rounding.

    A norm over two numbers near zero can magnify that rounding beyond the bound: then torch's own
    float32 run is as far away.
    """
    exact = outputs(wide_copy(net), widened(inputs))
    rounded = outputs(net, inputs)
    for y, single, wide in zip(found, rounded, exact, strict=True):
        assert apart(y, wide) < max(BOUND, 4 * apart(single, wide)), what


def holds(seed: int) -> None:
    """Everything that must be true of one network."""
    net, inputs = draw(seed)
    rng = random.Random(seed)
    arrays = [x.numpy() for x in inputs]
    graph = trace(net, inputs)
    program = lower(graph.module, inputs)
    agree(Eager().compile(program)(*arrays), net, inputs, "the program")
    keep = keep_70_percent(graph, rng)
    drop = [block.name for block in graph.blocks if rng.random() < 0.2]
    assert check_exact(graph, keep, drop, inputs) < 1e-9
    small = cut(graph, keep, drop)
    shipped = OnnxRuntime().compile(lower(small, inputs))
    agree(shipped(*arrays), small.eval(), inputs, "the cut network in onnxruntime")


def try_seed(seed: int) -> None:
    """`holds`, and the network in the message where it does not."""
    try:
        holds(seed)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}\n{text(draw(seed)[0])}") from error


@pytest.mark.parametrize("seed", range(QUICK))
def test_a_random_network_is_cut_exactly_lowered_and_run(seed: int) -> None:
    try_seed(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(QUICK, QUICK + MANY, CHUNK))
def test_many_random_networks_are(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try_seed(seed)


def test_every_production_is_drawn() -> None:
    """A row of the grammar that never fits would test nothing."""
    used = {row for seed in range(600) for row in drawn_with(seed)[2]}
    assert used == {*MAPS, *TOKENS, *VECTORS}


def test_the_same_seed_draws_the_same_network() -> None:
    (net, inputs), (again, same) = draw(7), draw(7)
    assert text(net) == text(again)
    assert all(torch.equal(a, b) for a, b in zip(inputs, same, strict=True))
    pairs = zip(net.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
