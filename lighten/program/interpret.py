"""Running a program in plain NumPy: slow, exact, and what every backend is compared with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.errors import ProgramError
from lighten.formats.integer import Float32
from lighten.program.ir import Program, Value
from lighten.program.reference import REFERENCE
from lighten.program.spec import integer_values, operands, weights

Array = np.ndarray[Any, Any]


def interpret(program: Program, *inputs: Array, dtype: Any = np.float64) -> tuple[Array, ...]:
    """The outputs `[n, …]` for inputs `[n, …]`, computed in `dtype`.

    Inputs and outputs are real numbers; a value with an integer format is rounded to it.
    """
    found = activations(program, *inputs, keep=program.outputs, dtype=dtype)
    return tuple(found[name] for name in program.outputs)


def activations(
    program: Program, *inputs: Array, keep: Collection[str], dtype: Any = np.float64
) -> dict[str, Array]:
    """The values named in `keep`, `[n, …]` each, as real numbers."""
    if len(inputs) != len(program.inputs):
        raise ProgramError(
            f"The program takes {len(program.inputs)} input(s), but got {len(inputs)}."
        )
    whole = integer_values(program)
    last = last_reads(program)
    flowing: dict[str, Array] = {}
    kept: dict[str, Array] = {}

    def arrive(name: str, x: Array) -> None:
        flowing[name] = rounded(x, program.values[name])
        if name in keep:
            kept[name] = flowing[name]

    for name, x in zip(program.inputs, inputs, strict=True):
        if x.shape[1:] != program.values[name].shape:
            raise ProgramError(
                f"Input {name!r} must be [n, {', '.join(map(str, program.values[name].shape))}], "
                f"but got {list(x.shape)}."
            )
        arrive(name, x if name in whole else x.astype(dtype))
    for at, op in enumerate(program.ops):
        flow = operands(op)
        given = [
            flowing[name] if name in flowing else _real(program, name, dtype)[None] for name in flow
        ]
        held = [_real(program, name, dtype) if name else None for name in weights(op)]
        arrive(op.output, REFERENCE[op.kind](op, *given, *held))
        for name in set(flow):
            if last.get(name) == at:
                flowing.pop(name, None)
    return kept


def last_reads(program: Program) -> dict[str, int]:
    """Value name → the index of the op that reads it last: after it, the memory is free."""
    return {name: at for at, op in enumerate(program.ops) for name in operands(op)}


def rounded(x: Array, value: Value) -> Array:
    """`x` as the value's format holds it, still as real numbers."""
    if isinstance(value.format, Float32) or value.params is None:
        return x
    params = value.params
    if params.axis is not None:
        params = replace(params, axis=params.axis + 1)  # the batch stands before it
    return np.asarray(value.format.decode(value.format.encode(x, params), params))


def _real(program: Program, name: str, dtype: Any) -> Array:
    decoded = program.arrays[name].decode()
    return decoded if np.issubdtype(decoded.dtype, np.integer) else decoded.astype(dtype)
