"""How to look: everything about a search that is not the budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How a network is compressed and measured.

    `backend` runs the result ("auto" takes the fastest measured here); `reference` runs the fp32
    original that "0.25x" refers to. `epochs` is the length of the final training (None: as long
    as `time` allows), `lr` its peak rate (None: the usual one); `time` is the wall time to spend,
    in seconds. `ignore` names layers to leave alone, "re:…" for a pattern. `control` adds matched
    runs: without distillation, and of the uncut network. `searcher` is a row of
    `lighten.search.TABLE`. `out` is the run's folder; None: the first of out/run-1, out/run-2 …
    that is free.
    """

    backend: str = "auto"
    reference: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    epochs: float | None = None
    lr: float | None = None
    time: float = 2700.0
    ignore: tuple[str, ...] = ()
    control: bool = False
    searcher: str = "solver"
    seed: int = 0
    out: Path | None = None
    resume: bool = False
