"""Joules per call from the processor's own counter (RAPL), or the reason there is no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from lighten.core.protocols import Executable
from lighten.measure.quiet import device_lock, pinned

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """Joules per call of the whole processor package; None with the reason where unknown."""

    joules: float | None
    calls: int = 0
    reason: str = ""


def energy(
    executable: Executable, inputs: Sequence[Any], seconds: float = 2.0, root: Path = ROOT
) -> Energy:
    """Joules per call of `executable(*inputs)`, everything else in the package included."""
    zones = [zone for zone in sorted(root.glob("*-rapl:*")) if zone.name.count(":") == 1]
    if not zones:
        return Energy(None, reason=f"not available: no RAPL counter under {root}")
    with device_lock(), pinned(executable.threads):
        executable(*inputs)
        try:
            before = [_read(zone, "energy_uj") for zone in zones]
            calls = _run(executable, inputs, seconds)
            after = [_read(zone, "energy_uj") for zone in zones]
            spans = [_read(zone, "max_energy_range_uj") for zone in zones]
        except OSError as error:
            return Energy(None, reason=f"not available: {error.strerror or error}")
    used = sum((b - a) % (span + 1) for a, b, span in zip(before, after, spans, strict=True))
    return Energy(used / 1e6 / calls, calls)


def _run(executable: Executable, inputs: Sequence[Any], seconds: float) -> int:
    """Call for `seconds`; how many calls that were."""
    end = perf_counter() + seconds
    calls = 0
    while calls == 0 or perf_counter() < end:
        executable(*inputs)
        calls += 1
    return calls


def _read(zone: Path, name: str) -> int:
    return int((zone / name).read_text())
