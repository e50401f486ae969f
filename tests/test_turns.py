"""A large batch is taken in turns that the caches hold."""

from __future__ import annotations

import numpy as np
import pytest

from lighten.emit import host
from lighten.engine import turns
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.program import interpret
from lighten.program.build import Builder
from lighten.program.ir import Program


def program() -> Program:
    """Two small convolutions whose image takes more than half of a cache."""
    b = Builder()
    x = b.input("x", (16, 64, 64))
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        weight = b.store(f"{name} weight", rng.normal(0, 0.1, (16, 16, 3, 3)))
        same = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
        x = b.op("conv", x, weight, name=name, **same)
    return b.finish(b.op("reduce", x, function="mean", axes=(1, 2), keepdims=False))


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(plan(program(), host()))


def test_turns_hold_as_many_samples_as_the_caches() -> None:
    made = Network(plan(program(), host()), compiled=False)
    each = made.bytes_per_sample
    assert turns.samples(made.plan, each, 0) == turns.NEAR // each > 0
    assert turns.samples(made.plan, each, 0, threads=2) == 2 * (turns.NEAR // each)


def test_weights_that_are_too_many_are_read_once() -> None:
    made = Network(plan(program(), host()), compiled=False)
    assert turns.samples(made.plan, made.bytes_per_sample, turns.KEPT) == 0
    assert turns.samples(made.plan, turns.NEAR + 1, 0) == 0  # no sample fits


@pytest.mark.parametrize("count", [1, 3, 4, 8, 11])
def test_the_answers_of_all_samples_come_in_their_order(network: Network, count: int) -> None:
    x = np.random.default_rng(count).normal(size=(count, 16, 64, 64)).astype(np.float32)
    (y,) = network(x)
    (wanted,) = interpret(program(), x)
    assert y.shape == wanted.shape
    assert np.abs(y - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_batch_takes_no_more_memory_than_a_turn(network: Network) -> None:
    assert network.arena_bytes(64) == network.arena_bytes(32) < 8 * turns.NEAR
