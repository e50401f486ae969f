"""Decoded arrays kept on disk, so that the next run maps them instead of decoding again.

They lie in `~/.cache/lighten/data/<key>/`, or under `$LIGHTEN_CACHE`. The cache is never trusted
and never needed: a damaged entry counts as absent, and a folder that cannot be written as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lighten.core.task import Array

Entry = tuple[dict[str, Array], dict[str, Any]]  # arrays by name, and a plain description


def folder() -> Path:
    """Where decoded data is kept."""
    root = os.environ.get("LIGHTEN_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "lighten") / "data"


def recall(key: str) -> Entry | None:
    """What was kept under `key`, its arrays mapped read-only; None where absent or damaged."""
    place = folder() / key
    try:
        stored = json.loads((place / "about.json").read_text(encoding="utf-8"))
        arrays = {}
        for name, digest in stored["sha256"].items():
            with (place / f"{name}.npy").open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return None
            arrays[name] = np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return arrays, dict(stored["about"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(key: str, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Entry:
    """Keep arrays and a JSON description under `key`; gives what later runs would recall.

    Written beside and renamed, so that two runs at once do not mix; the arrays themselves come
    back where nothing could be kept.
    """
    place = folder() / key
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{key[:16]}.", dir=place.parent))
    except OSError:
        return dict(arrays), dict(about)
    try:
        digests = {name: _written(beside / f"{name}.npy", x) for name, x in arrays.items()}
        described = json.dumps({"sha256": digests, "about": dict(about)})
        (beside / "about.json").write_text(described, encoding="utf-8")
        if place.exists() and recall(key) is None:
            shutil.rmtree(place, ignore_errors=True)  # damaged
        beside.rename(place)
    except OSError:
        pass  # a full disk, or another run was first
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return recall(key) or (dict(arrays), dict(about))


def _written(path: Path, x: Array) -> str:
    np.save(path, x, allow_pickle=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
