"""Convolutions that `direct` does not take, against the plain sum, for every instruction set."""

from __future__ import annotations

import doctest
import importlib
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lighten.emit import ISAS, Isa
from lighten.engine.choose import candidates
from lighten.kernels import direct, grouped, im2col, indirect, permuted, transposed, volumes
from lighten.kernels.fourier import PLAIN, complex_, forward, inverse
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.spectrum import Spectrum
from lighten.program.reference.elementwise import FUNCTIONS as MEANINGS
from tests.test_emit import HERE
from tests.test_kernels import bound, run

QUICK, MANY = 12, 600


def window(rng: random.Random) -> Window:
    taps = rng.choice([(1, 1), (3, 3), (3, 3), (1, 5), (2, 3)])
    steps, dilations = (rng.randint(1, 2), rng.randint(1, 2)), (rng.randint(1, 2), 1)
    pads = tuple(rng.randint(0, 2) for _ in range(4))
    return Window(taps, steps, dilations, (pads[0], pads[1], pads[2], pads[3]))


def in_groups(rng: random.Random, isa: Isa) -> Conv:
    """Groups of any size; often those that networks have."""
    reads, made = rng.choice(
        [(1, 1), (1, 2), (1, 4), (2, 2), (4, 4), (4, 8), (8, 8), (16, 16), (24, 24), (32, 32)]
        if rng.random() < 0.6
        else [(rng.randint(1, 20), rng.randint(1, 20))]
    )
    groups = rng.randint(2, max(2, 100 // max(reads, made)))
    sliding = window(rng)
    rows, columns = sliding.extent
    height, width = rows + rng.randint(0, 8), columns + rng.randint(0, 30)
    down, along = sliding.results(height, width)
    planar = rng.random() < 0.2
    source = Blocked(groups * reads, height, width, 1 if planar else isa.lanes)
    target = Blocked(groups * made, down, along, isa.lanes)
    framed = target.with_halo(Halo(*(rng.randint(0, 2) for _ in range(4))))
    residual = target if rng.random() < 0.4 else None
    return Conv(source, framed, sliding, groups, rng.choice(["", "relu", "hardswish"]), residual)


def in_whole_groups(rng: random.Random, isa: Isa) -> Conv:
    """Groups that fill registers, and windows in steps of one."""
    taps = rng.choice([(3, 3), (3, 3), (5, 5), (1, 3), (7, 1), (7, 7)])
    pads = tuple(rng.randint(0, 2) for _ in range(4))
    sliding = Window(taps, pads=(pads[0], pads[1], pads[2], pads[3]))
    height, width = taps[0] + rng.randint(0, 9), taps[1] + rng.randint(0, 12)
    groups, reads, made = rng.randint(2, 4), rng.randint(1, 3), rng.randint(1, 3)
    source = Blocked(groups * reads * isa.lanes, height, width, isa.lanes)
    results = sliding.results(height, width)
    target = Blocked(groups * made * isa.lanes, *results, isa.lanes)
    framed = target.with_halo(Halo(*(rng.randint(0, 2) for _ in range(4))))
    return Conv(source, framed, sliding, groups, "relu", target if rng.random() < 0.4 else None)


def large(rng: random.Random, isa: Isa) -> Conv:
    """Kernels of many taps, in one axis or both, for all channels or for each alone."""
    deep = rng.random() < 0.4
    few = [(7, 7), (9, 9), (1, 9), (7, 1)]
    taps = rng.choice([*([] if deep else few), (3, 11), (11, 11), (13, 13), (1, 31)])
    pads = tuple(rng.randint(0, 6) for _ in range(4))
    sliding = Window(taps, pads=(pads[0], pads[1], pads[2], pads[3]))
    height, width = taps[0] + rng.randint(0, 20), taps[1] + rng.randint(0, 30)
    channels = rng.randint(2, 40)
    source = Blocked(channels, height, width, isa.lanes)
    filters = channels if deep else rng.randint(1, 70)
    target = Blocked(filters, *sliding.results(height, width), isa.lanes)
    framed = target.with_halo(Halo(*(rng.randint(0, 2) for _ in range(4))))
    residual = target if rng.random() < 0.4 else None
    return Conv(source, framed, sliding, channels if deep else 1, "relu", residual)


def in_line(rng: random.Random, isa: Isa) -> Conv:
    """Kernels along one axis; short lines and long ones."""
    taps, pads = rng.choice([3, 5, 7]), tuple(rng.randint(0, 3) for _ in range(4))
    upright = rng.random() < 0.3
    sliding = Window((taps, 1) if upright else (1, taps), pads=(pads[0], pads[1], pads[2], pads[3]))
    sides = [rng.randint(1, 9), taps + rng.randint(0, 60)]
    if rng.random() < 0.3:
        sides = [1, 3000]
    height, width = sides[::-1] if upright else sides
    source = Blocked(rng.randint(1, 40), height, width, isa.lanes)
    target = Blocked(rng.randint(1, 70), *sliding.results(height, width), isa.lanes)
    framed = target.with_halo(Halo(*(rng.randint(0, 2) for _ in range(4))))
    return Conv(source, framed, sliding, 1, "relu", target if rng.random() < 0.4 else None)


def given_to(conv: Conv, seed: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    reads = conv.source.channels // conv.groups
    shape = (conv.target.channels, reads, *conv.window.kernel)
    source, target = conv.source, conv.target
    given = {
        "x": numbers.standard_normal((2, source.channels, source.height, source.width)),
        "w": numbers.standard_normal(shape) / np.sqrt(np.prod(shape[1:])),
        "b": numbers.standard_normal(shape[0]),
        "r": numbers.standard_normal((2, target.channels, target.height, target.width)),
    }
    return {key: value.astype(np.float32) for key, value in given.items()}


def exact(conv: Conv, given: dict[str, np.ndarray]) -> np.ndarray:
    """In float64."""
    y = grouped.reference(conv, given["x"].astype(np.float64), given["w"], given["b"])
    y = y + given["r"] if conv.residual else y
    return np.asarray(MEANINGS[conv.activation](y) if conv.activation else y)


def holds(draw: Callable[[random.Random, Isa], Conv], seed: int, name: str) -> set[str]:
    """Every kernel that accepts the drawn convolution is right in every schedule; their names."""
    isa = ISAS[name]
    conv = draw(random.Random(seed), isa)
    given = given_to(conv, seed)
    wanted = exact(conv, given)
    options = candidates(conv, isa)
    assert options, conv
    for choice in options:
        framed = replace(conv, source=conv.source.with_halo(choice.halo))
        y = run(framed, choice, isa, given)
        error = np.abs(conv.target.unpack(y) - wanted).max() / max(np.abs(wanted).max(), 0.1)
        assert error < bound(conv, choice), (seed, choice, error)
        conv.target.inside(y)[...] = 0
        assert not y.any(), "the halo must stay zero"
    return {choice.name.split()[0] for choice in options}


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK))
def test_convolutions_in_groups_are_right(seed: int, isa: str) -> None:
    holds(in_groups, seed, isa)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK // 2))
def test_groups_of_whole_registers_are_right(seed: int, isa: str) -> None:
    assert holds(in_whole_groups, seed, isa) >= {"split", "grouped"}


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_convolutions_in_groups_are_right(isa: str) -> None:
    found = set().union(*(holds(in_groups, seed, isa) for seed in range(QUICK, QUICK + MANY)))
    assert found >= {"depthwise", "permuted", "grouped"}
    for seed in range(QUICK // 2, MANY // 2):
        holds(in_whole_groups, seed, isa)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK // 2))
def test_convolutions_of_many_taps_are_right(seed: int, isa: str) -> None:
    assert "fft" in holds(large, seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_convolutions_of_many_taps_are_right(isa: str) -> None:
    for seed in range(QUICK // 2, MANY // 2):
        holds(large, seed, isa)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK // 2))
def test_convolutions_along_one_axis_are_right(seed: int, isa: str) -> None:
    assert "winograd_line" in holds(in_line, seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_convolutions_along_one_axis_are_right(isa: str) -> None:
    for seed in range(QUICK // 2, MANY // 2):
        holds(in_line, seed, isa)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32, 64])
def test_transforms_are_those_of_numpy(size: int) -> None:
    x, y = np.random.default_rng(size).standard_normal((2, size))
    half = [re + 1j * (0 if im is None else im) for re, im in forward(list(x), PLAIN)]
    np.testing.assert_allclose(half, np.fft.rfft(x), atol=1e-13)
    np.testing.assert_allclose(inverse(forward(list(x), PLAIN), PLAIN), size * x, atol=1e-13)
    there = complex_(list(zip(x, y, strict=True)), PLAIN)
    np.testing.assert_allclose(np.array(there) @ (1, 1j), np.fft.fft(x + 1j * y), atol=1e-13)
    back = complex_(there, PLAIN, back=True)
    np.testing.assert_allclose(np.array(back), size * np.stack([x, y], 1), atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (64, 8), (1, 32), (16, 1)])
def test_a_spectrum_keeps_as_many_numbers_as_a_tile_has(size: tuple[int, int]) -> None:
    held = Spectrum(size)
    single = sum(alone for _, alone in held.starts()) * held.real
    products, rest = divmod(held.planes - single, 3)  # of complex numbers
    assert not rest and single + 2 * products == np.prod(size)


def packed(channels: int, rows: int) -> int:
    """Bytes of an indirect convolution's tables."""
    layout = Blocked(channels, rows, 9, 16)
    conv = Conv(layout, layout, Window((3, 3), pads=(1,) * 4))
    schedule = indirect.Schedule(1, 9)
    weight = np.zeros((channels, channels, 3, 3), np.float32)
    plain = direct.pack(weight, conv, direct.Schedule(1, 9))
    return indirect.pack(weight, conv, schedule).nbytes - plain.nbytes


def test_places_take_no_more_bytes_for_more_channels() -> None:
    assert packed(16, 9) == packed(64, 9) < packed(16, 18)
    assert packed(16, 9) == 8 * 9 * 9 * (3 * 3 + 1) + 64  # taps and a result a pixel; one of zeros


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_packed_weights_are_the_weights_in_another_order(groups: int) -> None:
    w = np.random.default_rng(0).standard_normal((16, 16 // groups, 3, 3)).astype(np.float32)
    layout = Blocked(16, 9, 9, 16)
    conv = Conv(layout, layout, Window((3, 3)), groups)
    plain = volumes.Conv(
        16, 16, (9, 9), volumes.Slide((3, 3), *[(1, 1)] * 2, *[(0, 0)] * 2), groups
    )
    isa = ISAS["avx512"]
    found = [im2col.pack(w, plain, im2col.schedule(plain, isa))]
    if groups > 1:
        found += [grouped.pack(w, conv, grouped.Schedule(1, 4))]
        found += [permuted.pack(w, conv, permuted.Schedule(4))]
    for array in found:
        np.testing.assert_array_equal(np.sort(array[array != 0]), np.sort(w, axis=None))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_tap_of_a_transposed_convolution_is_in_one_phase(stride: int) -> None:
    for taps in range(1, 6):
        for dilation in (1, 2, 3):
            for before in range(4):
                axis = transposed.axis(taps, stride, dilation, before)
                assert sorted(tap for _, tap, _ in axis.taps) == list(range(taps))
                for phase, tap, place in axis.taps:
                    at = axis.begin + place * axis.step
                    assert at * stride == phase + before - tap * dilation and place < axis.count


@pytest.mark.parametrize("name", ["fourier", "transposed", "resize"])
def test_examples_in_the_documentation_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"lighten.kernels.{name}"))
    assert found.attempted and not found.failed
