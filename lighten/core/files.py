"""Writing files so that a reader never sees half of one: write beside, sync, then rename."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lighten.errors import WriteError


def cache_dir() -> Path:
    """Where data and measurements are kept: `$LIGHTEN_CACHE`, or `~/.cache/lighten`. It exists."""
    chosen = Path(os.environ.get("LIGHTEN_CACHE") or Path("~") / ".cache" / "lighten")
    try:
        folder = chosen.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        raise WriteError(
            f"The cache folder {chosen} could not be made: "
            f"{getattr(error, 'strerror', '') or error}.",
            "Set LIGHTEN_CACHE to a folder that can be written.",
        ) from error
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes `path`'s place when the block ends well.

    It is this call's own: threads, and processes of equal number on two machines that share the
    folder, do not meet.
    Raises `WriteError` (a full disk, a read-only folder) with what stood there untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
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
