"""The device as it is seen, its peaks, and the measurements kept for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lighten.core.device import Device
from lighten.core.files import cache_dir
from lighten.errors import InputError, WriteError
from lighten.measure import cache
from lighten.measure.probe import FEATURES, PEAKS, _caches, probe, roofline, with_peaks


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))


def test_this_machine_is_seen() -> None:
    device = probe()
    assert device == probe() and device.key == probe().key
    assert device.name and device.arch and device.cores >= 1
    assert set(device.features) <= set(FEATURES)
    assert device.peak_gflops == device.bandwidth_gbs == 0.0


def test_peaks_are_measured_and_do_not_change_the_key() -> None:
    device = probe()
    measured = with_peaks(device)
    assert measured.key == device.key
    assert 0.1 < measured.peak_gflops < 1e5 and 0.1 < measured.bandwidth_gbs < 1e5
    assert replace(measured, peak_gflops=0.0, bandwidth_gbs=0.0) == device


def test_peaks_are_measured_even_where_the_time_passes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lighten.measure.probe.PEAKS", PEAKS.replace("seconds=0.5", "seconds=0.0"))
    measured = with_peaks(probe())
    assert measured.peak_gflops > 0 and measured.bandwidth_gbs > 0


def test_roofline_is_the_slower_of_arithmetic_and_transfer() -> None:
    device = Device("d", "x", 1, peak_gflops=100.0, bandwidth_gbs=10.0)
    assert roofline(50e6, 1e6, device) == pytest.approx(1.0)  # 100 MFLOP at 100 GFLOP/s
    assert roofline(50e6, 50e6, device) == pytest.approx(5.0)  # 50 MB at 10 GB/s
    with pytest.raises(InputError, match="peaks"):
        roofline(1, 1, Device("d", "x", 1))


def test_caches_are_read_as_the_system_writes_them(tmp_path: Path) -> None:
    written = [("Data", 1, "32K"), ("Instruction", 1, "64K"), ("Unified", 2, "1M"), ("x", 3, "8")]
    for index, (kind, level, size) in enumerate(written):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("type", kind), ("level", str(level)), ("size", size)):
            (folder / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()  # says nothing
    assert _caches(tmp_path) == (32 << 10, 1 << 20, 8)
    assert _caches(tmp_path / "absent") == ()


def test_measurements_are_kept_per_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "kept"))
    here, there = Device("a", "x", 1), Device("b", "x", 1)
    assert cache.load(here, "latency") is None
    cache.save(here, "latency", {"conv": [1.5, 2]})
    assert cache.load(here, "latency") == {"conv": [1.5, 2]}
    assert cache.load(there, "latency") is None and cache.load(here, "peaks") is None
    cache.path(here, "latency").write_text("{half")
    assert cache.load(here, "latency") is None
    assert cache_dir() == tmp_path / "kept"


def test_a_cache_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LIGHTEN_CACHE", str(blocked / "cache"))
    with pytest.raises(WriteError, match="cache folder"):
        cache_dir()
