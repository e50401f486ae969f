"""Convolutions of codes over tiles, bit for bit, on every instruction set."""

from __future__ import annotations

import ctypes
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from lighten.emit import ISAS, Isa, build, integers
from lighten.kernels import block_sparse, direct, share
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv
from lighten.kernels.tile_schedule import TiledConv
from lighten.program.reference.elementwise import FUNCTIONS as MEANINGS
from tests.test_emit import HERE
from tests.test_kernels import on_line
from tests.test_kernels_sparse import drawn as drawn_floats
from tests.together import with_threads

P = ctypes.c_void_p
QUICK, MANY = 12, 600
KINDS = {isa: ISAS[isa] for isa in HERE}
KINDS |= {made.name: made for made in map(integers.with_dot, KINDS.values())}


@dataclass(frozen=True)
class Given:
    """Codes, weights, and all that ends a sum."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    r: np.ndarray
    low: float
    high: float
    zero: int
    before: int  # the zero point of x
    added: tuple[int, float]
    scale: float

    def numbers(self, width: int) -> np.ndarray:
        """As the kernel reads them."""
        room = (0, width - len(self.bias))
        ends = np.zeros(6, np.float32)
        ends[[0, 1, 3, 4, 5]] = self.low, self.high, *self.added, self.scale
        ends.view(np.int32)[2] = self.zero
        parts = [np.pad(self.bias, room).view(np.float32), np.pad(self.multiplier, room), ends]
        return np.concatenate(parts)


def drawn(rng: random.Random, isa: Isa) -> TiledConv:
    """Codes to codes, or to floats."""
    conv = drawn_floats(rng, isa.lanes, 4)
    if rng.random() < 0.25:
        floats = replace(conv.target, together=1)
        added = conv.residual and replace(conv.residual, together=1)
        return replace(conv, target=floats, residual=added)
    return conv


def given_to(conv: TiledConv, seed: int, density: float) -> Given:
    """Codes at both ends of their range; blocks of zeros and single ones."""
    rng, source, target = np.random.default_rng(seed), conv.source, conv.target
    shape = (target.channels, -(-source.channels // 4), 4, *conv.window.kernel)
    kept = (rng.random(shape) < 0.8) & (rng.random((*shape[:2], 1, *shape[3:])) < density)
    w = (rng.integers(-127, 128, shape) * kept).astype(np.int8)
    w = w.reshape(shape[0], -1, *shape[3:])[:, : source.channels].copy()
    before, zero = (int(z) for z in rng.choice([0, 3, 128, 255], 2))
    bias = rng.integers(-5000, 5000, shape[0]).astype(np.int32)
    spread = 255 * 74 * np.sqrt(max(1, density * np.prod(shape[1:])))
    relu = conv.activation == "relu"
    size = (2, target.channels, target.height, target.width)
    codes = target.together == 4
    r = rng.integers(0, 256, size).astype(np.uint8) if codes else rng.standard_normal(size)
    return Given(
        rng.integers(0, 256, (2, source.channels, source.height, source.width)).astype(np.uint8),
        w,
        (bias - before * w.reshape(len(w), -1).astype(np.int64).sum(1)).astype(np.int32),
        (rng.uniform(50, 300, shape[0]) / spread).astype(np.float32),
        r if codes else r.astype(np.float32),
        0.0 if relu else 0.0 - zero,
        255.0 - zero,
        zero,
        before,
        (int(rng.integers(0, 256)) if codes else 0, float(np.float32(rng.uniform(0.2, 2)))),
        float(np.float32(rng.uniform(0.5, 2))),
    )


def exact(conv: TiledConv, given: Given) -> np.ndarray:
    """By the same steps in NumPy, each in float32."""
    plain = [Blocked(t.channels, t.height, t.width, 1) for t in (conv.source, conv.target)]
    x = given.x.astype(np.int64) - given.before
    b = given.bias + given.before * given.w.reshape(len(given.w), -1).astype(np.int64).sum(1)
    total = direct.reference(Conv(plain[0], plain[1], conv.window), x, given.w, b)
    r = total.astype(np.float32) * given.multiplier[:, None, None]
    if conv.residual:
        zero, scale = given.added
        r = r + (given.r.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    if conv.activation:
        r = MEANINGS[conv.activation](r).astype(np.float32)
    if conv.target.together == 1:
        return r
    r = r * np.float32(given.scale) if conv.activation else r
    return (np.rint(np.clip(r, given.low, given.high)) + given.zero).astype(np.uint8)


def run(conv: TiledConv, isa: Isa, given: Given) -> np.ndarray:
    """The kernel's results in memory, halo and all; several threads do it together."""
    how = block_sparse.schedule(conv, isa, block_sparse.entries(given.w))
    scratch, parts = block_sparse.workspace(conv, how), 1 + len(given.bias) % 4
    added, made = conv.residual, np.float32 if conv.target.together == 1 else np.uint8
    arrays = {
        "x": conv.source.pack(given.x, given.before),
        "w": block_sparse.pack(given.w, conv, how),
        "b": given.numbers(block_sparse.width(conv)),
        "r": added.pack(given.r) if added else np.zeros(1, np.float32),
        "y": np.full((2, *conv.target.shape), 77, made),
    }
    if scratch:
        arrays["s"] = np.full(parts * scratch // 4, np.nan, np.float32)
    held = {name: on_line(array) for name, array in arrays.items()}
    call = build([block_sparse.emit("kernel", conv, how, isa)]).function(
        "kernel", *[P] * len(held), *share.KINDS
    )
    places = [x.ctypes.data for x in held.values()]

    def one(part: int, team: int) -> None:
        own = [*places[:5], *(place + part * scratch for place in places[5:])]
        call(*own, 2, part, parts, team)

    with_threads(parts, one)
    return held["y"]


def holds(seed: int, name: str) -> None:
    isa, rng = KINDS[name], random.Random(seed)
    conv = drawn(rng, isa)
    given = given_to(conv, seed, rng.choice([0.0, 0.1, 0.5, 1.0]))
    wanted, y = exact(conv, given), run(conv, isa, given)
    target = conv.target
    found = target.unpack(y)
    if conv.activation == "hardswish":  # in other steps than NumPy's
        atol = 1 if target.together == 4 else 1e-2
        np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), atol=atol)
    else:
        np.testing.assert_array_equal(found, wanted, str((seed, conv)))
    framed = target.pack(found, given.zero if target.together == 4 else 0)
    used = (target.halo.top + target.tile[0] + target.halo.bottom) * target.columns
    rest = target.channels % target.together  # channels of the last word that there are
    whole = target.groups - (1 if rest else 0)
    np.testing.assert_array_equal(y[:, :whole, :used], framed[:, :whole, :used], str(conv))
    last = slice(None, rest or None)
    np.testing.assert_array_equal(y[:, -1, :used, :, last], framed[:, -1, :used, :, last])


@pytest.mark.parametrize("isa", KINDS)
@pytest.mark.parametrize("seed", range(QUICK))
def test_convolutions_of_codes_are_exact(seed: int, isa: str) -> None:
    holds(seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", KINDS)
def test_many_convolutions_of_codes_are_exact(isa: str) -> None:
    for seed in range(QUICK, QUICK + MANY):
        holds(seed, isa)
