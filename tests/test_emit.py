"""Emitted code: what each instruction means, loops and tiles, golden text, the object cache."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.emit import F32, I64, ISAS, POINTER, Function, Tile, Value, build, cache, host
from lighten.emit.instructions import INSTRUCTIONS
from lighten.emit.isa import VARIABLE, features, supported
from lighten.errors import InputError

HERE = [isa.name for isa in supported(features(), "x86_64")] if "x86-64" in ISAS else []
P, N = ctypes.c_void_p, ctypes.c_int64
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def applied(isa: str, operation: Callable[..., Value], *arrays: np.ndarray) -> np.ndarray:
    """`operation(f, *registers)` on whole arrays, compiled for an instruction set."""
    names = [f"x{i}" for i in range(len(arrays))]
    f = Function("run", {**dict.fromkeys([*names, "y"], POINTER), "n": I64}, ISAS[isa])

    def step(i: Value, _: Tile) -> None:
        loaded = [f.load(f[name] + i * f.lane.bytes, f.lane) for name in names]
        f.store(operation(f, *loaded), f["y"] + i * f.lane.bytes)

    f.loop(0, f["n"], step)
    y = np.zeros_like(arrays[0])
    call = build([f]).function("run", *[P] * (len(arrays) + 1), N)
    call(*(x.ctypes.data for x in (*arrays, y)), len(y) // ISAS[isa].lanes)
    return y


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_every_instruction_means_what_its_table_says(name: str, isa: str) -> None:
    row = INSTRUCTIONS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(64).astype(np.float32) for _ in range(row.operands)]
    if name in ("sqrt", "log", "pow"):
        arrays = [np.abs(x) for x in arrays]
    found = applied(isa, lambda f, *given: f.call(name, *given), *arrays)
    wanted = row.meaning(*arrays)
    if name in ("log", "sin", "cos", "pow"):  # the C library's against NumPy's
        np.testing.assert_allclose(found, wanted, rtol=5e-7)
    elif ISAS[isa].fused or name != "fma":
        np.testing.assert_array_equal(found, wanted)
    else:  # rounded twice
        np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-7)


def test_fma_rounds_once_where_it_is_one_instruction() -> None:
    """(1 + 2⁻¹²)² − 1 keeps its last bit only if the product is not rounded first."""
    if not host().fused:
        pytest.skip("this machine has no fused multiply-add")
    a = np.full(16, 1 + 2**-12, np.float32)
    found = applied(host().name, lambda f, x, y, z: f.fma(x, y, z), a, a, -np.ones_like(a))
    assert found[0] == np.float32(2**-11 + 2**-24)


def test_loops_carry_tiles_and_skip_where_they_have_no_round() -> None:
    f = Function("total", {"x": POINTER, "y": POINTER, "n": I64}, host())

    def row(i: Value, sums: Tile) -> Tile:
        def column(j: Value, sums: Tile) -> Tile:
            return [sums[0] + f.load(f["x"] + (i * 4 + j) * 4, F32)]

        return f.loop(0, 4, column, sums)

    (total,) = f.loop(0, f["n"], row, [f.zero(F32)])
    f.store(total, f["y"])
    call = build([f]).function("total", P, P, N)
    x, y = np.arange(12, dtype=np.float32), np.full(1, 7.0, np.float32)
    for rows, wanted in ((3, 66.0), (1, 6.0), (0, 0.0)):
        call(x.ctypes.data, y.ctypes.data, rows)
        assert y[0] == wanted


def test_what_is_known_while_writing_costs_nothing() -> None:
    f = Function("nothing", {"x": POINTER, "i": I64}, host())
    assert (f["x"] + 0) is f["x"] and (f["i"] * 1) is f["i"] and (f["i"] + 0) is f["i"]
    once: list[str] = []
    f.loop(0, 1, lambda i, _: once.append(i.name))
    assert once == ["0"] and "br " not in f.text()


def test_the_same_calls_give_the_same_text() -> None:
    """A change of this text is a change of every object that was kept."""
    f = Function("relu", {"x": POINTER, "y": POINTER, "n": I64}, ISAS["avx2"])

    def step(i: Value, _: Tile) -> None:
        x = f.load(f["x"] + i * f.lane.bytes, f.lane)
        f.store(f.call("maximum", x, f.zero(f.lane)), f["y"] + i * f.lane.bytes)

    f.loop(0, f["n"], step)
    assert f.text() == (GOLDEN / "relu_avx2.ll").read_text()


def small(name: str = "one") -> Function:
    f = Function(name, {"y": POINTER}, host())
    f.store(f.constant(1.0, F32), f["y"])
    return f


def works(f: Function) -> bool:
    y = np.zeros(1, np.float32)
    build([f]).function(f.name, P)(y.ctypes.data)
    return bool(y[0] == 1.0)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / cache.FOLDER).rglob("*.o"))


@pytest.mark.parametrize("harm", ["cut short", "flipped", "emptied"])
def test_a_damaged_object_is_made_again(harm: str, tmp_path: Path) -> None:
    assert works(small())
    (path,) = kept(tmp_path)
    data = bytearray(path.read_bytes())
    if harm == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut short": bytes(data[:-7]), "emptied": b""}.get(harm, bytes(data)))
    assert works(small())
    assert cache.get(path.stem) is not None


def test_an_object_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert works(small())
    module = import_module("lighten.emit.build")  # the name in the package is the function's
    monkeypatch.setattr(module, "_compiled", lambda *_: pytest.fail("compiled again"))
    assert works(small())
    with pytest.raises(pytest.fail.Exception, match="again"):
        works(small("two"))


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("LIGHTEN_CACHE", str(blocked / "cache"))
    assert works(small())


def test_the_instruction_set_can_be_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, HERE[-1])
    assert host().name == HERE[-1]
    monkeypatch.setenv(VARIABLE, "mmx")
    with pytest.raises(InputError, match=r"must be one of .* but is 'mmx'"):
        host()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (("sse2",), ["x86-64"]),
        (("avx2", "fma", "f16c", "bmi2"), ["avx2", "x86-64"]),
        (("avx2", "fma"), ["x86-64"]),
    ],
)
def test_a_machine_runs_only_what_it_has(found: Any, wanted: list[str]) -> None:
    assert [isa.name for isa in supported(frozenset(found), "x86_64")] == wanted
    assert [isa.name for isa in supported(frozenset(), "aarch64")] == ["neon"]
    with pytest.raises(InputError, match="this machine is 'pdp11'"):
        supported(frozenset(), "pdp11")
