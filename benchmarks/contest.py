"""Networks side by side: the same samples, the same machine, timed in turns.

A contestant is a file that a runtime loads. All of them are timed in one process in alternation,
scored once on the same test samples, and compared pair by pair with the fp32 reference.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common

from lighten import backends
from lighten.core.task import Task
from lighten.core.trial import Interval, Latency
from lighten.errors import LightenError
from lighten.measure import latency, quality

OURS = "lighten"
REFERENCE = "onnxruntime fp32"
KEPT = ("model.onnx", "recipe.yaml", "summary.json")
INSTALL = "pip install 'lighten[bench]'"


@dataclass(frozen=True)
class Contestant:
    """A network as a file: `model` is its path, or the bytes of an ONNX model.

    `how` says how the file is made where it is absent.
    """

    name: str
    backend: str
    model: Path | bytes = field(repr=False)
    how: str = ""

    @property
    def size(self) -> int:
        """Bytes that ship; an OpenVINO model is two files."""
        if isinstance(self.model, bytes):
            return len(self.model)
        files = [self.model, self.model.with_suffix(".bin")]
        return sum(file.stat().st_size for file in files if file.exists())

    def load(self, threads: int) -> Any:
        """The network, loaded. OpenVINO reads its own format from a path."""
        model = self.model
        if isinstance(model, Path) and model.suffix == ".onnx":
            model = model.read_bytes()
        return backends.get(self.backend).load(model, threads)


def command(network: str, args: argparse.Namespace, budget: Sequence[str]) -> list[str]:
    """The command that makes our model."""
    given = ["--weights", common.shown(args.weights), "--data", common.shown(args.data)]
    return ["lighten", "compress", network, *given, *budget]


def compress(
    command: Sequence[str], folder: Path, out: Path | None = None, kept: Sequence[str] = KEPT
) -> None:
    """Run it, or go on where it was stopped, and keep what came out in `folder`."""
    out = out or common.WORK / folder.name
    if (out / "summary.json").exists():  # a run that is over: this one starts anew
        shutil.rmtree(out)
    resume = ["--resume"] if out.exists() else []
    common.lighten([*command, "--out", common.shown(out), *resume])
    folder.mkdir(parents=True, exist_ok=True)
    for name in kept:
        shutil.copy(out / name, folder / name)


def ours(folder: Path, command: Sequence[str]) -> Contestant:
    """Our model, in the backend that it was made for."""
    how = f"It is made by --train, or: {' '.join(command)}"
    backend = common.plain_json(common.needed(folder / "summary.json", "Our model", how))["backend"]
    return Contestant(OURS, backend, common.needed(folder / "model.onnx", "Our model", how))


@dataclass(frozen=True)
class Outcome:
    """What one contestant was measured to be worth; latencies by batch size.

    `times` is the ratio of its latency to the reference's; `error` and `drop` are in points.
    """

    latency: Mapping[int, Latency]
    times: Mapping[int, latency.Ratio]
    error: float
    drop: float
    drop_interval: Interval
    bytes: int


@dataclass(frozen=True)
class Contest:
    """The outcomes by name, ours and the reference among them, and why anyone is absent."""

    outcomes: Mapping[str, Outcome]
    backends: Mapping[str, str]
    absent: Mapping[str, str]


def hold(field_: Sequence[Contestant], task: Task, args: argparse.Namespace) -> Contest:
    """Measure everyone who can be loaded; the reference must be among them."""
    ready, absent = _ready(field_, args.threads)
    if OURS in absent:
        common.stop(f"Our model is not there: {absent[OURS]}.")
    batches = (1,) if args.quick else (1, 32)
    seconds, rounds = (1.0, 10) if args.quick else (4.0, 40)
    timings = {
        b: latency.interleave(ready, task.example(b), seconds * b**0.5, rounds) for b in batches
    }
    rows = {name: quality.rows(net, task.test(), task.metric) for name, net in ready.items()}
    sizes = {one.name: one.size for one in field_ if one.name in ready}
    outcomes = {}
    for name in ready:
        drop, interval = quality.paired_drop(rows[REFERENCE], rows[name], task.metric)
        outcomes[name] = Outcome(
            {b: t.latency(name) for b, t in timings.items()},
            {b: t.ratio(name, to=REFERENCE) for b, t in timings.items()},
            100.0 - quality.quality(rows[name], task.metric),
            drop,
            interval,
            sizes[name],
        )
    return Contest(outcomes, {one.name: one.backend for one in field_}, absent)


def _ready(field_: Sequence[Contestant], threads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Everyone loaded, and for the others what to do."""
    ready, absent = {}, {}
    for one in field_:
        if isinstance(one.model, Path) and not one.model.exists():
            absent[one.name] = f"make it with: {one.how}"
            continue
        try:
            ready[one.name] = one.load(threads)
        except LightenError as problem:
            absent[one.name] = str(problem)
    return ready, absent


def rows_of(script: str, contest: Contest, allowed: float) -> list[common.Row]:
    """Latency per batch, error and bytes. The best peer is among those within the drop allowed."""
    ours = contest.outcomes[OURS]
    peers = {name: found for name, found in contest.outcomes.items() if name != OURS}
    within = {name for name, found in peers.items() if found.drop <= allowed}
    rows = [_latency_row(script, batch, ours, peers, within) for batch in ours.latency]
    half = (ours.drop_interval.high - ours.drop_interval.low) / 2
    errors = {name: found.error for name, found in peers.items()}
    sizes = {name: float(found.bytes) for name, found in peers.items()}
    return [
        *rows,
        common.row(f"{script}: error on test", "%", ours.error, errors, spread=half),
        common.row(f"{script}: file", "bytes", ours.bytes, sizes, spread=0.0, eligible=within),
    ]


def _latency_row(
    script: str, batch: int, ours: Outcome, peers: Mapping[str, Outcome], within: set[str]
) -> common.Row:
    """One batch size. Who is best, and by how much, is told by the ratios paired in turns."""
    times = {name: found.times[batch].value for name, found in peers.items()}
    paired = common.row("", "", ours.times[batch].value, times, spread=0.0, eligible=within)
    took = {name: found.latency[batch].median_ms for name, found in peers.items()}
    mine = ours.latency[batch]
    case = f"{script}: latency, batch {batch}"
    shown = common.row(case, "ms", mine.median_ms, took, spread=mine.spread_ms)
    return {**shown, "ratio": paired["ratio"], "best": paired["best"]}


def table(contest: Contest, command: Sequence[str]) -> str:
    """The outcomes as Markdown, the fastest first, who is absent and why, and how ours was made."""
    batches = list(contest.outcomes[OURS].latency)
    timed = [h for b in batches for h in (f"batch {b}, ms", "x fp32")]
    headers = ["network", "runs on", *timed, "accuracy, %", "drop, points [95 %]", "kB"]
    order = sorted(
        contest.outcomes, key=lambda name: contest.outcomes[name].latency[batches[0]].median_ms
    )
    lines = [_line(name, contest, batches) for name in order]
    missing = "".join(f"\n- {name}: {why}" for name, why in contest.absent.items())
    absent = f"\n\nNot measured:\n{missing}" if missing else ""
    return f"{common.markdown(headers, lines)}{absent}\n\nOurs: `{' '.join(command)}`"


def _line(name: str, contest: Contest, batches: Sequence[int]) -> list[str]:
    found = contest.outcomes[name]
    timed = []
    for batch in batches:
        took, times = found.latency[batch], found.times[batch]
        timed += [
            f"{took.median_ms:.4f} ± {took.spread_ms:.4f}",
            f"{times.value:.3f} [{times.interval.low:.3f}, {times.interval.high:.3f}]",
        ]
    interval = f"[{found.drop_interval.low:+.2f}, {found.drop_interval.high:+.2f}]"
    shown = f"**{name}**" if name == OURS else name
    drop = f"{found.drop:+.2f} {interval}"
    runs_on = contest.backends[name]
    return [shown, runs_on, *timed, f"{100 - found.error:.2f}", drop, f"{found.bytes / 1e3:.1f}"]
