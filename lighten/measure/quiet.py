"""A quiet device to measure on: one measurement at a time, on cores of its own."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import IO

from lighten.core.files import cache_dir

LOG = logging.getLogger("lighten")
LOOK = 0.1  # seconds over which cores are watched to find the idle ones
_within = threading.RLock()
_depth = 0


@contextmanager
def device_lock() -> Iterator[None]:
    """Hold the device: other processes of this user that measure wait, and say so.

    May be nested. The lock is a file in the cache folder; the system frees it when its holder
    ends, however it ends. Where files cannot be locked, only threads of this process wait.
    """
    global _depth  # noqa: PLW0603 - one device per process, guarded by _within
    with _within:
        _depth += 1
        try:
            if _depth > 1:
                yield
            else:
                with (cache_dir() / "device.lock").open("a+") as file:
                    _wait(file)
                    yield
        finally:
            _depth -= 1


def _wait(file: IO[str]) -> None:
    """Lock `file` until it is closed."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        LOG.warning("Another process is measuring on this device: waiting for %s.", file.name)
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...]]:
    """Keep the calling thread, and threads it starts, on `threads` idle cores; give the cores.

    What was allowed before is allowed again afterwards. Where cores cannot be chosen, or all are
    wanted, nothing changes.
    """
    allowed = _allowed()
    if threads >= len(allowed):
        yield tuple(sorted(allowed))
        return
    chosen = choose(allowed, _busy(), _siblings(allowed), threads)
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)


def choose(
    allowed: set[int], busy: dict[int, float], core_of: dict[int, str], threads: int
) -> tuple[int, ...]:
    """The `threads` least busy of the `allowed` processors, on cores of their own while any are.

    `busy` and `core_of` give each processor's load and physical core. Among equals the last
    comes first, since systems put their own work on the first.
    """
    ranked = sorted(allowed, key=lambda cpu: (round(busy.get(cpu, 0.0), 1), -cpu))
    alone: list[int] = []
    shared: list[int] = []
    seen: set[str] = set()
    for cpu in ranked:
        core = core_of.get(cpu, str(cpu))
        (shared if core in seen else alone).append(cpu)
        seen.add(core)
    return tuple(sorted((alone + shared)[:threads]))


def _allowed() -> set[int]:
    """The processors this thread may run on; none where the system does not say."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


def _busy() -> dict[int, float]:
    """Processor → the share of the last tenth of a second it was not idle; empty if unknown."""
    before = _ticks()
    if not before:
        return {}
    sleep(LOOK)
    after = _ticks()
    idle = {cpu: after[cpu] - idle for cpu, idle in before.items() if cpu in after}
    most = max(idle.values(), default=0) or 1
    return {cpu: 1.0 - ticks / most for cpu, ticks in idle.items()}


def _ticks() -> dict[int, int]:
    """Processor → idle ticks since boot."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.startswith("cpu") and line[3:4].isdigit()]
    return {int(field[0][3:]): int(field[4]) + int(field[5]) for field in fields}


def _siblings(allowed: set[int]) -> dict[int, str]:
    """Processor → the physical core it shares, as the system writes it."""
    root = Path("/sys/devices/system/cpu")
    found = {}
    for cpu in allowed:
        path = root / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        if path.is_file():
            found[cpu] = path.read_text().strip()
    return found
