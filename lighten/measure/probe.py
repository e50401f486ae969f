"""What machine this is, and what it can do at most (row I4, Williams 2009)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from lighten.core.device import Device
from lighten.errors import InputError
from lighten.measure.quiet import device_lock, pinned

# the processor features that decide which kernels can run, as LLVM names them
FEATURES = (
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"),
    *("avx512bf16", "avx512fp16", "avxvnni", "avxvnniint8", "amx-int8", "amx-bf16"),
    *("neon", "fullfp16", "dotprod", "i8mm", "bf16", "sve", "sve2"),
)
PEAKS_NOTE = "measured on one core with NumPy: BLAS matrix product and dot product"
PEAKS = """
import time, numpy as np
def best(run, seconds=0.5):
    run()
    least, end = float("inf"), time.perf_counter() + seconds
    while least == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least
n = 768
a, b, out = (np.ones((n, n), np.float32) for _ in range(3))
print(2 * n**3 / best(lambda: np.matmul(a, b, out=out)) / 1e9)
long = np.ones(1 << 25, np.float32)
print(long.nbytes / best(lambda: long @ long) / 1e9)
"""
ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR")


def probe(peaks: bool = False) -> Device:
    """This machine. With `peaks`, also its fp32 rate and read bandwidth (about 2 s)."""
    device = Device(
        name=_name(),
        arch=platform.machine(),
        cores=_cores(),
        features=_features(),
        caches=_caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        memory=_memory(),
        system=f"{platform.system()} {platform.release()}",
    )
    return with_peaks(device) if peaks else device


def with_peaks(device: Device) -> Device:
    """The same device with `peak_gflops` and `bandwidth_gbs` measured (see `PEAKS_NOTE`).

    NumPy runs in a process of its own, since its BLAS fixes its threads when it is first imported.
    """
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ONE_THREAD}
    with device_lock(), pinned(1):
        done = subprocess.run(
            [sys.executable, "-c", PEAKS],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    gflops, bandwidth = map(float, done.stdout.split())
    return replace(device, peak_gflops=gflops, bandwidth_gbs=bandwidth)


def roofline(macs: float, bytes: float, device: Device) -> float:
    """The least milliseconds one core needs for `macs` in fp32 and `bytes` moved from memory.

    Whichever takes longer, arithmetic or transfer. Raises `InputError` where the device's peaks
    have not been measured.

    >>> roofline(50e6, 1e6, Device("d", "x", 1, peak_gflops=100.0, bandwidth_gbs=10.0))
    1.0
    """
    if device.peak_gflops <= 0 or device.bandwidth_gbs <= 0:
        raise InputError(
            "A roofline bound needs the device's peaks, but they are not measured.",
            "Use probe(peaks=True).",
        )
    return max(2 * macs / device.peak_gflops, bytes / device.bandwidth_gbs) / 1e6


def _name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), "") or platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _features() -> tuple[str, ...]:
    try:
        from llvmlite import binding

        host = binding.get_host_cpu_features()
    except (ImportError, RuntimeError):
        return ()
    return tuple(name for name in FEATURES if host.get(name))


def _caches(root: Path) -> tuple[int, ...]:
    """Bytes of the data and unified caches at `root`, the nearest first; empty where unknown."""
    found = {}
    for index in sorted(root.glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = int((index / "level").read_text())
            size = (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
            found[level] = int(size.rstrip("KMG")) * units.get(size[-1], 1)
    return tuple(found[level] for level in sorted(found))


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
