"""Kernels over planar values of any number of axes, against their references."""

from __future__ import annotations

import ctypes
import random

import numpy as np
import pytest

from lighten.emit import ISAS, Function, build
from lighten.kernels import im2col, share, volumes
from lighten.kernels.volumes import Slide
from lighten.program.reference.elementwise import FUNCTIONS as MEANINGS
from tests.test_emit import HERE
from tests.test_kernels import on_line

QUICK, MANY = 12, 600
P = ctypes.c_void_p


def called(emitted: Function, *arrays: np.ndarray, count: int) -> None:
    """Run a kernel on arrays that begin on a line, in place."""
    call = build([emitted]).function(emitted.name, *[P] * len(arrays), *share.KINDS)
    for part in range(3):
        call(*(x.ctypes.data for x in arrays), count, part, 3, None)


def drawn(rng: random.Random) -> volumes.Conv:
    """One to three axes, any steps and paddings, groups, few channels or many."""
    rank = rng.choice([1, 2, 2, 3, 3])
    kernel = tuple(rng.choice([1, 2, 3, 3]) for _ in range(rank))
    strides, dilations = (tuple(rng.choice([1, 1, 2, 3]) for _ in kernel) for _ in range(2))
    before, after = (tuple(rng.choice([0, 0, 1, 2]) for _ in kernel) for _ in range(2))
    window = Slide(kernel, strides, dilations, before, after)
    size = [reach + rng.randint(0, 9) for reach in window.reach]
    if rng.random() < 0.3:
        size[-1] += rng.randint(0, 900 // rank)
    groups = rng.choice([1, 1, 2, 3, 5])
    reads, made = rng.choice([(1, 1), (rng.randint(1, 9), rng.randint(1, 20)), (40, 5)])
    return volumes.Conv(groups * reads, groups * made, tuple(size), window, groups, "relu")


def holds(seed: int, name: str) -> None:
    isa, numbers = ISAS[name], np.random.default_rng(seed)
    conv = drawn(random.Random(seed))
    shape = (conv.filters, conv.channels // conv.groups, *conv.window.kernel)
    x = numbers.standard_normal((2, conv.channels, *conv.size)).astype(np.float32)
    w = (numbers.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    b = numbers.standard_normal(conv.filters).astype(np.float32)
    wanted = MEANINGS["relu"](im2col.reference(conv, x.astype(np.float64), w, b))
    framed = np.full(2 * conv.source.floats + isa.lanes, np.nan, np.float32)
    if conv.source.bare:
        framed[: x.size] = x.reshape(-1)
    else:
        called(volumes.frame("frame", conv.source, isa), on_line(x), framed, count=2)
    plan = im2col.schedule(conv, isa)
    y = on_line(np.full((2, conv.filters, *conv.results), np.nan, np.float32))
    y = on_line(np.concatenate([y.reshape(-1), np.full(16, 7, np.float32)]))
    scratch = on_line(np.full(im2col.workspace(conv, plan, isa) // 4, np.nan, np.float32))
    packed = on_line(im2col.pack(w, conv, plan))
    called(im2col.emit("conv", conv, plan, isa), framed, packed, on_line(b), y, scratch, count=2)
    assert (y[-16:] == 7).all(), "nothing is written beyond the results"
    found = y[:-16].reshape(wanted.shape)
    products = np.prod(shape[1:])
    bound = 4 * 2.0**-24 * max(4.0, products**0.5)
    assert np.abs(found - wanted).max() / max(np.abs(wanted).max(), 0.1) < bound, (seed, conv)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(QUICK))
def test_matrix_products_of_windows_are_convolutions(seed: int, isa: str) -> None:
    holds(seed, isa)


@pytest.mark.soak
@pytest.mark.parametrize("isa", HERE)
def test_many_matrix_products_of_windows_are_convolutions(isa: str) -> None:
    for seed in range(QUICK, QUICK + MANY):
        holds(seed, isa)
