"""The machine: what its measurements are keyed by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Device:
    """The machine. Peaks are measured by `measure.probe`, and 0.0 before that.

    `caches` are bytes of L1d, L2, L3 of one core's path; `peak_gflops` and `bandwidth_gbs` are
    one core's fp32 multiply-add rate and memory read rate.
    """

    name: str
    arch: str
    cores: int
    features: tuple[str, ...] = ()
    caches: tuple[int, ...] = ()
    memory: int = 0
    system: str = ""
    peak_gflops: float = 0.0
    bandwidth_gbs: float = 0.0

    @property
    def key(self) -> str:
        """Names this machine's kind; measured peaks do not change it."""
        same = (self.name, self.arch, self.cores, self.features, self.caches)
        return hashlib.sha256(json.dumps(same).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for reports."""
        return asdict(self)
