"""Compiled objects on disk, named by what they were made from. A convenience: whatever is wrong
with one (cut short, flipped, unreadable, a full disk), it is compiled again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lighten.core.files import cache_dir, write_bytes
from lighten.errors import WriteError

FOLDER = "objects"
DIGEST = hashlib.sha256().digest_size


def key(*parts: str) -> str:
    """The name of what is made from these texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def get(name: str) -> bytes | None:
    """The object of that name, or None where there is none that is whole."""
    try:
        data = _path(name).read_bytes()
    except (OSError, WriteError):
        return None
    digest, code = data[:DIGEST], data[DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def put(name: str, code: bytes) -> None:
    """Keep an object, whole or not at all; several processes may do so at once."""
    with suppress(OSError, WriteError):
        path = _path(name)
        write_bytes(path, hashlib.sha256(code).digest() + code)


@dataclass(frozen=True)
class State:
    """What is kept: where, how many objects of how many bytes; why no more can be, or nothing."""

    folder: str
    objects: int
    bytes: int
    problem: str = ""


def state() -> State:
    """What is kept now, and whether a new object could be: tried by writing one and removing it."""
    try:
        folder = cache_dir() / FOLDER
    except WriteError as problem:
        return State("", 0, 0, problem.message)
    sizes, trial = [], folder / f"trial-{os.getpid()}"
    for path in folder.rglob("*.o"):
        with suppress(OSError):  # another process may just have removed it
            sizes.append(path.stat().st_size)
    try:
        write_bytes(trial, bytes(1 << 16))
    except WriteError as problem:
        return State(str(folder), len(sizes), sum(sizes), problem.message)
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
    return State(str(folder), len(sizes), sum(sizes))


def _path(name: str) -> Path:
    return cache_dir() / FOLDER / name[:2] / f"{name}.o"
