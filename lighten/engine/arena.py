"""The memory of native calls, and the calls: all that a network needs once it is compiled.

Nothing here knows of programs, plans or kernels: a network that was compiled in another process
runs on this alone (`kept`), and what is not imported takes no time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit.build import Library
from lighten.engine.memory import address, aligned

Array = np.ndarray[Any, Any]
# arena, weights; samples, which part of how many, where the parts meet
KINDS = (ctypes.c_void_p,) * 2 + (ctypes.c_int64,) * 3 + (ctypes.c_void_p,)


@dataclass(frozen=True)
class Held:
    """A value in the arena: the bytes before it for each sample, its shape, whether it is whole
    numbers (which lie there as floats).
    """

    at: int
    shape: tuple[int, ...]
    whole: bool = False

    def view(self, arena: Array, count: int) -> Array:
        """It, of so many samples, as it lies."""
        start, size = self.at * count, 4 * count * int(np.prod(self.shape))
        return arena[start : start + size].view(np.float32).reshape(count, *self.shape)


@dataclass(frozen=True)
class Room:
    """What a call works in: bytes for each sample and bytes beyond them, inputs and outputs."""

    sample: int
    beyond: int
    inputs: tuple[Held, ...]
    outputs: tuple[Held, ...]

    def bytes(self, count: int) -> int:
        """Of an arena for so many samples."""
        return self.sample * count + self.beyond


class Arena:
    """What one call of so many samples works in; its inputs and outputs are views, made once."""

    def __init__(self, room: Room, memory: Array, count: int) -> None:
        self.memory, self.count, self.address = memory, count, address(memory)
        self._inputs = [held.view(memory, count) for held in room.inputs]
        kinds = [np.dtype(np.int64 if held.whole else np.float32) for held in room.outputs]
        self._outputs = [
            (held.view(memory, count), kind) for held, kind in zip(room.outputs, kinds, strict=True)
        ]

    def enter(self, inputs: Sequence[Array]) -> None:
        """Put the inputs where they belong."""
        for view, x in zip(self._inputs, inputs, strict=True):
            view[...] = x

    def left(self) -> tuple[Array, ...]:
        """The outputs, whole numbers as integers."""
        return tuple([view.astype(kind) for view, kind in self._outputs])


class Arenas:
    """Free arenas: calls at the same time have one each."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._free: list[Arena] = []

    def take(self, count: int) -> Arena:
        """One for so many samples."""
        try:
            arena = self._free.pop()
        except IndexError:
            return Arena(self.room, aligned(self.room.bytes(count)), count)
        if arena.count == count:
            return arena
        needed, memory = self.room.bytes(count), arena.memory
        return Arena(self.room, memory if len(memory) >= needed else aligned(needed), count)

    def give(self, arena: Arena) -> None:
        """It is free again."""
        self._free.append(arena)


class Calls:
    """Native functions by name, on weights that stay where they are, each run by `threads`."""

    def __init__(
        self, library: Library, names: Sequence[str], weights: Array, threads: int
    ) -> None:
        self.threads, self._weights, self._at = threads, weights, int(weights.ctypes.data)
        self.functions = {name: library.function(name, *KINDS) for name in names}
        self._begins = {name: library.address(name) for name in names}

    def run(self, name: str, arena: Arena, count: int) -> None:
        """Call one: in this thread alone, or with the others of the pool."""
        given = (arena.address, self._at, count)
        if self.threads == 1 or not self._together(name, given):
            self.functions[name](*given, 0, 1, None)

    def _together(self, name: str, given: tuple[int, int, int]) -> bool:
        from lighten.engine.pool import POOLS

        return POOLS.of(self.threads).run(self._begins[name], *given)
