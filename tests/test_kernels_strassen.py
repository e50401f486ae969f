"""Strassen's product against the float64 sum, over images and over rows, and its proof."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from lighten.algebra.bilinear import exact as fractions
from lighten.algebra.straight_line import schedule
from lighten.algebra.strassen import proves_product, strassen
from lighten.emit import ISAS, Isa, build
from lighten.engine.choose import Choice, candidates
from lighten.kernels import share, strassen_rows
from lighten.kernels import strassen as kernel
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.linear import Linear
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.strided import Strided, rows
from tests.test_kernels import HERE, MEANINGS, P, exact, on_line, rounding, run
from tests.together import with_threads


def test_seven_products_multiply_any_two_matrices() -> None:
    made = strassen()
    assert made.multiplications == 7 and proves_product(made)
    assert len(schedule(made.left).steps) == 4
    broken = [[*row] for row in made.out]
    broken[2][6] = -broken[2][6]
    assert not proves_product(replace(made, out=fractions(broken)))


def test_its_products_come_in_an_order_in_which_sums_can_grow() -> None:
    (c11, c12, c21, c22) = strassen().out
    assert [[p for p, factor in enumerate(row) if factor] for row in (c11, c12, c21, c22)] == [
        [0, 1],
        [0, 2, 3, 4],
        [0, 2, 5, 6],
        [0, 2, 3, 5],
    ]
    assert {factor for row in strassen().out for factor in row} == {0, 1}


def drawn(rng: random.Random, isa: Isa) -> Conv:
    """Any that the kernel accepts: halves of whole blocks, ragged filters, frames, an odd width."""

    def frame() -> Halo:
        return Halo(*(rng.randint(0, 2) for _ in range(4)))

    height, width = 2 * rng.randint(1, 8), rng.randint(1, 17)
    blocks = 2 * rng.randint(1, 4)
    filters = blocks * isa.lanes - rng.randint(0, isa.lanes - 1)
    source = Blocked(2 * isa.lanes * rng.randint(1, 3), height, width, isa.lanes, frame())
    target = Blocked(filters, height, width, isa.lanes, frame())
    residual = target.with_halo(frame()) if rng.random() < 0.4 else None
    activation = rng.choice(["", "relu", "hardswish"])
    remote = rng.random() < 0.5
    return Conv(source, target, Window((1, 1)), 1, activation, residual, remote=remote)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(6))
def test_products_drawn_at_random_are_right(seed: int, isa: str) -> None:
    holds(seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_products_drawn_at_random_are_right(isa: str) -> None:
    for seed in range(6, 300):
        holds(seed, isa)


def holds(seed: int, name: str) -> None:
    """Every schedule gives the sums, on some threads, and writes nothing beside them."""
    isa, rng, numbers = ISAS[name], random.Random(seed), np.random.default_rng(seed)
    conv, count = drawn(rng, isa), rng.randint(1, 3)
    image = (conv.target.height, conv.target.width)
    shape = (conv.target.channels, conv.source.channels, 1, 1)
    given = {
        "x": numbers.standard_normal((count, conv.source.channels, *image)),
        "w": numbers.standard_normal(shape) / np.sqrt(conv.source.channels),
        "b": numbers.standard_normal(conv.target.channels),
        "r": numbers.standard_normal((count, conv.target.channels, *image)),
    }
    given = {key: value.astype(np.float32) for key, value in given.items()}
    wanted = exact(conv, given)
    assert kernel.accepts(conv, isa)
    for each in kernel.schedules(conv, isa):
        choice = Choice(conv, kernel, each, conv.source.halo, 0.0)
        y = run(conv, choice, isa, given)
        error = np.abs(conv.target.unpack(y) - wanted).max() / max(np.abs(wanted).max(), 0.1)
        assert error < 5 * rounding(conv), (seed, choice)
        conv.target.inside(y)[...] = 0
        assert not y.any(), "the halo must stay zero"


@pytest.mark.parametrize(
    "other",
    [
        {"source": Blocked(48, 8, 8, 16)},
        {"target": Blocked(48, 8, 8, 16)},
        {"source": Blocked(32, 7, 8, 16), "target": Blocked(32, 7, 8, 16)},
        {"window": Window((1, 1), (2, 2)), "target": Blocked(32, 4, 4, 16)},
        {"groups": 2},
    ],
)
def test_what_does_not_fall_into_halves_is_left_to_others(other: dict[str, object]) -> None:
    isa = ISAS["avx512"]
    whole = Conv(Blocked(32, 8, 8, 16), Blocked(32, 8, 8, 16), Window((1, 1)))
    assert kernel.accepts(whole, isa) and not kernel.accepts(replace(whole, **other), isa)
    modules = {choice.kernel for choice in candidates(whole, isa)}
    assert kernel in modules


# ── rows ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(4))
def test_linear_layers_of_many_rows_are_right(seed: int, isa: str) -> None:
    """Odd and even numbers of rows, steps over part of a wider tensor, on some threads."""
    machine, rng, numbers = ISAS[isa], random.Random(seed), np.random.default_rng(seed)
    count, n = rng.randint(64, 90), rng.randint(1, 3)
    channels, filters = (32 * rng.randint(4, 6) for _ in range(2))
    wide = channels + 16
    source = Strided((count, channels), (wide, 1), 8, count * wide)
    target = Strided((count, filters), (filters, 1), 0, count * filters)
    residual = target if rng.random() < 0.5 else None
    op = Linear(source, target, rng.choice(["", "relu", "gelu"]), residual)
    how = strassen_rows.schedule(op, machine)
    assert how is not None
    how = replace(how, samples=min(how.samples, 2))
    x = numbers.standard_normal((n, count, wide)).astype(np.float32)
    w = (numbers.standard_normal((filters, channels)) / np.sqrt(channels)).astype(np.float32)
    b, r = numbers.standard_normal(filters), numbers.standard_normal((n, count, filters))
    y = x[:, :, 8 : 8 + channels].astype(np.float64) @ w.T.astype(np.float64) + b
    y = y + r if residual else y
    wanted = np.asarray(MEANINGS[op.activation](y) if op.activation else y)
    parts = rng.randint(1, 3)
    scratch = strassen_rows.workspace(op, how, machine)
    arrays = (x, strassen_rows.pack(w, how, machine), b, r, np.zeros(wanted.shape))
    held = [on_line(np.asarray(array, np.float32)) for array in arrays]
    held.append(on_line(np.full(parts * scratch // 4, np.nan, np.float32)))
    emitted = strassen_rows.emit("kernel", op, how, machine)
    call = build([emitted]).function("kernel", *[P] * len(held), *share.KINDS)
    places = [array.ctypes.data for array in held]

    def one(part: int, team: int) -> None:
        call(*places[:5], places[5] + part * scratch, n, part, parts, team)

    with_threads(parts, one)
    assert np.abs(held[4] - wanted).max() / np.abs(wanted).max() < 4e-6


def test_few_rows_are_multiplied_as_they_are() -> None:
    def layer(count: int, channels: int = 256, filters: int = 256, paired: bool = False) -> Linear:
        source, target = rows((count, channels)), rows((count, filters))
        return Linear(source, target, paired=paired)

    isa = ISAS["avx512"]
    assert strassen_rows.schedule(layer(64), isa) is not None
    for other in (
        layer(63),
        layer(64, 240),
        layer(64, 256, 240),
        layer(64, 96),
        layer(64, paired=True),
    ):
        assert strassen_rows.schedule(other, isa) is None
