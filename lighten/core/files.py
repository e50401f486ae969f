"""Writing files so that a reader never sees half of one: write beside, sync, then rename."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lighten.errors import WriteError


def cache_dir() -> Path:
    """Where data and measurements are kept: `$LIGHTEN_CACHE`, or `~/.cache/lighten`. It exists."""
    chosen = os.environ.get("LIGHTEN_CACHE")
    folder = Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "lighten"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"The cache folder {folder} could not be made: {error.strerror or error}.",
            "Set LIGHTEN_CACHE to a folder that can be written.",
        ) from error
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes `path`'s place when the block ends well.

    Raises `WriteError` (a full disk, a read-only folder) with what stood there untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    except OSError as error:
        raise WriteError(
            f"{path} could not be written: {error.strerror or error}.",
            "Free some space or choose another folder with --out.",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")
