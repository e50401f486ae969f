"""Networks whose images lie in tiles: which do, and that nothing else changes."""

from __future__ import annotations

import ctypes
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lighten.emit import ISAS, Function, Isa, build, integers
from lighten.engine import tile_records, tile_tuning, tuning
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.engine.steps import Plan, Step
from lighten.engine.tile_grids import grids
from lighten.kernels import quads, share, tile_moves, tiled
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.tiled import Tiled
from lighten.network import lower
from lighten.program.emulate import emulate
from lighten.program.fuse import fuse
from lighten.program.interpret import interpret
from lighten.program.ir import Program
from lighten.program.quantize import quantization
from lighten.zoo.resnet_cifar import CifarResNet
from tests.test_emit import HERE
from tests.test_kernels import on_line

P = ctypes.c_void_p
SEEDS = 6


# ── copies ────────────────────────────────────────────────────────────────────────────────────


def images(rng: random.Random, lanes: int, together: int) -> tuple[Blocked, Tiled]:
    """The same images in blocks and in tiles; planar where they are floats, or words of codes."""
    channels, height, width = rng.randint(1, 40), rng.randint(1, 20), rng.randint(1, 20)
    few = rng.random() < 0.4
    block = (1 if together == 1 else 4) if few else max(lanes, together)
    channels = min(channels, 4) if few and together == 4 else channels
    frames = [Halo(*(rng.randint(0, 2) for _ in range(4))) for _ in range(2)]
    grid = rng.choice(tiled.grids(lanes))
    size = tiled.tile((height, width), grid)
    cells = (size[0] + rng.randint(0, 1), size[1])
    blocked = Blocked(channels, height, width, block, frames[0], 4 // together)
    return blocked, Tiled(channels, height, width, grid, cells, frames[1], together)


def called(f: Function, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What a kernel makes of x in y."""
    held = [on_line(x), on_line(y)]
    call = build([f]).function("kernel", P, P, *share.KINDS)
    call(*(array.ctypes.data for array in held), len(x), *share.ALONE[1:])
    return held[1]


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_blocks_become_tiles_and_tiles_blocks(seed: int, together: int, isa: str) -> None:
    rng, kind = random.Random(seed), ISAS[isa]
    blocked, cut = images(rng, kind.lanes, together)
    assert tile_moves.accepts(blocked, cut)
    dtype = np.float32 if together == 1 else np.uint8
    size = (2, cut.channels, cut.height, cut.width)
    x = np.random.default_rng(seed).integers(0, 256, size).astype(dtype)
    zero = 0 if together == 1 else 200
    there = tile_moves.into("kernel", blocked, cut, zero * quads.BYTES, kind)
    y = called(there, blocked.pack(x).astype(dtype), np.full((2, *cut.shape), 77, dtype))
    np.testing.assert_array_equal(cut.unpack(y), x)
    used = (cut.halo.top + cut.tile[0] + cut.halo.bottom) * cut.columns
    whole = cut.groups - (1 if cut.channels % together else 0)
    framed = cut.pack(x, zero)
    np.testing.assert_array_equal(y[:, :whole, :used], framed[:, :whole, :used])
    back = tile_moves.out_of("kernel", cut, blocked, kind)
    again = called(back, framed, np.zeros((2, *blocked.shape), dtype))
    np.testing.assert_array_equal(blocked.unpack(again).astype(dtype), x)
    blocked.inside(again)[...] = 0
    assert not again.any(), "the frame of the blocks is not touched"


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("steps", [(1, 1), (2, 2), (1, 3)])
def test_crops_take_pixels_and_add_channels(steps: tuple[int, int], isa: str) -> None:
    kind = ISAS[isa]
    grid = tiled.best_grid([(5, 7)], kind.lanes)
    cells = tiled.tile((5, 7), grid)
    size = tuple((extent - 1) * step + 1 for extent, step in zip((5, 7), steps, strict=True))
    reads = (cells[0] * steps[0], cells[1] * steps[1])
    source = Tiled(8, size[0], size[1], grid, reads, Halo(1, 0, 0, 1), 4)
    target = Tiled(24, 5, 7, grid, cells, Halo(1, 1, 1, 1), 4)
    x = np.random.default_rng(0).integers(0, 256, (2, 8, *size)).astype(np.uint8)
    op = tile_moves.Crop(source, target, steps, 2)
    f = tile_moves.crop("kernel", op, 9 * quads.BYTES, kind)
    y = called(f, source.pack(x, 9), np.zeros((2, *target.shape), np.uint8))
    wanted = np.full((2, 24, 5, 7), 9, np.uint8)
    wanted[:, 8:16] = x[:, :, :: steps[0], :: steps[1]]
    used = (target.halo.top + target.tile[0] + target.halo.bottom) * target.columns
    np.testing.assert_array_equal(y[:, :, :used], target.pack(wanted, 9)[:, :, :used])


# ── networks ──────────────────────────────────────────────────────────────────────────────────


class Branches(nn.Module):
    """Steps of two, residuals, odd sizes, a pool in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.a = nn.Conv2d(12, 12, 3, padding=1)
        self.b = nn.Conv2d(12, 12, 5, padding=2)
        self.down = nn.Conv2d(12, 20, 3, stride=2, padding=1)
        self.side = nn.Conv2d(12, 20, 1, stride=2)
        self.last = nn.Conv2d(20, 20, 3, padding=1)
        self.linear = nn.Linear(20, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = (self.b(self.a(x).relu()) + x).relu()
        x = (self.down(x) + self.side(x)).relu()
        x = nn.functional.max_pool2d(self.last(x).relu(), 3, 2, 1)
        result: torch.Tensor = self.linear(x.mean((2, 3)))
        return result


def thinned(net: nn.Module, density: float, block: int) -> nn.Module:
    """Weights of all convolutions but the first set to zero, so many channels at a time."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for layer in [m for m in net.modules() if isinstance(m, nn.Conv2d)][1:]:
            filters, channels, *taps = layer.weight.shape
            kept = rng.random((filters, -(-channels // block), 1, *taps)) < density
            mask = np.repeat(kept, block, 2).reshape(filters, -1, *taps)[:, :channels]
            layer.weight.mul_(torch.from_numpy(mask))
    return net


def noise(size: tuple[int, int] = (19, 22)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, *size)).astype(np.float32)


def made(net: nn.Module, x: np.ndarray) -> Program:
    return fuse(lower(net.eval(), torch.from_numpy(x[:2])))


def kernels(found: Plan) -> Counter[str]:
    """How often each kernel is called."""
    return Counter(step.kernel for step in found.steps if isinstance(step, Step))


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("threads", [1, 2])
def test_floats_in_tiles_are_right(threads: int, isa: str) -> None:
    torch.manual_seed(0)
    x = noise()
    program = made(thinned(Branches(), 0.1, 1), x)
    found = plan(program, ISAS[isa])
    assert kernels(found)["sparse"] >= 3
    y, wanted = Network(found, threads)(x)[0], interpret(program, x)[0]
    assert np.abs(y - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("make", [integers.with_dot, lambda isa: isa], ids=["dot", "plain"])
@pytest.mark.parametrize("isa", HERE)
def test_codes_in_tiles_are_exact(make: Callable[[Isa], Isa], isa: str) -> None:
    torch.manual_seed(0)
    x = noise()
    program = quantization(made(thinned(Branches(), 0.1, 4), x), [(x,)], joins=True)
    found = plan(program, make(ISAS[isa]))
    assert kernels(found)["block_sparse"] >= 3
    np.testing.assert_array_equal(Network(found)(x)[0], emulate(found.program, x)[0])


@pytest.mark.parametrize("codes", [False, True])
def test_residual_networks_stay_in_tiles(codes: bool) -> None:
    """From the first sparse convolution to the mean: subsampled shortcuts and all."""
    torch.manual_seed(0)
    x = noise((32, 32))
    program = made(thinned(CifarResNet(1, 10, 3), 0.1, 4), x)
    if codes:
        program = quantization(program, [(x,)], joins=True)
    found = plan(program, ISAS[HERE[0]])
    called_ = kernels(found)
    assert called_["block_sparse" if codes else "sparse"] >= 6
    assert (called_["tile"], called_["untile"], called_["crop"]) == (1, 1, 2)
    y = Network(found)(x)[0]
    wanted = emulate(found.program, x)[0] if codes else interpret(program, x)[0]
    np.testing.assert_allclose(y, wanted, atol=0 if codes else 1e-5 * np.abs(wanted).max())


def test_dense_weights_stay_in_blocks() -> None:
    torch.manual_seed(0)
    found = plan(made(Branches(), noise()), ISAS[HERE[0]])
    assert not found.tiling.values and "sparse" not in kernels(found)


@pytest.mark.parametrize(("density", "held"), [(0.02, True), (0.9, False)])
def test_a_sparse_layer_between_dense_ones_pays_for_its_copies(density: float, held: bool) -> None:
    """It is taken where its zeros save more than the copies cost, and not where they do not."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)))
    with torch.no_grad():
        net[1].weight.mul_(torch.rand(64, 64, 3, 3) < density)
    x = np.random.default_rng(0).standard_normal((2, 64, 56, 56)).astype(np.float32)
    program = made(net, x)
    found = plan(program, ISAS["avx512"])
    assert list(found.tiling.convs) == ([program.ops[1].name] if held else [])


# ── what was measured ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    return tmp_path


def test_plans_go_by_what_was_measured(cache: Path) -> None:
    """Where both were timed, the slower is not chosen, whatever was predicted."""
    torch.manual_seed(0)
    isa = ISAS[HERE[0]]
    program = made(thinned(nn.Sequential(*two()), 0.1, 1), noise((32, 32)))
    first = plan(program, isa)
    assert kernels(first)["sparse"] and len(list(tile_tuning.unknown(first))) == 1
    dense = first.tiling.dense[next(iter(first.tiling.convs))]
    tuning.keep(tuning.plainly(dense.conv), isa, [tuning.Found(dense.name, 1e-3, 0.0)])
    conv = next(iter(first.tiling.convs.values())).conv
    tile_records.keep(conv, isa, [(100, 1.0), (1000, 2.0)])
    assert tile_records.milliseconds(conv, isa, 550) == pytest.approx(1.5)
    assert not kernels(plan(program, isa))["sparse"]
    tile_records.keep(conv, isa, [(100, 1e-6), (1000, 2e-6)])
    assert kernels(plan(program, isa))["sparse"]


def test_tuning_times_every_shape_once(cache: Path) -> None:
    torch.manual_seed(0)
    program = made(thinned(nn.Sequential(*two()), 0.1, 1), noise((32, 32)))
    first = plan(program, ISAS[HERE[0]])
    assert tile_tuning.tune(first, 0.0) == 0
    assert tile_tuning.tune(first, 60.0) == 1
    assert tile_tuning.tune(first, 60.0) == 0
    (choice,) = first.tiling.judged
    points = tile_records.recall(choice.conv, first.isa)
    assert points is not None
    assert points[0][0] < points[1][0]


def two() -> list[nn.Module]:
    """A dense convolution, and one that is to be thinned."""
    return [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]


# ── vectors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("density", "held"), [(0.02, True), (0.5, False)])
def test_linear_layers_of_few_weights_skip_zeros(density: float, held: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(900, 700), nn.ReLU(), nn.Linear(700, 10))
    with torch.no_grad():
        net[0].weight.mul_(torch.rand(700, 900) < density)
    x = np.random.default_rng(0).standard_normal((5, 900)).astype(np.float32)
    program = made(net, x)
    found = plan(program, ISAS[HERE[0]])
    assert ("sparse_linear" in kernels(found)) == held
    np.testing.assert_allclose(Network(found)(x)[0], interpret(program, x)[0], atol=1e-5)


# ── grids ─────────────────────────────────────────────────────────────────────────────────────


def test_tiles_are_as_large_to_each_other_as_the_steps_between_them() -> None:
    sizes = {"x": (19, 22), "y": (10, 11), "z": (10, 11), "u": (4, 5)}
    joins = [("x", "y", (2, 2)), ("z", "y", (1, 1)), ("z", "u", (3, 3))]
    found = grids(joins, sizes, 16)
    assert found is not None
    (grid, base), (_, twice) = found["z"], found["x"]
    assert found["y"] == (grid, base)
    assert twice == (2 * base[0], 2 * base[1])
    assert all(count % 3 == 0 for count in base)
    for name, (rows, columns) in sizes.items():
        _, tile = found[name]
        assert grid[0] * tile[0] >= rows
        assert grid[1] * tile[1] >= columns


def test_steps_that_contradict_each_other_have_no_tiles() -> None:
    sizes = {"x": (8, 8), "y": (4, 4)}
    assert grids([("x", "y", (2, 2)), ("x", "y", (1, 1))], sizes, 16) is None
