"""Quantized programs in whole numbers: what int8 kernels compute, bit for bit (B1, B8).

A layer of codes reads u8 activations (one scale s and zero point z) and s8 weights (a scale for
each output channel k), and sums in int32:

    acc = Σ w · (x − zx) + round(b / (sx · sw_k))
    r   = float32(acc) · m_k                m_k = float32(sx · sw_k / sy)
        + float32(a − za) · float32(sa / sy)    where a is added; each step rounded by itself
    y   = clip(rint(r) + zy, low, high)     halves to even; ReLU and ReLU6 are bounds

A result in floats has sy = 1 and no rounding. An activation that is no bound is computed in floats
before it is rounded, with m_k = float32(sx · sw_k). Requantization by a float32 multiplier is the
24-bit fixed-point multiplier and shift of row B8, in one multiplication of the vector unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.formats.integer import INT8_WEIGHT, UINT8, Scale
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.spec import operands, weights

Array = np.ndarray[Any, Any]
BOUNDS = ("", "relu", "relu6")  # activations that only cut off
LARGEST = 2**31 - 1
BIAS = 2.0**23  # the bias of a filter of zeros, which has no scale of its own


@dataclass(frozen=True)
class Ends:
    """How a sum ends: `low` and `high` are counted from the code `zero`; of what is added,
    `added_zero` is taken off and the rest scaled; `scale` turns what was activated into codes.
    """

    low: float = -math.inf
    high: float = math.inf
    zero: int = 0
    added_zero: int = 0
    added_scale: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of codes: weights int8, bias int32 with the zero point of x
    folded in, multipliers float32 per output channel, and what follows. `activation` is what is
    left to be computed in floats, `coded` whether the result is codes.
    """

    weight: Array
    bias: Array
    multiplier: Array
    ends: Ends
    activation: str
    coded: bool


def coded(holder: Value | Stored | None) -> bool:
    """Whether a value is unsigned bytes with one scale."""
    if holder is None or holder.format != UINT8 or holder.params is None:
        return False
    return np.ndim(holder.params.scale) == 0 and isinstance(holder, Value)


def is_layer(op: Op, program: Program) -> bool:
    """Whether a convolution or linear layer reads codes and int8 weights, and no sum can exceed 32
    bits: what `layer` can be asked of.
    """
    if op.kind not in ("conv", "linear") or not coded(program.values.get(op.inputs[0])):
        return False
    stored = program.arrays[op.inputs[1]]
    if stored.format != INT8_WEIGHT or stored.params is None or stored.params.axis != 0:
        return False
    made = layer(op, program)
    rows = np.abs(made.weight.reshape(len(made.weight), -1).astype(np.int64)).sum(1)
    return bool((np.abs(_bias(op, program)) + 255 * rows <= LARGEST).all())


def layer(op: Op, program: Program) -> Layer:
    """The numbers of a layer, from its weights and the scales around it."""
    x, y = program.values[op.inputs[0]], program.values[op.output]
    assert x.params is not None, "reads codes"
    codes, to_codes = program.arrays[op.inputs[1]].codes, coded(y)
    activation = op.get("activation", "")
    bound = to_codes and activation in BOUNDS
    step = scale_of(y) if to_codes else 1.0
    whole = np.clip(_bias(op, program), -LARGEST, LARGEST)
    multiplier = (steps(op, program) / (step if bound else 1.0)).astype(np.float32)
    ends = _ends(op, program, step if bound or not to_codes else 1.0)
    if to_codes:
        ends = replace(_bounded(ends, y, activation), scale=_single(1.0 if bound else 1 / step))
    left = "" if bound else activation
    return Layer(codes, whole.astype(np.int32), multiplier, ends, left, to_codes)


def scale_of(value: Value) -> float:
    """The step between codes."""
    assert value.params is not None
    return float(value.params.scale)


def zero_of(value: Value) -> int:
    """The code of 0."""
    assert value.params is not None
    return int(value.params.zero_point)


def _single(number: float) -> float:
    return float(np.float32(number))


def steps(op: Op, program: Program) -> Array:
    """What one unit of each channel's sum stands for, in float64: sx · sw_k; where all weights of
    a filter are zeros, what holds its bias.
    """
    stored = program.arrays[op.inputs[1]]
    assert stored.params is not None
    found = scale_of(program.values[op.inputs[0]]) * np.asarray(stored.params.scale, np.float64)
    empty = ~stored.codes.reshape(len(stored.codes), -1).any(1)
    alone = np.maximum(np.abs(real_bias(op, program)), 1e-30) / BIAS
    return np.asarray(np.where(empty, alone, found))


def real_bias(op: Op, program: Program) -> Array:
    """The bias of each channel, zeros where there is none; float64."""
    name = weights(op)[1]
    count = len(program.arrays[op.inputs[1]].codes)
    held = program.arrays[name].decode() if name else 0.0
    return np.asarray(np.broadcast_to(np.asarray(held, np.float64), count))


def _bias(op: Op, program: Program) -> Array:
    """round(b / (sx · sw_k)) − zx · Σ w, as float64: whole, but of any size."""
    codes = program.arrays[op.inputs[1]].codes
    rows = codes.reshape(len(codes), -1).astype(np.int64).sum(1)
    whole = np.rint(real_bias(op, program) / steps(op, program))
    return np.asarray(whole - zero_of(program.values[op.inputs[0]]) * rows)


def _ends(op: Op, program: Program, step: float) -> Ends:
    """What an added value needs, in units of `step`."""
    added = program.values.get(op.get("residual") or "")
    if added is None:
        return Ends()
    if coded(added):
        return Ends(added_zero=zero_of(added), added_scale=_single(scale_of(added) / step))
    return Ends(added_scale=_single(1 / step))


def _bounded(ends: Ends, y: Value, activation: str) -> Ends:
    """The bounds of codes, and of ReLU or ReLU6."""
    zero = zero_of(y)
    low, high = 0.0 - zero, 255.0 - zero
    if activation in ("relu", "relu6"):
        low = 0.0
    if activation == "relu6":
        high = min(high, float(np.rint(np.float32(6.0) / np.float32(scale_of(y)))))
    return replace(ends, low=low, high=high, zero=zero)


def in_codes(op: Op, program: Program) -> bool:
    """Whether an op is computed in whole numbers: layers, sums and means of codes."""
    if op.kind in ("conv", "linear"):
        return is_layer(op, program)
    if op.kind not in ("binary", "pool", "reduce"):
        return False
    flowing = [program.values.get(name) for name in (*operands(op), op.output)]
    if not all(coded(value) for value in flowing):
        return False
    if op.kind == "binary":
        return op["function"] in ("add", "mul") and op.get("activation", "") in BOUNDS
    if op.kind == "pool":  # every window of as many numbers
        whole = op["include_pad"] or not any(op["pads"])
        return op["function"] == "average" and bool(whole) and not op["ceil"]
    return bool(op["function"] == "mean")


def factors(op: Op, program: Program) -> tuple[float, ...]:
    """What a sum, product or mean of codes is multiplied with, float32: for each value that is
    added, or once.
    """
    x = [scale_of(program.values[name]) for name in operands(op)]
    y = scale_of(program.values[op.output])
    if op.kind == "binary" and op["function"] == "mul":
        return (_single(x[0] * x[1] / y),)
    if op.kind == "binary":
        return tuple(_single(one / y) for one in x)
    return (_single(x[0] / (y * count(op, program))),)


def count(op: Op, program: Program) -> int:
    """How many numbers a mean is of."""
    if op.kind == "pool":
        return math.prod(op["kernel"])
    shape = program.values[op.inputs[0]].shape
    return math.prod(shape[axis] for axis in op["axes"])


def ends_of(op: Op, program: Program) -> Ends:
    """The bounds of what an op without weights gives."""
    return _bounded(Ends(), program.values[op.output], op.get("activation", ""))


def encoded(x: Array, value: Value) -> Array:
    """Real numbers as the codes of a value."""
    assert value.params is not None
    return np.asarray(UINT8.encode(np.asarray(x, np.float32), _plain(value.params))).astype(
        np.uint8
    )


def decoded(x: Array, value: Value | None) -> Array:
    """Codes as the real numbers that they stand for; what is no code, as it is."""
    if value is None or not coded(value) or value.params is None:
        return x
    return np.asarray(UINT8.decode(x.astype(np.float32), _plain(value.params)), np.float32)


def _plain(params: Scale) -> Scale:
    return Scale(np.float32(params.scale), np.float32(params.zero_point))


def codes_of(r: Array, ends: Ends) -> Array:
    """Real numbers in steps of the result as codes."""
    found = np.clip(np.rint(r), np.float32(ends.low), np.float32(ends.high)) + ends.zero
    return np.asarray(found).astype(np.uint8)
