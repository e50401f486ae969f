"""Direct convolution of codes: u8 activations times s8 weights, summed in int32 (rows B1, B8).

    reference, one sample:
        for k, i, j:
            sum = b[k] + Σ_c Σ_r Σ_s w[k, c, r, s] · x[c, i · stride + r, j · stride + s]
            y[k, i, j] = as `requantize` ends it

Four channels of a pixel lie in a word, and the register block is that of `direct`, whose channels
are such words:

                 filters 0…15   16…31            per four channels, one load of each filter
    pixel j    [  sum  0    |  sum  1  ]         register and one broadcast of each pixel feed
    pixel j+1  [  sum  2    |  sum  3  ]         columns × blocks dot products of four
    …

Weights of channels that are not there are zeros: what lies beside the last channel may be
anything. The halo of x holds its zero point, which the bias takes off again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lighten.emit import I32, Function, Isa, Value, integers, vector
from lighten.kernels import direct, framed, requantize
from lighten.kernels.direct import Schedule
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
WIDE = 4  # registers that hold bytes made wide, where there is no dot product of four
SLOWER = 4.0  # and times the instructions


def accepts(conv: Conv, isa: Isa) -> bool:
    """Any convolution of codes without groups whose results are blocked by the registers' lanes."""
    codes = conv.source.size == 1 and conv.source.lanes % 4 == 0
    return codes and conv.groups == 1 and conv.target.lanes == isa.lanes


def in_words(conv: Conv) -> Conv:
    """The convolution whose channels are words of four."""
    return replace(conv, source=words(conv.source))


def words(layout: Blocked) -> Blocked:
    """Codes as words of four channels."""
    channels, lanes = -(-layout.channels // 4), layout.lanes // 4
    return replace(layout, channels=channels, lanes=lanes, size=4)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit."""
    free = 0 if integers.has_dot(isa) else WIDE
    return direct.schedules(in_words(conv), replace(isa, registers=isa.registers - free))


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    found = direct.cycles(in_words(conv), schedule, isa)
    return found if integers.has_dot(isa) else SLOWER * found


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels, rows, columns]` int8 as `direct` packs words of four channels."""
    held = np.moveaxis(weight, 1, -1).astype(np.int8)
    even = np.pad(held, [(0, 0)] * 3 + [(0, -held.shape[-1] % 4)])
    packed = np.moveaxis(np.ascontiguousarray(even).view(np.float32), -1, 1)
    return direct.pack(packed, in_words(conv), schedule)


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, b as `requantize.pack` makes it; r is not read where
    nothing is added.
    """
    how = direct.Arithmetic(multiply, requantize.finish)
    return direct.emit(name, in_words(conv), schedule, isa, how)


def multiply(f: Function, pixel: Value, weights: Value, total: Value) -> Value:
    """A dot product of four in registers that LLVM takes for floats: a cast costs nothing."""
    kind = vector(I32, f.isa.lanes)
    held = (integers.cast(f, value, kind) for value in (total, pixel, weights))
    return integers.cast(f, integers.dot(f, *held), f.lane)
