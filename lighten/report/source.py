"""What a run's folder holds, read for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lighten.core.trial import Trial
from lighten.errors import InputError, RecipeError
from lighten.report.metric import Metric

Json = Mapping[str, Any]
NEEDED = ("network", "task", "before", "after", "drop", "budget", "met", "reference", "backend")


@dataclass(frozen=True)
class Source:
    """A finished run. `summary` is always there; the others are empty where their file is not."""

    summary: Json
    trials: Sequence[Trial] = ()
    front: Sequence[Json] = ()
    layers: Sequence[Json] = ()
    training: Sequence[Json] = ()
    time: Json = field(default_factory=dict)
    calibration: Json = field(default_factory=dict)
    recipe: str = ""

    @property
    def metric(self) -> Metric:
        """What quality is called, and how it is written."""
        return Metric.of(self.summary)

    @property
    def controls(self) -> tuple[tuple[str, Json], ...]:
        """Key in the summary and scores of each control run: none, one, or a list of them."""
        if self.summary.get("control"):
            return (("control", self.summary["control"]),)
        listed = self.summary.get("controls") or ()
        return tuple((f"controls.{i}", control) for i, control in enumerate(listed))

    @property
    def against(self) -> float | None:
        """The quality the drop counts against: the better of the original and the control."""
        drop, after = self.summary["drop"], self.summary["after"]["quality"]
        if drop is None or after is None:
            return None
        higher = self.summary["task"]["metric"]["higher_is_better"]
        return float(after + drop if higher else after - drop)

    @classmethod
    def read(cls, directory: Path) -> Source:
        """Read `directory`. Raises `InputError` naming the file that is missing or damaged."""
        if not (directory / "summary.json").is_file():
            raise InputError(
                f"{directory} holds no summary.json, so there is nothing to report.",
                f"Finish a run first: lighten compress … --out {directory}",
            )
        summary = _read(directory / "summary.json")
        if not isinstance(summary, dict):
            summary = {}
        lacking = [key for key in NEEDED if key not in summary] or _damaged(summary)
        if lacking:
            raise InputError(
                f"{directory / 'summary.json'} lacks {', '.join(lacking)}: it is not a run's.",
                f"Run it again: lighten compress … --out {directory}",
            )
        recipe = directory / "recipe.yaml"
        return cls(
            summary=summary,
            trials=_trials(directory / "trials.jsonl"),
            front=_read(directory / "front.json") or (),
            layers=_read(directory / "layers.json") or (),
            time=_read(directory / "time.json") or {},
            calibration=_read(directory / "calibration.json") or {},
            training=(_read(directory / "training.json") or {}).get("runs", ()),
            recipe=recipe.read_text() if recipe.is_file() else "",
        )


def _damaged(summary: Json) -> list[str]:
    """What is there but cannot be what a run wrote."""
    metric = summary["task"].get("metric") if isinstance(summary["task"], Mapping) else None
    asked = ("name", "unit", "higher_is_better")
    if not isinstance(metric, Mapping) or any(key not in metric for key in asked):
        return ["task.metric"]
    sides = ("before", "after", "budget")
    return [key for key in sides if not isinstance(summary[key], Mapping)]


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def _trials(path: Path) -> tuple[Trial, ...]:
    """One trial per line, plain or as a journal's `value`; a line torn by a crash ends the list."""
    trials = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        try:
            trials.append(Trial.from_dict(entry.get("value", entry)))
        except (KeyError, TypeError, AttributeError, RecipeError) as error:
            raise InputError(f"{path} cannot be read: it holds what is no trial.") from error
    return tuple(trials)
