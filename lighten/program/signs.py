"""Programs with signs: which layers multiply signs by signs, which values are signs (B16, B18).

    x (signs) ─ conv, weights of signs ─ y        32 products: exclusive or, count of bits

Weights count where they are sums of signs (`formats.signs.Binary`) or ternary; elsewhere, and where
activations are real, the numbers that they stand for are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.formats.integer import FLOAT32
from lighten.formats.signs import SIGN, TERNARY, Binary
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.spec import weights

Array = np.ndarray[Any, Any]
# what gives some of its input's numbers, in another order
MOVES = ("reshape", "transpose", "slice", "expand")


@dataclass(frozen=True)
class Factors:
    """A layer of signs: `[filters, channels, rows, columns, planes]` weights of −1, 0 and 1, what
    each plane of a filter is multiplied with, and its bias; `masked` where weights may be 0.
    """

    weight: Array
    scale: Array
    shift: Array
    masked: bool


def signed(holder: Value | Stored | None) -> bool:
    """Whether a value is signs of one scale."""
    if holder is None or holder.format != SIGN or holder.params is None:
        return False
    return isinstance(holder, Value) and holder.params.axis is None


def has_signs(program: Program) -> bool:
    """Whether any value is rounded to signs."""
    return any(signed(value) for value in program.values.values())


def counts(op: Op, program: Program) -> bool:
    """Whether a convolution or linear layer can be computed by counting signs that differ."""
    if op.kind not in ("conv", "linear") or not signed(program.values.get(op.inputs[0])):
        return False
    stored, rank = program.arrays[op.inputs[1]], len(program.values[op.inputs[0]].shape)
    few = isinstance(stored.format, Binary) or stored.format == TERNARY
    if not few or stored.params is None or stored.params.axis != 0 or op.get("groups", 1) != 1:
        return False
    return rank in (2, 3) if op.kind == "conv" else rank == 1


def factors(op: Op, program: Program) -> Factors:
    """The numbers of a layer of signs."""
    stored, x = program.arrays[op.inputs[1]], program.values[op.inputs[0]]
    assert stored.params is not None and x.params is not None, "counts signs"
    codes, scale = stored.codes, np.asarray(stored.params.scale, np.float32)
    if isinstance(stored.format, Binary):
        planes = np.arange(stored.format.planes)
        weight = ((codes[..., None] >> planes & 1) * 2 - 1).astype(np.int8)
    else:
        weight, scale = codes[..., None], scale[:, None]
    shape = {2: (1, 1), 3: (1, codes.shape[-1]), 4: codes.shape[2:]}[codes.ndim]
    weight = weight.reshape(*codes.shape[:2], *shape, -1)
    name = weights(op)[1]
    shift = program.arrays[name].decode() if name else np.zeros(len(codes), np.float32)
    masked = not isinstance(stored.format, Binary)
    return Factors(weight, scale * np.float32(x.params.scale), shift, masked)


def spread(program: Program) -> Program:
    """What only moves signs, and the largest of some, are signs too: the same numbers."""
    values = dict(program.values)
    for op in program.ops:
        moves = op.kind in MOVES or (op.kind == "pool" and op["function"] == "max")
        source = values.get(op.inputs[0])
        if moves and source is not None and signed(source) and values[op.output].format == FLOAT32:
            values[op.output] = replace(values[op.output], format=SIGN, params=source.params)
    return program.changed(values=values)
