"""A run's memory: every measurement is written down before it is used.

The whole road is a deterministic function of what was measured. So a killed run resumes by
running again: what the journal holds is not measured twice, and the end is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from lighten.errors import InputError, WriteError

Json = Any


class Journal:
    """An append-only file of `{"key": …, "value": …}` lines, the first of each key valid.

    A last line torn by a crash is dropped. Two processes never share one journal.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "measurements.jsonl"
    >>> with Journal(path) as journal:
    ...     journal.remember("pi", lambda: 3.14), journal.remember("pi", lambda: 0.0)
    (3.14, 3.14)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: FileIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise WriteError(f"{path} could not be opened: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(
                f"Another run is writing to {path.parent}.", "Wait for it, or give another --out."
            ) from error
        self._known: dict[str, Json] = {}
        self._read()

    def remember(self, key: str, compute: Callable[[], Json]) -> Json:
        """What is written under `key`; if nothing is, compute it, write it down, return it.

        The value goes through JSON before it is used, so a resumed run sees the very same one.
        """
        if key not in self._known:
            self.write(key, compute())
        return self._known[key]

    def write(self, key: str, value: Json) -> None:
        """Write one value down, flushed to the disk."""
        line = json.dumps({"key": key, "value": value})
        whole = self._file.seek(0, os.SEEK_END)
        try:
            left = line.encode() + b"\n"
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(whole)
            raise WriteError(
                f"{self.path} could not be written: {error.strerror}.",
                "Free some space, then run the same command with --resume.",
            ) from error
        self._known.setdefault(key, json.loads(line)["value"])

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def items(self) -> list[tuple[str, Json]]:
        """Everything written down, in order."""
        return list(self._known.items())

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        """Take in every whole line; one that was damaged is passed over, a torn end cut off."""
        self._file.seek(0)
        content = self._file.readall()
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            try:
                entry = json.loads(line)
                self._known.setdefault(entry["key"], entry["value"])
            except (ValueError, KeyError, TypeError):
                continue
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
