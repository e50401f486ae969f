"""Runs side by side: what is compared, as rows of text, and where they cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighten.errors import InputError
from lighten.report.metric import Metric
from lighten.report.numbers import MISSING, plain, show, spread
from lighten.report.source import Source
from lighten.report.verdict import LIMITS

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One finished run: the folder's name as it was given, its files, the data's fingerprint."""

    name: str
    source: Source
    data: str

    @property
    def summary(self) -> Json:
        """Its `summary.json`."""
        return self.source.summary

    @property
    def metric(self) -> Metric:
        """What its quality is called."""
        return self.source.metric


def read(folders: Sequence[Path]) -> list[Run]:
    """The runs of two or more folders. Raises `InputError` naming what is missing or damaged."""
    if len(folders) < 2:
        raise InputError("Comparing takes at least two runs' folders, but got one.")
    return [Run(str(folder), Source.read(folder), _fingerprint(folder)) for folder in folders]


def _fingerprint(folder: Path) -> str:
    """The data's, from the run's request; "" where that is not told."""
    try:
        told = json.loads((folder / "run.json").read_text())
        return str(told.get("data", "")) if isinstance(told, dict) else ""
    except (OSError, ValueError):
        return ""


def _quality(side: str) -> Callable[[Run], str]:
    def write(run: Run) -> str:
        score, metric = run.summary[side], run.metric
        return show(metric, score.get("quality")) + _between(metric, score.get("quality_interval"))

    return write


def _between(metric: Metric, bounds: Sequence[float] | None) -> str:
    return f" [{metric(bounds[0])}, {metric(bounds[1])}]" if bounds else ""


def _drop(run: Run) -> str:
    drop, metric = run.summary["drop"], run.metric
    if drop is None:
        return MISSING
    return metric.amount(drop) + _between(metric, run.summary.get("drop_interval"))


def _latency(side: str) -> Callable[[Run], str]:
    def write(run: Run) -> str:
        value = run.summary[side].get("latency_ms")
        wide = run.summary[side].get("latency_spread_ms")
        if value is None or wide is None:
            return show("latency_ms", value)
        return f"{show('latency_ms', value)} ± {spread(wide, value)}"

    return write


def _speedup(run: Run) -> str:
    value, bounds = run.summary.get("speedup"), run.summary.get("speedup_interval")
    if value is None:
        before, after = (run.summary[side].get("latency_ms") for side in ("before", "after"))
        value = before / after if before and after else None
    between = f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else ""
    return MISSING if value is None else f"{value:.2f}×{between}"


def _pair(key: str) -> Callable[[Run], str]:
    def write(run: Run) -> str:
        return " → ".join(show(key, run.summary[side].get(key)) for side in ("before", "after"))

    return write


def _metric(run: Run) -> str:
    better = "higher" if run.metric.higher_is_better else "lower"
    return f"{run.metric.title} ({better} is better)"


def _budget(run: Run) -> str:
    state = {True: "met", False: "not met", None: "no budget"}[run.summary["met"]]
    asked = []
    for name, value in run.summary["budget"].items():
        if name == "drop" and value is not None:
            asked.append(f"drop {run.metric.allowed(value)}")
        elif value is not None:
            written = value if isinstance(value, str) else show(LIMITS[name][0], value)
            asked.append(f"{name} {written}")
    return f"{state}: {', '.join(asked)}" if asked else state


def _recipe(run: Run) -> str:
    """The digest of what shipped; of runs that did not write it, that of the final training."""
    if run.summary.get("recipe"):
        return str(run.summary["recipe"])
    done = [trial for trial in run.source.trials if trial.stage == "finish"]
    return done[-1].recipe.digest if done else MISSING


def _told(*keys: str) -> Callable[[Run], str]:
    def write(run: Run) -> str:
        value: Any = run.summary
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return MISSING if value in (None, "") else plain(value)

    return write


def _seconds(run: Run) -> str:
    value = run.summary.get("seconds")
    return f"{value:.0f} s" if value else MISSING


# title → what it says of a run, from top to bottom
ROWS: dict[str, Callable[[Run], str]] = {
    "network": _told("network"),
    "data": _told("task", "data"),
    "metric": _metric,
    "quality before": _quality("before"),
    "quality after": _quality("after"),
    "drop": _drop,
    "latency before": _latency("before"),
    "latency after": _latency("after"),
    "speed-up": _speedup,
    "file size": _pair("bytes"),
    "MACs": _pair("macs"),
    "budget": _budget,
    "recipe": _recipe,
    "run took": _seconds,
    "machine": _told("device", "name"),
    "reference": _told("reference"),
    "backend": _told("backend"),
    "threads": _told("threads"),
    "batch": _told("batch"),
}
QUALITY = "their quality and drops cannot be compared"
LATENCY = "their latencies cannot be compared"
# what must be the same → what cannot be compared where it is not
SAME: dict[str, tuple[Callable[[Run], str], str]] = {
    "data": (lambda run: run.data or ROWS["data"](run), QUALITY),
    "metric": (ROWS["metric"], QUALITY),
    "machine": (ROWS["machine"], LATENCY),
    "reference": (ROWS["reference"], "their speed-ups cannot be compared"),
    "threads": (ROWS["threads"], LATENCY),
    "batch": (ROWS["batch"], LATENCY),
}


def table(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A title and one text per run, row by row."""
    return [(title, *(write(run) for run in runs)) for title, write in ROWS.items()]


def warnings(runs: Sequence[Run]) -> list[str]:
    """One sentence for everything that differs and should not."""
    found = []
    for name, (write, cannot) in SAME.items():
        if len({write(run) for run in runs}) > 1:
            shown = ROWS[name]
            values = ", ".join(f"{run.name}: {shown(run)}" for run in runs)
            found.append(f"The runs differ in {name} ({values}), so {cannot}.")
    return found


def plainly(runs: Sequence[Run]) -> dict[str, Any]:
    """All of it as JSON: the summaries as the runs wrote them, and the warnings."""
    told = [{"folder": run.name, "recipe": _recipe(run), **run.summary} for run in runs]
    return {"runs": told, "warnings": warnings(runs)}
