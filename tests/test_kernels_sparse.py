"""Convolutions over tiles that skip zeros, against the plain sum, for every instruction set."""

from __future__ import annotations

import ctypes
import random
from dataclasses import replace

import numpy as np
import pytest

from lighten.emit import ISAS, Isa, build
from lighten.engine.choose import Choice
from lighten.kernels import direct, share, sparse, sparse_linear, tile_schedule, tiled
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.tile_schedule import TiledConv
from lighten.kernels.tiled import Tiled
from lighten.program.reference.elementwise import FUNCTIONS as MEANINGS
from tests.test_emit import HERE
from tests.test_kernels import on_line
from tests.test_kernels import run as run_blocked
from tests.together import with_threads

P = ctypes.c_void_p
QUICK, MANY = 12, 600


def sliding(rng: random.Random) -> Window:
    """Windows that keep images about as large as they were, as those between tiles must."""
    taps = rng.choice([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3), (1, 7)])
    steps = rng.choice([(1, 1), (1, 1), (2, 2), (2, 1), (3, 3)])
    dilations = rng.choice([(1, 1), (1, 1), (2, 1), (2, 3)])
    pads = tuple(rng.randint(0, 3) for _ in range(4))
    return Window(taps, steps, dilations, (pads[0], pads[1], pads[2], pads[3]))


def drawn(rng: random.Random, lanes: int, together: int = 1) -> TiledConv:
    """Any convolution between tiles: odd sizes, ragged tiles, frames wider than what is read."""
    window = sliding(rng)
    rows, columns = window.extent
    height, width = rows + rng.randint(0, 20), columns + rng.randint(0, 24)
    down, along = window.results(height, width)
    grid = rng.choice(tiled.grids(lanes))
    least = tiled.tile((height, width), grid, window.strides)
    made = tiled.tile((down, along), grid)
    steps = tuple(max(a // s, b) for a, s, b in zip(least, window.strides, made, strict=True))
    cells = (steps[0], steps[1])
    reads = (cells[0] * window.strides[0], cells[1] * window.strides[1])
    more = Halo(*(rng.randint(0, 1) for _ in range(4)))
    frame = tiled.halo(window).covering(more)
    source = Tiled(rng.randint(1, 20), height, width, grid, reads, frame, together)
    after = Halo(*(rng.randint(0, 3) for _ in range(4)))
    target = Tiled(rng.randint(1, 20), down, along, grid, cells, after, together)
    added = target.with_halo(more) if rng.random() < 0.4 else None
    return TiledConv(source, target, window, rng.choice(["", "relu", "hardswish"]), added)


def given_to(conv: TiledConv, seed: int, density: float) -> dict[str, np.ndarray]:
    rng, source, target = np.random.default_rng(seed), conv.source, conv.target
    shape = (target.channels, source.channels, *conv.window.kernel)
    w = rng.standard_normal(shape) * (rng.random(shape) < density)
    given = {
        "x": rng.standard_normal((2, source.channels, source.height, source.width)),
        "w": w / np.sqrt(np.prod(shape[1:])),
        "b": rng.standard_normal(shape[0]),
        "r": rng.standard_normal((2, target.channels, target.height, target.width)),
    }
    return {key: value.astype(np.float32) for key, value in given.items()}


def exact(conv: TiledConv, given: dict[str, np.ndarray]) -> np.ndarray:
    """In float64."""
    plain = [Blocked(t.channels, t.height, t.width, 1) for t in (conv.source, conv.target)]
    x = given["x"].astype(np.float64)
    y = direct.reference(Conv(plain[0], plain[1], conv.window), x, given["w"], given["b"])
    y = y + given["r"] if conv.residual else y
    return np.asarray(MEANINGS[conv.activation](y) if conv.activation else y)


def run(conv: TiledConv, isa: Isa, given: dict[str, np.ndarray]) -> np.ndarray:
    """The kernel's results in memory, halo and all; several threads do it together."""
    how = sparse.schedule(conv, isa, sparse.entries(given["w"]))
    scratch, parts = sparse.workspace(conv, how), 1 + len(given["b"]) % 4
    arrays = {
        "x": conv.source.pack(given["x"]),
        "w": sparse.pack(given["w"], conv, how),
        "b": given["b"],
        "r": conv.residual.pack(given["r"]) if conv.residual else np.zeros(1, np.float32),
        "y": np.full((len(given["x"]), *conv.target.shape), np.nan, np.float32),
    }
    if scratch:
        arrays["s"] = np.full(parts * scratch // 4, np.nan, np.float32)
    held = {name: on_line(array) for name, array in arrays.items()}
    call = build([sparse.emit("kernel", conv, how, isa)]).function(
        "kernel", *[P] * len(held), *share.KINDS
    )
    places = [x.ctypes.data for x in held.values()]

    def one(part: int, team: int) -> None:
        own = [*places[:5], *(place + part * scratch for place in places[5:])]
        call(*own, len(given["x"]), part, parts, team)

    with_threads(parts, one)
    return held["y"]


def framed(layout: Tiled, y: np.ndarray) -> np.ndarray:
    """What the memory of these images must hold, where cells show anything at all."""
    made = layout.pack(layout.unpack(y))
    halo = layout.halo
    used = (halo.top + layout.tile[0] + halo.bottom) * layout.columns
    made[:, :, used:] = y[:, :, used:]
    return made


def holds(seed: int, name: str) -> None:
    isa, rng = ISAS[name], random.Random(seed)
    conv = drawn(rng, isa.lanes)
    given = given_to(conv, seed, rng.choice([0.0, 0.1, 0.5, 1.0]))
    wanted, y = exact(conv, given), run(conv, isa, given)
    error = np.abs(conv.target.unpack(y) - wanted).max() / max(np.abs(wanted).max(), 0.1)
    assert error < 1e-5, (seed, conv, error)
    np.testing.assert_array_equal(framed(conv.target, y), y, str((seed, conv)))


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK))
def test_sparse_convolutions_are_right(seed: int, isa: str) -> None:
    holds(seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_sparse_convolutions_are_right(isa: str) -> None:
    for seed in range(QUICK, QUICK + MANY):
        holds(seed, isa)


@pytest.mark.parametrize("isa", HERE)
def test_chunks_of_channels_are_added_up(isa: str) -> None:
    """Where the pixels of all channels are more than stay near; one filter is all zeros."""
    kind, grid = ISAS[isa], tiled.best_grid([(20, 20)], ISAS[isa].lanes)
    cells = tiled.tile((20, 20), grid)
    source = Tiled(300, 20, 20, grid, cells, Halo(1, 1, 1, 1))
    conv = TiledConv(source, replace(source, channels=9), Window((3, 3), pads=(1, 1, 1, 1)))
    given = given_to(conv, 0, 0.2)
    given["w"][4] = 0
    how = sparse.schedule(conv, kind, sparse.entries(given["w"]))
    assert tile_schedule.chunks(conv, how) > 1
    wanted, y = exact(conv, given), run(conv, kind, given)
    np.testing.assert_allclose(conv.target.unpack(y), wanted, atol=1e-5)


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_the_stream_holds_what_is_not_zero(density: float) -> None:
    """As many entries as there are such weights, rows filled up to whole copies; none else."""
    isa = ISAS["avx512"]
    cells = Tiled(9, 8, 8, (4, 4), (2, 2), Halo(1, 1, 1, 1))
    conv = TiledConv(cells, cells, Window((3, 3), pads=(1, 1, 1, 1)))
    w = given_to(conv, 0, density)["w"]
    how = sparse.schedule(conv, isa, sparse.entries(w))
    held = sparse.pack(w, conv, how)
    table = -(-(len(w) + 1) // 2) * 2
    numbers = held[table + 1 :: 2].view(np.float32)
    assert np.count_nonzero(numbers) == np.count_nonzero(w) == sparse.entries(w)
    assert len(numbers) <= np.count_nonzero(w) + len(w) * (how.copies - 1)
    np.testing.assert_array_equal(np.sort(numbers[numbers != 0]), np.sort(w[w != 0]))


# ── vectors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("density", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_sparse_matrices_times_vectors_are_right(seed: int, density: float, isa: str) -> None:
    kind, rng = ISAS[isa], np.random.default_rng(seed)
    channels, filters = (int(n) for n in rng.integers(1, 300, 2))
    x, y = (Blocked(n, 1, 1, kind.lanes) for n in (channels, filters))
    conv = Conv(x, y, Window((1, 1)), 1, "relu", y if seed % 2 else None)
    assert sparse_linear.accepts(conv, kind)
    w = rng.standard_normal((filters, channels, 1, 1)) * (
        rng.random((filters, channels, 1, 1)) < density
    )
    given = {
        "x": rng.standard_normal((3, channels, 1, 1)),
        "w": w,
        "b": rng.standard_normal(filters),
        "r": rng.standard_normal((3, filters, 1, 1)),
    }
    given = {key: value.astype(np.float32) for key, value in given.items()}
    how = sparse_linear.schedule(given["w"], conv)
    choice = Choice(conv, sparse_linear, how, Halo(), 0.0)
    found = y.unpack(run_blocked(conv, choice, kind, given))
    wanted = np.einsum("kc,nc->nk", given["w"][:, :, 0, 0].astype(float), given["x"][:, :, 0, 0])
    wanted = wanted[:, :, None, None] + given["b"][:, None, None]
    wanted = np.maximum(wanted + (given["r"] if conv.residual else 0), 0)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()))
