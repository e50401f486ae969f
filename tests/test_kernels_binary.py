"""Convolutions of signs against the sum itself, bit for bit, on every instruction set (B16–B18)."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

from lighten.emit import ISAS, Isa, bits, build, integers
from lighten.formats.signs import packed
from lighten.kernels import binary, binary_layer, share, signs
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window
from lighten.program.reference.elementwise import FUNCTIONS
from tests.test_emit import HERE
from tests.test_kernels import on_line
from tests.together import with_threads

P = ctypes.c_void_p
SETS = {
    isa.name: isa
    for name in HERE
    for isa in (ISAS[name], bits.with_counts(integers.with_dot(ISAS[name])))
}
KINDS = (
    binary_layer.Kind(),
    binary_layer.Kind(),
    binary_layer.Kind(2),
    binary_layer.Kind(3),
    binary_layer.Kind(1, masked=True),
)
QUICK, MANY = 12, 400


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def words(layout: Blocked, x: np.ndarray) -> np.ndarray:
    """`[n, c, h, w]` of 0 and 1 as an image of words."""
    held = np.moveaxis(packed(np.moveaxis(x, 1, -1)), -1, 1)
    blocks = held.reshape(len(x), layout.blocks, layout.lanes, layout.height, layout.width)
    found = np.zeros((len(x), *layout.shape), np.uint32)
    layout.inside(found)[...] = blocks.transpose(0, 1, 3, 4, 2)
    return found


def drawn(rng: random.Random, isa: Isa) -> tuple[binary_layer.Layer, int, int]:
    """Any layer with all that may be around it; its channels and filters."""
    kind, channels, filters = rng.choice(KINDS), rng.randint(1, 400), rng.randint(1, 90)
    taps = rng.choice([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3), (1, 7)])
    pads = (0, 0, 0, 0) if rng.random() < 0.3 else tuple(rng.randint(0, 3) for _ in range(4))
    steps = (rng.randint(1, 3), rng.randint(1, 3)) if rng.random() < 0.4 else (1, 1)
    apart = (rng.randint(1, 2), rng.randint(1, 2)) if rng.random() < 0.4 else (1, 1)
    sliding = Window(taps, steps, apart, (pads[0], pads[1], pads[2], pads[3]))
    rows, columns = sliding.extent
    height, width = rows + rng.randint(0, 8), columns + rng.randint(0, 12)
    down, along = sliding.results(height, width)
    source = binary_layer.layout(channels, height, width).with_halo(sliding.halo(height, width))
    packs = rng.random() < 0.4
    target = Blocked(filters, down, along, isa.lanes)
    made = None
    if packs:
        made = binary_layer.layout(filters, down, along).with_halo(_frame(rng))
        target = Blocked(32 * made.channels, down, along, isa.lanes)
    bare = packs and filters % 32 > 0
    active = "" if bare else rng.choice(["", "relu", "neg"])
    added = target.with_halo(_frame(rng)) if rng.random() < 0.4 and not bare else None
    target = target if packs else target.with_halo(_frame(rng))
    conv = Conv(source, target, sliding, 1, active, added)
    options = binary_layer.schedules(conv, isa, kind, packs)
    return binary_layer.Layer(conv, rng.choice(options), made), channels, filters


def _frame(rng: random.Random) -> Halo:
    return Halo() if rng.random() < 0.5 else Halo(*(rng.randint(0, 2) for _ in range(4)))


def given(
    layer: binary_layer.Layer, channels: int, filters: int, seed: int
) -> dict[str, np.ndarray]:
    """Numbers whose sums are exact in float32."""
    rng, conv, kind = np.random.default_rng(seed), layer.conv, layer.schedule.kind
    w = rng.integers(0, 2, (filters, channels, *conv.window.kernel, kind.planes)) * 2 - 1
    if kind.masked:
        w *= rng.random(w.shape) < 0.6
    return {
        "x": rng.integers(0, 2, (2, channels, conv.source.height, conv.source.width)),
        "w": w.astype(np.int8),
        "scale": (rng.integers(1, 9, (filters, kind.planes)) / 4).astype(np.float32),
        "shift": (rng.integers(-40, 40, filters) / 2).astype(np.float32),
        "r": rng.integers(-9, 9, (2, conv.target.channels, conv.target.height, conv.target.width)),
    }


def exact(layer: binary_layer.Layer, numbers: dict[str, np.ndarray]) -> np.ndarray:
    w, filters = numbers["w"], len(numbers["w"])
    y = binary.reference(layer, 2.0 * numbers["x"] - 1, w, numbers["scale"], numbers["shift"])
    y = y + numbers["r"][:, :filters] if layer.conv.residual else y
    return np.asarray(FUNCTIONS[layer.conv.activation](y) if layer.conv.activation else y)


def run(layer: binary_layer.Layer, isa: Isa, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """What lies in memory afterwards; several threads do it together."""
    conv = layer.conv
    target = layer.signs or conv.target
    kind = np.float32 if layer.signs is None else np.uint32
    r = numbers["r"].astype(np.float32)
    arrays = (
        words(conv.source, numbers["x"]),
        binary_layer.pack(numbers["w"], layer, isa),
        binary_layer.pack_ends(numbers["w"], numbers["scale"], numbers["shift"], layer, isa),
        conv.residual.pack(r) if conv.residual else np.zeros(1, np.float32),
        np.zeros((2, *target.shape), kind),
    )
    held = [on_line(array) for array in arrays]
    call = build([binary.emit("kernel", layer, isa)]).function("kernel", *[P] * 5, *share.KINDS)
    places = [x.ctypes.data for x in held]
    parts = 1 + len(numbers["w"]) % 3
    with_threads(parts, lambda part, team: call(*places, 2, part, parts, team))
    return held[4]


def check(seed: int, isa: Isa) -> None:
    layer, channels, filters = drawn(random.Random(seed), isa)
    numbers = given(layer, channels, filters, seed)
    found, wanted = run(layer, isa, numbers), exact(layer, numbers)
    if layer.signs is None:
        np.testing.assert_array_equal(layer.conv.target.unpack(found)[:, :filters], wanted)
    else:
        np.testing.assert_array_equal(found, words(layer.signs, ~(wanted < 0)))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("seed", range(QUICK))
def test_counting_signs_is_the_sum_bit_for_bit(seed: int, isa: str) -> None:
    check(seed, SETS[isa])


@pytest.mark.soak
@pytest.mark.parametrize("isa", SETS)
def test_any_layer_is_the_sum_bit_for_bit(isa: str) -> None:
    for seed in range(QUICK, MANY):
        check(seed, SETS[isa])


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("channels", [1, 5, 16, 20, 64, 77, 300])
@pytest.mark.parametrize("scaled", [False, True])
def test_packing_is_a_comparison(channels: int, scaled: bool, isa: str) -> None:
    rng, chosen = np.random.default_rng(channels), SETS[isa]
    x = (rng.integers(-8, 9, (2, channels, 3, 5)) / 4).astype(np.float32)
    scale = (rng.integers(-8, 9, channels) / 4).astype(np.float32)
    shift = (rng.integers(-8, 9, channels) / 16).astype(np.float32)
    source = Blocked(channels, 3, 5, chosen.lanes, Halo(1, 0, 2, 1))
    target = binary_layer.layout(channels, 3, 5).with_halo(Halo(0, 1, 1, 0))
    held = source.pack(x)
    beyond = np.full_like(held, np.nan)
    beyond.reshape(2, -1)[...] = np.where(held.reshape(2, -1) == 0, -7.0, held.reshape(2, -1))
    source.inside(beyond)[...] = source.inside(held)
    arrays = [
        on_line(beyond),
        on_line(signs.pack(scale, shift, chosen.lanes)),
        on_line(np.full((2, *target.shape), 0xAAAAAAAA, np.uint32)),
    ]
    f = signs.emit("kernel", signs.Packing(source, target, scaled), chosen)
    call = build([f]).function("kernel", *[P] * 3, *share.KINDS)
    call(*(a.ctypes.data for a in arrays), 2, *share.ALONE[1:])
    one, none = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    wanted = signs.reference(x, *((scale, shift) if scaled else (one, none)))
    found = target.inside(arrays[2])
    np.testing.assert_array_equal(found, target.inside(words(target, wanted)))


def test_ternary_and_planes_take_the_words_they_should() -> None:
    isa = ISAS[HERE[0]]
    sizes = {}
    for kind in dict.fromkeys(KINDS):
        conv = Conv(binary_layer.layout(64, 8, 8), Blocked(64, 8, 8, isa.lanes), Window((1, 1)))
        layer = binary_layer.Layer(conv, binary_layer.schedules(conv, isa, kind)[0])
        w = np.ones((64, 64, 1, 1, kind.planes), np.int8)
        sizes[kind] = binary_layer.pack(w, layer, isa).nbytes
    one = 64 * 64 // 8
    assert sizes == {
        binary_layer.Kind(): one,
        binary_layer.Kind(2): 2 * one,
        binary_layer.Kind(3): 3 * one,
        binary_layer.Kind(1, masked=True): 2 * one,
    }
