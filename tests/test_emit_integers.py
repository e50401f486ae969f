"""Whole numbers in registers: every instruction means what its table says, on every set."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.emit import F32, I8, I32, I64, ISAS, POINTER, Function, Isa, Type, build, vector
from lighten.emit.integers import INTEGERS, dot, has_dot, instructions, with_dot
from lighten.emit.isa import VARIABLE
from tests.test_emit import HERE

KINDS: dict[Any, Type] = {np.uint8: I8, np.int8: I8, np.int32: I32, np.float32: F32}
SETS = {isa.name: isa for name in HERE for isa in (ISAS[name], with_dot(ISAS[name]))}
P, N = ctypes.c_void_p, ctypes.c_int64


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def applied(isa: Isa, name: str, *arrays: np.ndarray) -> np.ndarray:
    """A row of the table on whole arrays."""
    row = INTEGERS[name]
    names = [f"x{i}" for i in range(len(arrays))]
    f = Function("run", {**dict.fromkeys([*names, "y"], POINTER), "n": I64}, isa)
    y = np.zeros(len(arrays[0]), row.gives)

    def step(i: Any, _: Any) -> None:
        kinds = [vector(KINDS[kind], isa.lanes) for kind in row.takes]
        given = [f.load(f[x] + i * k.bytes, k) for x, k in zip(names, kinds, strict=True)]
        f.store(row.make(f, *given), f["y"] + i * (y.itemsize * isa.lanes))

    f.loop(0, f["n"], step)
    call = build([f]).function("run", *[P] * (len(arrays) + 1), N)
    call(*(x.ctypes.data for x in (*arrays, y)), len(y) // isa.lanes)
    return y


def numbers(kind: Any, rng: np.random.Generator) -> np.ndarray:
    if kind == np.float32:
        return (rng.integers(-2000, 2000, 512) / 4).astype(np.float32)  # many halves
    whole = np.iinfo(kind)
    found = rng.integers(whole.min, whole.max, 512, dtype=kind, endpoint=True)
    if kind == np.int32:
        found[:256] //= 1 << 20
    return found


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("name", [name for name in INTEGERS if name != "dot"])
def test_every_instruction_means_what_its_table_says(name: str, isa: str) -> None:
    rng, row = np.random.default_rng(0), INTEGERS[name]
    arrays = [numbers(kind, rng) for kind in row.takes]
    np.testing.assert_array_equal(applied(SETS[isa], name, *arrays), row.meaning(*arrays))


@pytest.mark.parametrize("isa", SETS)
def test_the_dot_of_four_saturates_nowhere(isa: str) -> None:
    rng = np.random.default_rng(0)
    total = rng.integers(-1000, 1000, 128, dtype=np.int32)
    x = rng.integers(0, 255, 512, dtype=np.uint8, endpoint=True)
    w = rng.integers(-127, 127, 512, dtype=np.int8, endpoint=True)
    x[:64], w[:64] = 255, 127  # 2 · 255 · 127 is more than 16 bits hold
    w[32:64] = -127
    given = (total, x.view(np.int32), w.view(np.int32))
    wanted = INTEGERS["dot"].meaning(*given)
    assert wanted[0] == total[0] + 4 * 255 * 127
    np.testing.assert_array_equal(applied(SETS[isa], "dot", *given), wanted)


def test_vnni_is_one_instruction_and_only_where_it_was_asked_for() -> None:
    for isa in SETS.values():
        f = Function("dot", {"y": POINTER}, isa)
        one = f.zero(vector(I32, isa.lanes))
        f.store(dot(f, one, one, one), f["y"])
        assert ("vpdpbusd" in f.text()) == has_dot(isa) == isa.name.endswith("+vnni")
    neon = Function("dot", {"y": POINTER}, ISAS["neon"])
    one = neon.zero(vector(I32, 4))
    neon.store(dot(neon, one, one, one), neon["y"])
    assert "x86" not in neon.text()


def test_a_narrowed_machine_has_no_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, HERE[0])
    assert instructions() == ISAS[HERE[0]]
    monkeypatch.delenv(VARIABLE)
    assert instructions() == with_dot(ISAS[HERE[0]])
