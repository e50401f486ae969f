"""A run's folder: what it was asked for, what it measured, what came out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighten.core.files import write_json
from lighten.core.trial import Trial
from lighten.errors import InputError
from lighten.run.journal import Journal

REQUEST = "run.json"


class RunFolder:
    """The folder of one run, held open by it.

    `measurements` remembers whatever was measured or decided; `trials` the recipes that were
    tried. `work` holds training checkpoints.
    """

    def __init__(self, path: Path, request: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        self._fresh = _agree(path, dict(request), resume)
        last = max((file.stat().st_mtime for file in path.rglob("*")), default=0.0)
        self.measurements = Journal(path / "measurements.jsonl")
        self._trials = Journal(path / "trials.jsonl")
        sessions = sum(key.startswith("session/") for key, _ in self.measurements.items())
        self.measurements.write(f"session/{sessions}", {"began": time.time(), "after": last})

    def seconds(self) -> float:
        """Wall time of all sessions of this run: each from its start to its last sign of life."""
        stamps = [value for key, value in self.measurements.items() if key.startswith("session/")]
        ends = [*(stamp["after"] for stamp in stamps[1:]), time.time()]
        return float(sum(max(0.0, e - s["began"]) for s, e in zip(stamps, ends, strict=True)))

    @property
    def work(self) -> Path:
        """Where unfinished training lies."""
        return self.path / "work"

    def trials(self) -> list[Trial]:
        """Every recipe tried so far, in order."""
        return [Trial.from_dict(value) for _, value in self._trials.items()]

    def tried(self, key: str) -> Trial | None:
        """The trial written under `key`, if there is one."""
        if key not in self._trials:
            return None
        return Trial.from_dict(self._trials.remember(key, dict))

    def add(self, key: str, trial: Trial) -> Trial:
        """Write a trial down; the one that comes back is as it was written."""
        self._trials.write(key, trial.as_dict())
        return Trial.from_dict(self._trials.remember(key, dict))

    def close(self) -> None:
        """Release the folder."""
        self.measurements.close()
        self._trials.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close; a folder made for what turned out to be bad input goes, so that nothing blocks
        the corrected command."""
        wasted = self._fresh and kind is not None and issubclass(kind, InputError)
        wasted = wasted and not self.trials()
        self.close()
        if wasted:
            for name in (REQUEST, "measurements.jsonl", "trials.jsonl"):
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()


def read_trials(path: Path) -> list[Trial]:
    """The trials of a finished or unfinished run, read only."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Trial.from_dict(json.loads(line)["value"]) for line in lines]


def _agree(path: Path, request: dict[str, Any], resume: bool) -> bool:
    """Start a folder for `request` (True), or check that the one there was made for the same."""
    asked = path / REQUEST
    request = json.loads(json.dumps(request))
    if not asked.exists():
        if path.is_dir() and any(path.iterdir()):
            raise InputError(
                f"{path} is not empty and holds no run.", "Give another folder with --out."
            )
        write_json(asked, request)
        return True
    if not resume:
        raise InputError(
            f"{path} already holds a run.", "Give --resume to go on with it, or another --out."
        )
    before = json.loads(asked.read_text())
    changed = [k for k in {**before, **request} if before.get(k) != request.get(k)]
    if changed:
        listed = ", ".join(f"{k} (was {before.get(k)!r}, now {request.get(k)!r})" for k in changed)
        raise InputError(
            f"{path} holds another run: {listed}.", "Give the same arguments, or another --out."
        )
    return False
