"""What was measured of convolutions over tiles on this machine, in its cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lighten.core.files import cache_dir, write_json
from lighten.emit import Isa, features
from lighten.engine import tuning
from lighten.errors import WriteError
from lighten.kernels.tile_schedule import TiledConv

Point = tuple[int, float]  # entries, milliseconds
VERSION = 1


def plainly(conv: TiledConv) -> TiledConv:
    """What kernels are told apart by: neither what is added nor an activation."""
    return replace(conv, residual=None, activation="")


def milliseconds(conv: TiledConv, isa: Isa, entries: int) -> float | None:
    """What so many entries take by what was measured, or None: the same for each."""
    found = recall(conv, isa)
    if found is None:
        return None
    (few, low), (many, high) = found
    return max(0.0, low + (high - low) * (entries - few) / max(many - few, 1))


def keep(conv: TiledConv, isa: Isa, points: Iterable[Point]) -> None:
    """Write down what was measured; where that fails, it is measured again another time."""
    held = {"conv": repr(plainly(conv)), "points": [list(point) for point in points]}
    with suppress(WriteError, OSError):
        write_json(_path(conv, isa), held)


def recall(conv: TiledConv, isa: Isa) -> tuple[Point, Point] | None:
    """What was measured of a convolution, or None."""
    try:
        held = json.loads(_path(conv, isa).read_text(encoding="utf-8"))
        (few, low), (many, high) = held["points"]
        found = (int(few), float(low)), (int(many), float(high))
        return found if held["conv"] == repr(plainly(conv)) else None
    except (OSError, ValueError, LookupError, TypeError, WriteError):
        return None


def records(convs: Iterable[TiledConv], isa: Isa) -> list[str]:
    """Where it is written down what is known of these, in the cache; whether it is there or not."""
    return sorted({f"{tuning.FOLDER}/{_path(conv, isa).name}" for conv in convs})


def _path(conv: TiledConv, isa: Isa) -> Path:
    made_for = ("tiles", VERSION, isa.name, sorted(features()), repr(plainly(conv)))
    name = hashlib.sha256(repr(made_for).encode()).hexdigest()[:24]
    return cache_dir() / tuning.FOLDER / f"{name}.json"
