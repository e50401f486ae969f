"""What a run's folder holds, read for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighten.core.trial import Trial
from lighten.errors import InputError

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
    recipe: str = ""

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
        lacking = [key for key in NEEDED if key not in summary]
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
            training=(_read(directory / "training.json") or {}).get("runs", ()),
            recipe=recipe.read_text() if recipe.is_file() else "",
        )


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
        trials.append(Trial.from_dict(entry.get("value", entry)))
    return tuple(trials)
