"""Compiled networks on disk: a later process maps the packed weights, loads the object, and calls.

One file for each network file and number of threads, made anew where that has changed:

    MAGIC   length of the head   digest of the head   head (JSON)   zeros   packed weights
                                                                    ▲ a whole page, to be mapped

The head says what the plan was made from: the network, this code, LLVM, the instruction set, and
what the tuning records said that it went by. Where any of them is different now, or the file is not
what was written, there is nothing kept. Processes that run it share the memory of its weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lighten.core.files import cache_dir
from lighten.emit import Isa, features, llvm_version, reload
from lighten.emit.build import HOW
from lighten.engine.arena import Arenas, Array, Calls, Held, Room
from lighten.engine.entry import Entry
from lighten.errors import WriteError

FOLDER, MAGIC = "networks", b"LIGHTEN-KEPT-1\0\0"
FRONT = struct.Struct("<Q32s")  # length of the head, its digest
START = len(MAGIC) + FRONT.size  # where the head begins
SMALL = 16 << 20  # bytes that a head may have
CODE = ("algebra", "core", "emit", "engine", "formats", "kernels", "program", "runtime", "store")
NOTHING = ""  # the digest of a record that is not there


class Kept:
    """A network that was compiled before: called like `executable.Network`, on fewer than `many`
    samples; from there on other kernels may be better, and there must be a plan.
    """

    def __init__(self, head: Mapping[str, Any], weights: Array, calls: Calls) -> None:
        self.many: int = head["many"]
        told = head["room"]
        sides = (tuple(_held(one) for one in told[side]) for side in ("inputs", "outputs"))
        self._arenas = Arenas(Room(told["sample"], told["beyond"], *sides))
        self._weights, self._calls = weights, calls
        asked = head["entry"]
        shapes = tuple(tuple(shape) for shape in asked["shapes"])
        self.inputs = Entry(tuple(asked["names"]), shapes, dict(asked["bounds"]))

    def __call__(self, inputs: tuple[Array, ...], count: int) -> tuple[Array, ...]:
        """Run once, on inputs that were counted by `inputs`."""
        arena = self._arenas.take(count)
        try:
            arena.enter(inputs)
            self._calls.run("segment0", arena, count)
            return arena.left()
        finally:
            self._arenas.give(arena)


def _held(told: Mapping[str, Any]) -> Held:
    return Held(told["at"], tuple(told["shape"]), told["whole"])


# ── finding ───────────────────────────────────────────────────────────────────────────────────


def find(name: str, stamp: str, isa: Isa, threads: int) -> Kept | None:
    """What was kept of the network called `name` in the state `stamp`, if it still holds."""
    try:
        with place(name, isa, threads).open("rb") as file:
            head, begins = _head(file)
            same = head["made"] == made(stamp, isa, threads)
            if not same or head["records"] != digests(head["records"]):
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) != begins + head["weights"]:
            return None
        library = reload(head["object"], isa)
        if library is None:
            return None
        weights = np.frombuffer(mapped, np.uint8, head["weights"], begins)
        return Kept(head, weights, Calls(library, ["segment0"], weights, threads))
    except (OSError, ValueError, LookupError, TypeError, WriteError):
        return None


def _head(file: BinaryIO) -> tuple[Any, int]:
    """The head of a file, and where its weights begin; ValueError where it is damaged."""
    start = file.read(START)
    length, digest = FRONT.unpack(start[len(MAGIC) :]) if len(start) == START else (0, b"")
    text = file.read(min(length, SMALL))
    if start[: len(MAGIC)] != MAGIC or hashlib.sha256(text).digest() != digest:
        raise ValueError("damaged")
    return json.loads(text), page(START + length)


# ── what it was made from ─────────────────────────────────────────────────────────────────────


def made(stamp: str, isa: Isa, threads: int) -> str:
    """A digest of all that decides how a network is compiled, but the tuning records."""
    parts = (stamp, repr(isa), threads, sorted(features()), llvm_version(), HOW, _code())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """A digest of the source that plans, packs and emits; it does not change while it runs."""
    digest, top = hashlib.sha256(), Path(__file__).parents[1]
    for room in CODE:
        for path in sorted((top / room).rglob("*.py")):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def digests(names: Iterable[str]) -> dict[str, str]:
    """What tuning records hold now, by their paths in the cache."""
    folder, found = cache_dir(), {}
    for name in names:
        try:
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            found[name] = NOTHING
    return found


def place(name: str, isa: Isa, threads: int) -> Path:
    """The file of a network."""
    told = hashlib.sha256(repr((name, isa.name, threads)).encode()).hexdigest()
    return cache_dir() / FOLDER / f"{told[:24]}.kept"


def page(size: int) -> int:
    """A size in whole pages."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
