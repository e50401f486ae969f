"""Kernels for tensors in rows, each beside NumPy in double precision, on every instruction set."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lighten.emit import ISAS, Function, Isa, Value, build, features, lanes, vector
from lighten.emit.types import F32, POINTER
from lighten.engine.memory import aligned
from lighten.kernels import (
    attention,
    elementwise,
    gather,
    linear,
    matmul,
    normalize,
    reduce,
    share,
    softmax,
)
from lighten.kernels.strided import Strided, joined, rows

Array = np.ndarray[Any, Any]
HERE = [n for n, isa in ISAS.items() if n != "neon" and features().issuperset(isa.needs)]
SAMPLES, P = 2, ctypes.c_void_p


def on_line(x: Array) -> Array:
    held = aligned(x.nbytes).view(np.float32).reshape(x.shape)
    held[...] = x
    return held


def noise(*shape: int, seed: int = 0) -> Array:
    return on_line(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def zeros(*shape: int) -> Array:
    return on_line(np.zeros(shape, np.float32))


def run(emit: Callable[[str], Function], *arrays: Array, samples: int = SAMPLES) -> None:
    """Call a kernel, in three parts; what lies right behind each array must not be touched."""
    kinds = [ctypes.c_void_p] * len(arrays)
    fenced = [np.concatenate([x.reshape(-1), np.full(64, 7.5, np.float32)]) for x in arrays]
    call = build([emit("kernel")]).function("kernel", *kinds, *share.KINDS)
    for part in range(3):
        call(*(x.ctypes.data for x in fenced), samples, part, 3, None)
    for array, held in zip(arrays, fenced, strict=True):
        assert (held[-64:] == 7.5).all(), "written beyond the end"
        array.reshape(-1)[...] = held[:-64]


def close(found: Array, wanted: Array, bound: float = 3e-6) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= bound * max(1.0, np.abs(wanted).max())


# ── steps ─────────────────────────────────────────────────────────────────────────────────────


def read(view: Strided, memory: Array) -> Array:
    """What a view shows of memory `[samples · numbers]`, by NumPy."""
    shape = (SAMPLES, *view.shape)
    strides = tuple(4 * s for s in (view.sample, *view.strides))
    return np.lib.stride_tricks.as_strided(memory.reshape(-1)[view.offset :], shape, strides)


@pytest.mark.parametrize("seed", range(40))
def test_views_are_what_numpy_makes_of_the_same_steps(seed: int) -> None:
    draw = random.Random(seed)
    shape = tuple(draw.choice((1, 2, 3, 4, 6)) for _ in range(draw.randint(1, 4)))
    memory = np.arange(SAMPLES * int(np.prod(shape)), dtype=np.float32)
    view, wanted = rows(shape), memory.reshape(SAMPLES, *shape)
    for _ in range(4):
        match draw.choice(("permute", "slice", "expand", "reshape")):
            case "permute":
                order = draw.sample(range(len(view.shape)), len(view.shape))
                view, wanted = view.permuted(order), wanted.transpose(0, *(a + 1 for a in order))
            case "slice":
                axis = draw.randrange(len(view.shape))
                step = draw.choice((1, 2, -1))
                start = view.shape[axis] - 1 if step < 0 else 0
                count = len(range(start, -1 if step < 0 else view.shape[axis], step))
                view = view.sliced(axis, start, count, step)
                index = [slice(None)] * wanted.ndim
                index[axis + 1] = slice(None, None, step)
                wanted = wanted[tuple(index)]
            case "expand":
                new = (2, *(3 if extent == 1 else extent for extent in view.shape))
                view = view.expanded(new)
                wanted = np.broadcast_to(wanted[:, None], (SAMPLES, 1, *wanted.shape[1:]))
                wanted = np.broadcast_to(
                    wanted.reshape(SAMPLES, 1, *wanted.shape[2:]), (SAMPLES, *new)
                )
            case "reshape":
                flat = (view.size // view.shape[-1], view.shape[-1]) if view.shape else ()
                for wished in (flat, (view.size,), (*view.shape[:1], 1, *view.shape[1:])):
                    other = view.reshaped(wished)
                    if other is not None:
                        view, wanted = other, wanted.reshape(SAMPLES, *wished)
                        break
        np.testing.assert_array_equal(read(view, memory), wanted)
        (merged,) = joined((view,))
        assert 1 not in merged.shape
        np.testing.assert_array_equal(read(merged, memory).reshape(-1), wanted.reshape(-1))


def test_a_transposed_matrix_is_no_row() -> None:
    assert rows((3, 4)).permuted((1, 0)).reshaped((12,)) is None
    assert not rows((3, 4)).permuted((1, 0)).whole


# ── lanes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HERE)
def test_a_tile_is_turned(name: str) -> None:
    isa = ISAS[name]

    def emit(kernel: str) -> Function:
        f = Function(kernel, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
        kind = vector(F32, isa.lanes)
        tile = [f.load(f["x"], kind, i * kind.bytes) for i in range(isa.lanes)]
        for i, value in enumerate(lanes.turned(f, tile)):
            f.store(value, f["y"], i * kind.bytes)
        return f

    x, y = noise(isa.lanes, isa.lanes), zeros(isa.lanes, isa.lanes)
    run(emit, x, y)
    np.testing.assert_array_equal(y, x.T)


# ── kernels ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_elementwise_over_any_steps(name: str, order: tuple[int, int, int]) -> None:
    x = noise(SAMPLES, 5, 7, 19)
    shape = tuple((5, 7, 19)[axis] for axis in order)
    b, y = noise(shape[1], 1, seed=1), zeros(SAMPLES, *shape)
    beside = replace(rows((shape[1], 1)), sample=0).expanded(shape)
    operands = rows((5, 7, 19)).permuted(order), beside
    op = elementwise.Elementwise(operands, rows(shape), "sub", "relu")
    run(lambda k: elementwise.emit(k, op, ISAS[name]), x, b, y)
    close(y, np.maximum(x.transpose(0, *(axis + 1 for axis in order)) - b, 0))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(
    ("function", "numbers", "wanted"),
    [
        ("leaky_relu", (0.1,), lambda x: np.where(x < 0, 0.1 * x, x)),
        ("elu", (1.5,), lambda x: np.where(x < 0, 1.5 * np.expm1(x), x)),
        ("clip", (-0.5, 0.25), lambda x: np.clip(x, -0.5, 0.25)),
    ],
)
def test_functions_with_numbers_of_their_own(
    name: str, function: str, numbers: tuple[float, ...], wanted: Callable[[Array], Array]
) -> None:
    x, y = noise(SAMPLES, 33), zeros(SAMPLES, 33)
    op = elementwise.Elementwise((rows((33,)),), rows((33,)), function, parameters=numbers)
    run(lambda k: elementwise.emit(k, op, ISAS[name]), x, y)
    close(y, wanted(x.astype(np.float64)))


@pytest.mark.parametrize("name", HERE)
def test_where_and_comparisons(name: str) -> None:
    a, b, y = noise(SAMPLES, 21), noise(SAMPLES, 21, seed=1), zeros(SAMPLES, 21)
    a[:, 3] = b[:, 3]
    view = rows((21,))
    for function, wanted in (("less", a < b), ("equal", a == b)):
        op = elementwise.Elementwise((view, view), view, function)
        run(lambda k, op=op: elementwise.emit(k, op, ISAS[name]), a, b, y)
        np.testing.assert_array_equal(y, wanted.astype(np.float32))
    op = elementwise.Elementwise((view, view, view), view, "where")
    condition = (a < 0).astype(np.float32)
    run(lambda k: elementwise.emit(k, op, ISAS[name]), condition, a, b, y)
    np.testing.assert_array_equal(y, np.where(condition != 0, a, b))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("size", [1, 7, 16, 100, 384])
def test_normalize(name: str, size: int, rms: bool) -> None:
    x, w, b, y = noise(SAMPLES, 3, size), noise(size), noise(size, seed=2), zeros(SAMPLES, 3, size)
    op = normalize.Normalize(rows((3, size)), rows((3, size)), 1e-5, rms)
    run(lambda k: normalize.emit(k, op, ISAS[name]), x, w, b, y)
    wide = x.astype(np.float64)
    centred = wide if rms else wide - wide.mean(-1, keepdims=True)
    close(y, centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5) * w + b)


def weights(x: Array, axis: int) -> Array:
    grown = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(grown / grown.sum(axis, keepdims=True))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("along", [True, False])
def test_softmax(name: str, along: bool) -> None:
    x, y = noise(SAMPLES, 3, 9, 37), zeros(SAMPLES, 3, 9, 37)
    x[:, :, ::2, ::3] = -1e9
    x[:, 1] += 80
    op = softmax.Softmax(rows((3, 9, 37)), rows((3, 9, 37)), along)
    run(lambda k: softmax.emit(k, op, ISAS[name]), x, y)
    close(y, weights(x.astype(np.float64), -1 if along else -2))
    assert along is False or (y[:, 0, 0, 0] == 0).all()


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("function", ["sum", "mean", "max"])
@pytest.mark.parametrize("gone", [(0,), (1,), (2,), (1, 2), (0, 1), (0, 1, 2)])
def test_reduce(name: str, function: str, gone: tuple[int, ...]) -> None:
    x = noise(SAMPLES, 5, 7, 21)
    kept = [axis for axis in range(3) if axis not in gone]
    source = rows((5, 7, 21)).permuted((*kept, *gone))
    if not kept:
        source = replace(source, shape=(1, *source.shape), strides=(0, *source.strides))
    wanted = getattr(x.astype(np.float64), function)(tuple(axis + 1 for axis in gone))
    y = zeros(*wanted.shape)
    op = reduce.Reduce(source, rows(wanted.shape[1:] or (1,)), function, len(gone))
    run(lambda k: reduce.emit(k, op, ISAS[name]), x, y)
    close(y, wanted, 1e-5)


@pytest.mark.parametrize("name", HERE)
def test_gather_counts_from_the_end_and_stays_inside(name: str) -> None:
    table, y = noise(2, 50, 20), zeros(SAMPLES, 2, 9, 20)
    index = on_line(np.random.default_rng(0).integers(-50, 50, (SAMPLES, 9)).astype(np.float32))
    held = replace(rows((2, 50, 20)), sample=0)
    op = gather.Gather(held, rows((9,)), rows((2, 9, 20)))
    run(lambda k: gather.emit(k, op, ISAS[name]), table, index, y)
    np.testing.assert_array_equal(y, np.stack([table[:, i.astype(int)] for i in index]))
    index[:, 0], index[:, 1] = 1e6, -1e6
    run(lambda k: gather.emit(k, op, ISAS[name]), table, index, y)
    np.testing.assert_array_equal(y[0, :, 0], table[:, 49])
    np.testing.assert_array_equal(y[0, :, 1], table[:, 0])


LINEAR = [(1, 20, 10), (1, 512, 33), (5, 20, 33), (16, 32, 64), (29, 100, 96), (40, 9, 1)]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(("count", "channels", "filters"), LINEAR)
@pytest.mark.parametrize("activation", ["", "gelu"])
def test_linear(name: str, count: int, channels: int, filters: int, activation: str) -> None:
    isa = ISAS[name]
    x, w = noise(5, count, channels), noise(filters, channels, seed=1) / channels**0.5
    b, r, y = noise(filters), noise(5, count, filters, seed=2), zeros(5, count, filters)
    view = rows((count, filters))
    op = linear.Linear(rows((count, channels)), view, activation, view)
    check_linear(op, isa, (x, w, b, r, y))


def check_linear(op: linear.Linear, isa: Isa, given: tuple[Array, ...]) -> None:
    x, w, b, r, y = given
    block = linear.schedule(op, isa)
    packed = linear.pack(w, block, isa)
    bias = np.pad(b, (0, -len(b) % (isa.lanes * block.blocks)))
    run(lambda k: linear.emit(k, op, block, isa), x, packed, bias, r, y, samples=len(x))
    wanted = x.astype(np.float64) @ w.T.astype(np.float64) + b + r
    if op.activation:
        from scipy.special import erf

        wanted = wanted * 0.5 * (1 + erf(wanted / np.sqrt(2)))
    close(y, wanted, 1e-5)


@pytest.mark.parametrize("most", [1 << 10, 1 << 13, 1 << 20])
def test_linear_passes_rows_by_in_parts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stays near: one sample in parts, or several samples at once."""
    monkeypatch.setattr(linear, "NEAR", most)
    x, w, b = noise(5, 61, 24), noise(40, 24, seed=1), noise(40)
    view = rows((61, 40))
    op = linear.Linear(rows((61, 24)), view, "", view)
    check_linear(op, ISAS[HERE[0]], (x, w, b, noise(5, 61, 40, seed=2), zeros(5, 61, 40)))


def test_linear_asks_for_the_panel_that_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of the parts; every line that is asked for is marked instead."""
    monkeypatch.setattr(linear, "NEAR", 1 << 10)
    isa, op = ISAS[HERE[0]], linear.Linear(rows((61, 24)), rows((61, 192)))
    block = linear.schedule(op, isa)
    size, parts = 4 * block.blocks * isa.lanes * 24, 61 // (linear.near(op, block)[1] * block.rows)
    packed = on_line(linear.pack(noise(192, 24), block, isa))
    marks = np.zeros((parts + 2) * packed.size, np.float32)
    away = marks.ctypes.data - packed.ctypes.data

    def mark(f: Function, pointer: Value) -> None:
        f.store(f.constant(1.0, F32), pointer + away)

    monkeypatch.setattr(Function, "prefetch", mark)
    call = build([linear.emit("kernel", op, block, isa)]).function("kernel", *[P] * 5, *share.KINDS)
    given = noise(61, 24), packed, zeros(192), zeros(1), zeros(61, 192)
    call(*(x.ctypes.data for x in given), *share.ALONE)
    asked = set(np.flatnonzero(marks) * 4)
    assert parts > 3 and asked >= set(range(size, packed.nbytes, 64))
    assert max(asked) < packed.nbytes + 2 * size  # what follows the last panel, in whole rounds


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("shape", [(37, 21, 50), (1, 64, 3), (12, 128, 64), (5, 1, 16)])
def test_matmul(name: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b, y = noise(SAMPLES, 3, m, k), noise(SAMPLES, 3, k, n, seed=1), zeros(SAMPLES, 3, m, n)
    op = matmul.Matmul(rows((3, m, k)), rows((3, k, n)), rows((3, m, n)))
    run(lambda name_: matmul.emit(name_, op, ISAS[name]), a, b, y)
    close(y, a.astype(np.float64) @ b.astype(np.float64), 1e-5)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("masked", [0, 1, 2])
@pytest.mark.parametrize(
    "sizes", [(37, 37, 21, 21), (5, 60, 32, 20), (16, 16, 16, 16), (1, 3, 8, 1)]
)
def test_attention(name: str, sizes: tuple[int, int, int, int], masked: int) -> None:
    """Heads side by side in memory; no mask, one per key, one per query and key."""
    (queries, keys, channels, wide), heads = sizes, 3
    q, k = noise(SAMPLES, queries, heads, channels), noise(SAMPLES, keys, heads, channels, seed=1)
    v, y = noise(SAMPLES, keys, heads, wide, seed=2), zeros(SAMPLES, queries, heads, wide)
    m = noise(SAMPLES, queries if masked == 2 else 1, keys, seed=3)
    m[:, :, ::3] -= 1e9

    def turned(*shape: int) -> Strided:
        return rows(shape).permuted((1, 0, 2))

    mask = rows(m.shape[1:]).expanded((heads, queries, keys)) if masked else None
    op = attention.Attention(
        turned(queries, heads, channels),
        turned(keys, heads, channels),
        turned(keys, heads, wide),
        turned(queries, heads, wide),
        0.3,
        mask,
    )
    scratch = zeros(attention.workspace(op, ISAS[name]) // 4)
    run(lambda kernel: attention.emit(kernel, op, ISAS[name]), q, k, v, m, y, scratch)
    wq, wk, wv = (x.transpose(0, 2, 1, 3).astype(np.float64) for x in (q, k, v))
    scores = wq @ wk.transpose(0, 1, 3, 2) * 0.3 + (m[:, None] if masked else 0)
    close(y.transpose(0, 2, 1, 3), weights(scores, -1) @ wv, 1e-5)
