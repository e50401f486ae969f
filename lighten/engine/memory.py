"""Where in the arena each value lies: two values share bytes where they never live together."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LINE = 64  # bytes: a register of AVX-512, a cache line


def aligned(size: int) -> Array:
    """Zero bytes that begin on a line."""
    held = np.zeros(size + LINE, np.uint8)
    start = -held.ctypes.data % LINE
    return held[start : start + size]


def address(held: Array) -> int:
    """Where memory begins: what `held.ctypes.data` says, in a tenth of the time."""
    return ctypes.addressof(ctypes.c_char.from_buffer(held.data))


def rounded(size: int) -> int:
    """A size in whole lines."""
    return -(-size // LINE) * LINE


def joined(arrays: dict[str, Array]) -> tuple[Array, dict[str, int]]:
    """All arrays in one block of memory, and where each begins. What was given is then views of
    the block: nothing is held twice.
    """
    places, size = {}, 0
    for name, array in arrays.items():
        places[name] = size
        size += rounded(array.nbytes)
    held = aligned(size)
    for name, array in arrays.items():
        there = held[places[name] : places[name] + array.nbytes]
        there[...] = array.reshape(-1).view(np.uint8)
        arrays[name] = there.view(array.dtype).reshape(array.shape)
    return held, places


def offsets(
    sizes: Mapping[str, int], lives: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, int], int]:
    """Each value's place in bytes, and the bytes of all: the largest first, each in the lowest gap
    that is free for as long as it lives (first and last step, both included).

    >>> offsets({"a": 64, "b": 64, "c": 64}, {"a": (0, 1), "b": (1, 2), "c": (2, 3)})
    ({'a': 0, 'b': 64, 'c': 0}, 128)
    """
    placed: dict[str, int] = {}
    for name in sorted(sizes, key=lambda n: (-sizes[n], lives[n], n)):
        first, last = lives[name]
        taken = sorted(
            (placed[other], placed[other] + rounded(sizes[other]))
            for other in placed
            if lives[other][0] <= last and first <= lives[other][1]
        )
        placed[name] = _gap(taken, rounded(sizes[name]))
    order: Sequence[str] = list(sizes)
    total = max((placed[n] + rounded(sizes[n]) for n in order), default=0)
    return {name: placed[name] for name in order}, total


def _gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The lowest place where `size` bytes are free."""
    place = 0
    for begin, end in taken:
        if begin - place >= size:
            return place
        place = max(place, end)
    return place
