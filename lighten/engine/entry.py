"""What a program's inputs must be like, and what of them is whole numbers."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from lighten.errors import InputError
from lighten.program.ir import Program
from lighten.program.spec import MOVES

Array = np.ndarray[Any, Any]
EXACT = 1 << 24  # float32 holds every whole number below


class Entry:
    """Checks arrays before they flow in; `whole` names the values that are whole numbers."""

    def __init__(self, program: Program, whole: Container[str]) -> None:
        self.shapes = [program.values[name].shape for name in program.inputs]
        tables = _tables(program)
        self.bounds = {
            at: tables.get(name, EXACT) for at, name in enumerate(program.inputs) if name in whole
        }
        self.names = program.inputs

    def count(self, inputs: Sequence[Array]) -> int:
        """How many samples these are; InputError where they do not fit the program."""
        found = [tuple(np.shape(x)) for x in inputs]
        batches = {shape[:1] for shape in found}
        fits = [shape[1:] for shape in found] == self.shapes and len(batches) == 1
        if not fits or batches & {(), (0,)}:
            shapes = ", ".join(f"[n, {', '.join(map(str, shape))}]" for shape in self.shapes)
            got = ", ".join(map(str, map(list, found))) or "none"
            raise InputError(f"The inputs must be {shapes}, but got {got}.")
        for at, bound in self.bounds.items():
            self._check(at, inputs[at], bound)
        return int(found[0][0])

    def _check(self, at: int, x: Array, bound: int) -> None:
        if not x.size or not (x.min() < -bound or x.max() >= bound):
            return
        worst = x.max() if x.max() >= bound else x.min()
        what = "is looked up in a table" if bound < EXACT else "is held as floats"
        raise InputError(
            f"The input {self.names[at]!r} {what}: it must lie from {-bound} to {bound - 1}, "
            f"but holds {worst:g}."
        )


def _tables(program: Program) -> Mapping[str, int]:
    """How long the shortest table is in which each input is looked up, as it is or moved."""
    makers = program.producers()
    found: dict[str, int] = {}
    for op in program.ops:
        if op.kind != "gather":
            continue
        first = op.inputs[0]
        shape = (program.values if first in program.values else program.arrays)[first].shape
        name = op.inputs[1]
        while name in makers and makers[name].kind in MOVES and len(makers[name].inputs) == 1:
            name = makers[name].inputs[0]
        if name in program.inputs:
            extent = shape[op["axis"]]
            found[name] = min(extent, found.get(name, extent))
    return found
