"""Running a program of codes in NumPy as the engine does: what int8 kernels are compared with.

Layers, sums and means of codes are computed in whole numbers as `integers` says, bit for bit; all
else in float32 on what the codes stand for, rounded again where its result is codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.errors import ProgramError
from lighten.program.integers import (
    coded,
    codes_of,
    count,
    decoded,
    encoded,
    ends_of,
    factors,
    in_codes,
    layer,
    real_bias,
    steps,
    zero_of,
)
from lighten.program.ir import Op, Program
from lighten.program.reference import REFERENCE
from lighten.program.reference.elementwise import FUNCTIONS
from lighten.program.spec import operands, weights

Array = np.ndarray[Any, Any]


def emulate(program: Program, *inputs: Array) -> tuple[Array, ...]:
    """The outputs `[n, …]` of the inputs `[n, …]`, as real numbers.

    `program` may be one that the engine has planned: with what is added as attribute `residual`,
    crops and shuffles. ProgramError for other ops that only the engine knows.
    """
    found: dict[str, Array] = {}

    def arrive(name: str, x: Array) -> None:
        value = program.values[name]
        found[name] = encoded(x, value) if coded(value) and x.dtype != np.uint8 else x

    for name, x in zip(program.inputs, inputs, strict=True):
        arrive(name, x if x.dtype.kind in "iu" else x.astype(np.float32))
    for op in program.ops:
        if in_codes(op, program):
            named = [*operands(op), op.get("residual", "")]
            given = [found[name] for name in named if name in found]
            arrive(op.output, EMULATED[op.kind](op, program, given))
        else:
            arrive(op.output, _in_floats(op, program, found))
    return tuple(decoded(found[name], program.values[name]) for name in program.outputs)


def _layer(op: Op, program: Program, given: list[Array]) -> Array:
    """Products of codes in float64, in which they are whole numbers."""
    made = layer(op, program)
    x = given[0].astype(np.float64) - zero_of(program.values[op.inputs[0]])
    bare = replace(op, attributes={**op.attributes, "activation": ""})
    acc = REFERENCE[op.kind](bare, x, made.weight.astype(np.float64), None)
    axis = 1 if op.kind == "conv" else acc.ndim - 1
    along = tuple(-1 if d == axis else 1 for d in range(acc.ndim))
    whole = np.rint(real_bias(op, program) / steps(op, program))
    total = (acc + whole.reshape(along)).astype(np.int64)
    r = total.astype(np.float32) * made.multiplier.reshape(along)
    if len(given) > 1:
        off = given[1].astype(np.float32) - np.float32(made.ends.added_zero)
        r = r + off * np.float32(made.ends.added_scale)
    if made.activation:
        r = np.asarray(FUNCTIONS[made.activation](r), np.float32)
    if not made.coded:
        return np.asarray(r)
    return codes_of(r * np.float32(made.ends.scale) if made.activation else r, made.ends)


def _binary(op: Op, program: Program, given: list[Array]) -> Array:
    off = [
        x.astype(np.float32) - np.float32(zero_of(program.values[name]))
        for x, name in zip(given, op.inputs, strict=True)
    ]
    by = [np.float32(factor) for factor in factors(op, program)]
    r = off[0] * off[1] * by[0] if len(by) == 1 else off[0] * by[0] + off[1] * by[1]
    return codes_of(r, ends_of(op, program))


def _mean(op: Op, program: Program, given: list[Array]) -> Array:
    x = given[0].astype(np.float64) - zero_of(program.values[op.inputs[0]])
    total = np.rint(REFERENCE[op.kind](op, x) * count(op, program)).astype(np.float32)
    return codes_of(total * np.float32(factors(op, program)[0]), ends_of(op, program))


EMULATED: Mapping[str, Callable[[Op, Program, list[Array]], Array]] = {
    "conv": _layer,
    "linear": _layer,
    "binary": _binary,
    "pool": _mean,
    "reduce": _mean,
}


# ── in floats ─────────────────────────────────────────────────────────────────────────────────


def _in_floats(op: Op, program: Program, found: Mapping[str, Array]) -> Array:
    """An op on the real numbers that its inputs stand for."""

    def real(name: str) -> Array:
        if name in found:
            return decoded(found[name], program.values[name])
        held = program.arrays[name].decode()
        return (held if held.dtype.kind in "iu" else held.astype(np.float32))[None]

    if op.kind in JOINED:
        return JOINED[op.kind](op, real(op.inputs[0]), program.values[op.output].shape)
    if op.kind not in REFERENCE:
        raise ProgramError(f"{op.kind!r} {op.name!r} cannot be emulated.", "Run it in the engine.")
    held = [real(name)[0] if name else None for name in weights(op)]
    residual, active = op.get("residual", ""), op.get("activation", "")
    bare = replace(op, attributes={**op.attributes, "activation": ""})
    y = np.asarray(REFERENCE[op.kind](bare, *map(real, operands(op)), *held))
    y = y + real(residual) if residual else y
    return np.asarray(FUNCTIONS[active](y)) if active else y


def _crop(op: Op, x: Array, shape: tuple[int, ...]) -> Array:
    """Slices of an image, and the padding around what is left."""
    cut, low, high = x, op["pads"][:3], op["pads"][3:]
    for axis, (begin, step) in enumerate(zip(op["begin"], op["steps"], strict=True)):
        size = shape[axis] - low[axis] - high[axis]
        cut = cut.take(range(begin, begin + size * step, step), axis + 1)
    return np.pad(cut, [(0, 0), *zip(low, high, strict=True)], constant_values=op["value"])


def _shuffle(op: Op, x: Array, shape: tuple[int, ...]) -> Array:
    split = x.reshape(len(x), op["groups"], -1, *x.shape[2:])
    return split.swapaxes(1, 2).reshape(x.shape)


# what only the engine's programs hold
JOINED: Mapping[str, Callable[[Op, Array, tuple[int, ...]], Array]] = {
    "crop": _crop,
    "shuffle": _shuffle,
}
