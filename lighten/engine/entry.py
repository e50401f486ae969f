"""What a network's inputs must be like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lighten.errors import InputError

Array = np.ndarray[Any, Any]
EXACT = 1 << 24  # float32 holds every whole number below


@dataclass(frozen=True)
class Entry:
    """Checks arrays before they flow in: their shapes without the batch, and the bounds of those
    that are whole numbers, by their place.
    """

    names: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    bounds: Mapping[int, int] = field(default_factory=dict)

    def usual(self, inputs: Sequence[Array]) -> int:
        """How many samples these are, where their shapes are the expected ones and nothing else is
        to be looked at; 0 where they need a closer look.
        """
        if self.bounds or len(inputs) != len(self.shapes):
            return 0
        counts = inputs[0].shape[:1]
        for x, shape in zip(inputs, self.shapes, strict=True):
            found = x.shape
            if found[1:] != shape or found[:1] != counts:
                return 0
        return counts[0] if counts else 0

    def elsewhere(self, inputs: Sequence[Array]) -> tuple[tuple[int, ...], ...]:
        """The shapes of samples, where they are others of as many axes; nothing where not."""
        found = tuple(x.shape[1:] for x in inputs)
        if found == self.shapes or len(found) != len(self.shapes):
            return ()
        ranks = [x.ndim - 1 for x in inputs] == [len(shape) for shape in self.shapes]
        return found if ranks and len({len(x) for x in inputs}) == 1 and inputs[0].size else ()

    def count(self, inputs: Sequence[Array]) -> int:
        """How many samples these are; InputError where they do not fit the program."""
        found = [x.shape for x in inputs]
        batches = {shape[:1] for shape in found}
        fits = [shape[1:] for shape in found] == list(self.shapes) and len(batches) == 1
        if not fits or batches & {(), (0,)}:
            raise InputError(f"{self.unlike(found)}.")
        for at, bound in self.bounds.items():
            self._check(at, inputs[at], bound)
        return int(found[0][0])

    def unlike(self, found: Sequence[tuple[int, ...]]) -> str:
        """What inputs must be, and what these were: a sentence without its end."""
        shapes = ", ".join(f"[n, {', '.join(map(str, shape))}]" for shape in self.shapes)
        got = ", ".join(map(str, map(list, found))) or "none"
        return f"The inputs must be {shapes}, but got {got}"

    def _check(self, at: int, x: Array, bound: int) -> None:
        if not x.size or not (x.min() < -bound or x.max() >= bound):
            return
        worst = x.max() if x.max() >= bound else x.min()
        what = "is looked up in a table" if bound < EXACT else "is held as floats"
        raise InputError(
            f"The input {self.names[at]!r} {what}: it must lie from {-bound} to {bound - 1}, "
            f"but holds {worst:g}."
        )
