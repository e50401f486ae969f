"""Every kernel against its reference, for every instruction set that this machine has."""

from __future__ import annotations

import ctypes
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lighten.emit import ISAS, Isa, build
from lighten.engine.choose import Choice, candidates
from lighten.engine.memory import aligned
from lighten.kernels import direct, share, winograd_schedule
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window
from lighten.program.reference.elementwise import FUNCTIONS as MEANINGS
from tests.test_emit import HERE, applied
from tests.together import with_threads

P = ctypes.c_void_p
QUICK, MANY = 12, 1500
# max |y − y64| / max |y64| of what transforms its inputs, and so loses more than its sums do
TRANSFORMS = {"fft": 5e-6, **dict.fromkeys(("winograd", "winograd_line", "split"), 3e-5)}


def on_line(x: np.ndarray) -> np.ndarray:
    held = aligned(x.nbytes).view(x.dtype).reshape(x.shape)
    held[...] = x
    return held


def run(conv: Conv, choice: Choice, isa: Isa, given: dict[str, np.ndarray]) -> np.ndarray:
    """The kernel's results in memory, halo and all; several threads do it together."""
    count = len(given["x"])
    parts = 1 + len(given["b"]) % 4  # any number of which the shapes know nothing
    kernel, schedule = choice.kernel, choice.schedule
    lanes = conv.target.blocks * conv.target.lanes
    scratch = kernel.workspace(conv, schedule)
    arrays = {
        "x": conv.source.pack(given["x"]),
        "w": kernel.pack(given["w"], conv, schedule),
        "b": np.pad(given["b"], (0, lanes - len(given["b"]))),
        "r": conv.residual.pack(given["r"]) if conv.residual else np.zeros(1, np.float32),
        "y": np.zeros((count, *conv.target.shape), np.float32),
    }
    if scratch:
        arrays["s"] = np.full(parts * scratch // 4, np.nan, np.float32)
    held = {name: on_line(array) for name, array in arrays.items()}
    emitted = kernel.emit("kernel", conv, schedule, isa)
    call = build([emitted]).function("kernel", *[P] * len(held), *share.KINDS)
    places = [x.ctypes.data for x in held.values()]

    def one(part: int, team: int) -> None:
        own = [*places[:5], *(place + part * scratch for place in places[5:])]
        call(*own, count, part, parts, team)

    with_threads(parts, one)
    return held["y"]


def drawn(rng: random.Random, isa: Isa) -> Conv:
    """Any convolution that a network may hold: odd sizes, steps, paddings, ragged channels."""
    deep = rng.random() < 0.3
    channels, filters = rng.randint(1, 40), rng.randint(1, 70)
    taps = rng.choice([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3), (1, 7)])
    steps, dilations = ((1, 1), (1, 1)) if rng.random() < 0.5 else _pairs(rng)
    pads = tuple(rng.randint(0, 3) for _ in range(4))
    sliding = Window(taps, steps, dilations, (pads[0], pads[1], pads[2], pads[3]))
    rows, columns = sliding.extent
    height, width = rows + rng.randint(0, 12), columns + rng.randint(0, 17)
    down, along = sliding.results(height, width)
    source = Blocked(channels, height, width, isa.lanes)
    target = Blocked(channels if deep else filters, down, along, isa.lanes)
    return Conv(
        source,
        target.with_halo(Halo(*(rng.randint(0, 2) for _ in range(4)))),
        sliding,
        channels if deep else 1,
        rng.choice(["", "relu", "relu6", "hardswish"]),
        target if rng.random() < 0.4 else None,
        rng.choice((1, 16)),
        rng.random() < 0.5,
    )


def _pairs(rng: random.Random) -> Any:
    return (rng.randint(1, 3), rng.randint(1, 3)), (rng.randint(1, 2), rng.randint(1, 2))


def exact(conv: Conv, given: dict[str, np.ndarray]) -> np.ndarray:
    """In float64."""
    x, weight = given["x"].astype(np.float64), given["w"]
    if conv.groups > 1:  # one filter per channel: a block diagonal of them
        full = np.zeros((conv.groups, conv.groups, *weight.shape[2:]))
        full[np.arange(conv.groups), np.arange(conv.groups)] = weight[:, 0]
        weight = full
    y = direct.reference(conv, x, weight, given["b"])
    y = y + given["r"] if conv.residual else y
    return np.asarray(MEANINGS[conv.activation](y) if conv.activation else y)


def rounding(conv: Conv) -> float:
    """What a sum of so many products loses in float32: each addition half a last bit, which grow as
    a random walk; four times that, since the largest of many is looked at.
    """
    rows, columns = conv.window.kernel
    products = rows * columns * conv.source.channels // conv.groups
    return 4 * 2.0**-24 * max(4.0, products**0.5)


def bound(conv: Conv, choice: Choice) -> float:
    """How far from the exact results a kernel may be, of the largest of them."""
    return TRANSFORMS.get(choice.name.split()[0], rounding(conv))


def holds(seed: int, name: str) -> None:
    """Every kernel that accepts the drawn convolution, in every schedule, is right."""
    isa, rng = ISAS[name], random.Random(seed)
    conv, numbers = drawn(rng, isa), np.random.default_rng(seed)
    per = 1 if conv.groups > 1 else conv.source.channels
    shape = (conv.target.channels, per, *conv.window.kernel)
    count = 2 if conv.batch == 1 else rng.choice((1, 2, 3, 35))
    size = (count, conv.target.channels, conv.target.height, conv.target.width)
    given = {
        "x": numbers.standard_normal(
            (count, conv.source.channels, conv.source.height, conv.source.width)
        ),
        "w": numbers.standard_normal(shape) / np.sqrt(np.prod(shape[1:])),
        "b": numbers.standard_normal(shape[0]),
        "r": numbers.standard_normal(size),
    }
    given = {key: value.astype(np.float32) for key, value in given.items()}
    wanted = exact(conv, given)
    for choice in candidates(conv, isa):
        framed = replace(conv, source=conv.source.with_halo(choice.halo))
        y = run(framed, choice, isa, given)
        found = conv.target.unpack(y)
        scale = max(np.abs(wanted).max(), 0.1)
        error = np.abs(found - wanted).max() / scale
        assert error < bound(conv, choice), (seed, choice)
        conv.target.inside(y)[...] = 0
        assert not y.any(), "the halo must stay zero"


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK))
def test_convolutions_drawn_at_random_are_right(seed: int, isa: str) -> None:
    holds(seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_convolutions_drawn_at_random_are_right(isa: str) -> None:
    for seed in range(QUICK, QUICK + MANY):
        holds(seed, isa)


@pytest.mark.parametrize("outputs", winograd_schedule.OUTPUTS[3])
def test_winograd_loses_no_more_than_its_algebra_says(outputs: int) -> None:
    isa = ISAS[HERE[0]]
    conv = Conv(
        Blocked(32, 24, 24, isa.lanes),
        Blocked(32, 24, 24, isa.lanes),
        Window((3, 3), pads=(1, 1, 1, 1)),
    )
    numbers = np.random.default_rng(0)
    given = {
        "x": numbers.standard_normal((1, 32, 24, 24)).astype(np.float32),
        "w": (numbers.standard_normal((32, 32, 3, 3)) / 17).astype(np.float32),
        "b": np.zeros(32, np.float32),
    }
    wanted = exact(conv, given)
    for choice in candidates(conv, isa):
        if getattr(choice.schedule, "outputs", 0) == outputs:
            framed = replace(conv, source=conv.source.with_halo(choice.halo))
            y = conv.target.unpack(run(framed, choice, isa, given))
            error = np.abs(y - wanted).max() / np.abs(wanted).max()
            assert error < 2 * winograd_schedule.algorithm(outputs, 3)[0].error()


# max |f(x) − f64(x)| / max(1, |f64(x)|) over [−30, 30]
ERRORS = {"erf": 8e-7, "gelu": 8e-7, "gelu_tanh": 5e-7, "tanh": 5e-7, "exp": 5e-7}


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name])
def test_functions_stay_within_their_bounds(name: str, isa: str) -> None:
    x = np.linspace(-30, 30, 1 << 14).astype(np.float32)
    x = np.concatenate([x, np.linspace(-1e-2, 1e-2, 1 << 10).astype(np.float32)])
    if name in ("sqrt", "rsqrt", "reciprocal", "log"):
        x = np.abs(x) + np.float32(1e-3)
    found = applied(isa, FUNCTIONS[name], x)
    wanted = MEANINGS[name](x.astype(np.float64))
    error = np.abs(found - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() < ERRORS.get(name, 3e-7), (error.max(), x[error.argmax()])


ENDS = np.array(
    [np.nan, np.inf, -np.inf, 1e30, -1e30, 88.6, 89.5, -88.0, -104.5, *[0.0] * 7], np.float32
)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("name", ["relu", "relu6", "exp", "sigmoid", "silu", "tanh", "hardswish"])
def test_what_is_no_number_and_what_is_endless_come_out_as_they_should(name: str, isa: str) -> None:
    found = applied(isa, FUNCTIONS[name], ENDS)
    with np.errstate(all="ignore"):
        wanted = MEANINGS[name](ENDS.astype(np.float64)).astype(np.float32)
    endless = np.isinf(ENDS) & (name in ("silu", "hardswish"))  # ∞ · 0 may be either
    keep = ~endless
    np.testing.assert_allclose(found[keep], wanted[keep], rtol=1e-5, atol=1e-30)


def test_blocks_come_back_as_they_were_packed() -> None:
    layout = Blocked(20, 3, 5, 16, Halo(1, 2, 0, 1))
    x = np.random.default_rng(0).standard_normal((2, 20, 3, 5)).astype(np.float32)
    held = layout.pack(x)
    assert held.shape == (2, 2, 6, 6, 16) and held.nbytes == 2 * layout.sample
    np.testing.assert_array_equal(layout.unpack(held), x)
    assert not held[:, 1, :, :, 4:].any() and not held[:, :, 0].any()
