"""Bits in registers: every instruction means what its table says, on every set."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.emit import F32, I8, I32, ISAS, POINTER, Function, Isa, Type, build, vector
from lighten.emit.bits import (
    BITS,
    MOST,
    Counter,
    has_counts,
    not_below,
    together,
    widest,
    with_counts,
    without,
)
from lighten.emit.integers import with_dot
from lighten.emit.isa import VARIABLE
from tests.test_emit import HERE

KINDS: dict[Any, Type] = {np.uint8: I8, np.int32: I32, np.float32: F32}
SETS = {
    isa.name: isa
    for name in HERE
    for isa in (ISAS[name], with_dot(ISAS[name]), with_counts(with_dot(ISAS[name])))
}
P, N = ctypes.c_void_p, ctypes.c_int64
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def call(f: Function, *arrays: np.ndarray) -> None:
    build([f]).function("run", *[P] * len(arrays))(*(x.ctypes.data for x in arrays))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("name", BITS)
def test_every_instruction_means_what_its_table_says(name: str, isa: str) -> None:
    row, lanes = BITS[name], SETS[isa].lanes
    whole = [np.iinfo(kind) for kind in row.takes]
    arrays = [RNG.integers(i.min, i.max, lanes, dtype=i.dtype, endpoint=True) for i in whole]
    f = Function("run", dict.fromkeys(["a", "b", "y"], POINTER), SETS[isa])
    kinds = [vector(KINDS[kind], lanes) for kind in row.takes]
    given = [f.load(f[x], kind) for x, kind in zip("ab", kinds, strict=False)]
    f.store(row.make(f, *given), f["y"])
    y = np.zeros(lanes, row.gives)
    call(f, arrays[0], arrays[-1], y)
    np.testing.assert_array_equal(y, row.meaning(*arrays))


@pytest.mark.parametrize("isa", SETS)
def test_a_counter_adds_as_often_as_it_says(isa: str) -> None:
    """Every bit set is the most that its bytes must hold."""
    lanes = SETS[isa].lanes
    f = Function("run", {"y": POINTER}, SETS[isa])
    words = vector(I32, lanes)
    counter = Counter(f, [f.constant(5, words), f.constant(7, words)])
    for _ in range(MOST):
        counter.add(0, f.constant(-1, words))
    for value in counter.totals():
        f.store(value, f["y"])
        break
    y = np.zeros(lanes, np.int32)
    call(f, y)
    assert (y == 5 + 32 * MOST).all()


@pytest.mark.parametrize("isa", [isa for isa in SETS.values() if isa.lanes >= 8], ids=str)
def test_signs_are_bits_the_first_lane_the_lowest(isa: Isa) -> None:
    x = RNG.choice(np.array([-1, -0.0, 0.0, 2, np.nan], np.float32), isa.lanes)
    f = Function("run", {"x": POINTER, "y": POINTER}, isa)
    f.store(together(f, [not_below(f, f.load(f["x"], f.lane))]), f["y"])
    y = np.zeros(1, np.int64)
    call(f, x, y)
    assert y[0] == sum(int(not one < 0) << lane for lane, one in enumerate(x))


def test_counts_are_one_instruction_only_where_the_machine_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, HERE[0])
    assert not has_counts(widest()) and widest() == ISAS[HERE[0]]
    monkeypatch.delenv(VARIABLE)
    assert widest() == with_counts(with_dot(ISAS[HERE[0]]))
    assert not has_counts(with_counts(ISAS["avx2"]))
    for name in HERE:
        assert without(with_counts(with_dot(ISAS[name]))) == ISAS[name] == without(ISAS[name])
