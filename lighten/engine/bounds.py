"""What a program asks of its inputs: their shapes, and how large whole numbers may be."""

from __future__ import annotations

from collections.abc import Container, Mapping

from lighten.engine.entry import EXACT, Entry
from lighten.program.ir import Program
from lighten.program.spec import MOVES


def entry(program: Program, whole: Container[str]) -> Entry:
    """The check of a program's inputs; `whole` names the values that are whole numbers."""
    tables, names = _tables(program), tuple(program.inputs)
    bounds = {at: tables.get(name, EXACT) for at, name in enumerate(names) if name in whole}
    return Entry(names, tuple(program.values[name].shape for name in names), bounds)


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
