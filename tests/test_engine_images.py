"""Ops on images that were once left to the interpreter: run whole, and as the interpreter does."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from lighten.emit import ISAS
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.program import Builder, Program, interpret
from tests.test_emit import HERE

Draw = Callable[[Builder, random.Random], str]
QUICK, MANY = 10, 200


def weight(b: Builder, *shape: int) -> str:
    rng = np.random.default_rng(len(b.arrays))
    fan = max(int(np.prod(shape[1:])), 1)
    return b.store("w", rng.normal(0, 1 / np.sqrt(fan), shape))


def image(b: Builder, r: random.Random, channels: int, least: tuple[int, ...]) -> str:
    """An input, or what a function or a convolution made of it, at least so large."""
    x = b.input("x", (channels, *(extent + r.randint(0, 7) for extent in least)))
    rank, kind = len(least), r.randrange(3)
    if kind == 2 and 1 <= rank <= 2:  # lies in blocks
        how = {"strides": (1,) * rank, "dilations": (1,) * rank, "pads": (0,) * 2 * rank}
        w = weight(b, channels, channels, *(1,) * rank)
        return b.op("conv", x, w, groups=1, activation="", **how)
    return x if kind else b.op("unary", x, function="relu")


def numbers(r: random.Random, rank: int, *choices: int) -> tuple[int, ...]:
    return tuple(r.choice(choices) for _ in range(rank))


def transposed(b: Builder, r: random.Random, ranks: tuple[int, ...] = (1, 2, 2)) -> str:
    rank, groups = r.choice(ranks), r.choice([1, 1, 1, 2, 5])
    reads, made = r.randint(1, 20), r.choice([1, 2, 3, 7, 16, 20])
    kernel, strides = numbers(r, rank, 1, 2, 3, 4), numbers(r, rank, 1, 2, 3)
    dilations = numbers(r, rank, 1, 1, 2)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(r.randint(0, (extent - 1) // 2 + 1) for extent in (*reach, *reach))
    x = image(b, r, groups * reads, (3,) * rank)
    bias = r.choice([(), (weight(b, groups * made),)])
    return b.op(
        "conv_transpose",
        x,
        weight(b, groups * reads, made, *kernel),
        *bias,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=groups,
        output_padding=tuple(r.randrange(step) for step in strides),
        activation=r.choice(["", "relu"]),
    )


def grouped(b: Builder, r: random.Random) -> str:
    rank, groups, made = r.choice([1, 2]), r.randint(2, 9), r.randint(1, 9)
    reads = r.randint(1, 9)
    x = image(b, r, groups * reads, (5,) * rank)
    how = {"strides": numbers(r, rank, 1, 2), "dilations": numbers(r, rank, 1, 2)}
    pads = numbers(r, 2 * rank, 0, 1, 2)
    w = weight(b, groups * made, reads, *numbers(r, rank, 1, 2, 3))
    y = b.op("conv", x, w, pads=pads, groups=groups, activation="relu", **how)
    return b.op("binary", y, y, function="mul", activation="")


def over_three_axes(b: Builder, r: random.Random) -> str:
    groups, made, reads = r.choice([1, 1, 2, 6]), r.randint(1, 20), r.randint(1, 9)
    x = b.input("x", (groups * reads, *(5 + r.randint(0, 7) for _ in range(3))))
    how = {"strides": numbers(r, 3, 1, 1, 2), "dilations": numbers(r, 3, 1, 1, 2)}
    w = weight(b, groups * made, reads, *numbers(r, 3, 1, 2, 3))
    pads = numbers(r, 6, 0, 0, 1, 2)
    y = b.op("conv", x, w, weight(b, groups * made), pads=pads, groups=groups, activation="", **how)
    return b.op(
        "conv",
        y,
        weight(b, 3, groups * made, 1, 1, 1),
        strides=(1, 1, 1),
        dilations=(1, 1, 1),
        pads=(0,) * 6,
        groups=1,
        activation="relu",
    )


def pooled(b: Builder, r: random.Random, ranks: tuple[int, ...] = (1, 2, 2)) -> str:
    rank = r.choice(ranks)
    how = {"strides": numbers(r, rank, 1, 2, 3), "dilations": numbers(r, rank, 1, 1, 2)}
    how["kernel"] = numbers(r, rank, 2, 3)
    flags = {"ceil": r.random() < 0.8, "include_pad": r.random() < 0.8}
    function = r.choice(("max", "average", "average"))
    least, pads = (5,) * rank, numbers(r, 2 * rank, 0, 1)
    x = image(b, r, r.randint(1, 20), least)
    return b.op("pool", x, function=function, pads=pads, **how, **flags)


def resized(b: Builder, r: random.Random, ranks: tuple[int, ...] = (1, 2, 2)) -> str:
    rank = r.choice(ranks)
    x = image(b, r, r.randint(1, 20), (2,) * rank)
    size = tuple(r.randint(1, 2 * extent + 1) for extent in b.values[x].shape[1:])
    mode, corners = r.choice(("nearest", "linear", "linear")), r.random() < 0.5
    return b.op("resize", x, size=size, mode=mode, align_corners=corners)


def normalised(b: Builder, r: random.Random, ranks: tuple[int, ...] = (1, 2, 2)) -> str:
    groups, rank = r.randint(1, 6), r.choice(ranks)
    channels = groups * r.randint(1, 20)
    x = image(b, r, channels, (4,) * rank)
    norm = r.choice([(), (weight(b, channels),), (weight(b, channels), weight(b, channels))])
    return b.op("group_norm", x, *norm, groups=groups, epsilon=r.choice((1e-5, 1e-2)))


def reduced(b: Builder, r: random.Random) -> str:
    rank = r.choice([1, 2, 2])
    x = image(b, r, r.randint(1, 20), (1,) * rank)
    axes = tuple(sorted(r.sample(range(1, rank + 1), r.randint(1, rank))))
    function, keep = r.choice(("mean", "sum", "max")), r.random() < 0.5
    return b.op("reduce", x, function=function, axes=axes, keepdims=keep)


def padded(b: Builder, r: random.Random) -> str:
    rank = r.choice([0, 1, 2])
    x = image(b, r, r.randint(1, 20), (1,) * rank)
    pads = numbers(r, 2 * rank + 2, 0, 1, 5)
    y = b.op("pad", x, pads=pads, value=r.choice((0.0, 0.5, -2.0)))
    if rank == 2:  # what reads zeros around it must find them
        w = weight(b, 3, b.values[y].shape[0], 3, 3)
        how = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}
        y = b.op("conv", y, w, **how, activation="")
    return y


DRAWS: dict[str, Draw] = {
    "conv_transpose": transposed,
    "conv in groups": grouped,
    "conv over three axes": over_three_axes,
    "conv_transpose over three axes": lambda b, r: transposed(b, r, (3,)),
    "pool": pooled,
    "pool over three axes": lambda b, r: pooled(b, r, (3,)),
    "resize": resized,
    "resize over three axes": lambda b, r: resized(b, r, (3,)),
    "group_norm": normalised,
    "group_norm over three axes": lambda b, r: normalised(b, r, (3,)),
    "reduce": reduced,
    "pad": padded,
}


def agrees(program: Program, isa: str, seed: int) -> None:
    """Nothing is interpreted, and the answers are right: on a clean arena, on a used one, and by
    several threads.
    """
    x = [
        np.random.default_rng(seed).normal(size=(2, *program.values[name].shape))
        for name in program.inputs
    ]
    (exact,) = interpret(program, *x)
    network = Network(plan(program, ISAS[isa]))
    assert not network.plan.interpreted, (seed, program.ops)
    given = [array.astype(np.float32) for array in x]
    (once,) = network(*given)
    scale = max(np.abs(exact).max(), 0.1)
    assert once.shape == exact.shape
    assert np.abs(once - exact).max() / scale < 1e-5, (seed, program.ops)
    arena = network._arenas.take(len(given[0]))
    arena.memory.view(np.float32)[...] = np.nan
    network._arenas.give(arena)
    np.testing.assert_array_equal(network(*given)[0], once)
    (together,) = Network(network.plan, threads=2)(*given)
    np.testing.assert_array_equal(together, once)


def drawn(what: str, seed: int) -> Program:
    b = Builder()
    return b.finish(DRAWS[what](b, random.Random(seed)))


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("what", DRAWS)
def test_no_op_on_images_is_interpreted(what: str, isa: str) -> None:
    for seed in range(QUICK):
        agrees(drawn(what, seed), isa, seed)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("what", DRAWS)
def test_many_ops_on_images_are_not_interpreted(what: str, isa: str) -> None:
    for seed in range(QUICK, QUICK + MANY):
        agrees(drawn(what, seed), isa, seed)
