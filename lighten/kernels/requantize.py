"""Sums of codes in registers become codes again, or floats: residual, activation, rounding (B8).

reference, for every sum (`program.integers`; each step rounded by itself):
    r = float32(sum) · multiplier[k]  + (float32(a) − added_zero) · added_scale, where a is added
    r = activation(r) · scale                                    where one is left to be computed
    y = rint(min(max(r, low), high)) + zero                      a byte; r itself where y is float

What it reads lies behind the bias, as `pack` puts it:

    b:   bias of every filter, int32 | multiplier of every filter, float32 | the six numbers of Ends
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.emit import F32, I32, Function, Tile, Value, integers, lanes, vector
from lighten.kernels.finish import Place, lanes_of, pixel
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv
from lighten.program.integers import Ends

Array = np.ndarray[Any, Any]
# bytes before each of the numbers
LOW, HIGH, ZERO, ADDED_ZERO, ADDED_SCALE, SCALE = range(0, 24, 4)


def pack(bias: Array, multiplier: Array, ends: Ends, width: int) -> Array:
    """What `finish` reads, as bytes: one number per filter, zeros up to `width` of them."""
    room = (0, width - len(bias))
    held = [
        np.pad(bias.astype(np.int32), room).view(np.uint8),
        np.pad(multiplier.astype(np.float32), room).view(np.uint8),
        numbers(ends),
    ]
    return np.concatenate(held)


def numbers(ends: Ends) -> Array:
    """How a sum ends, as bytes."""
    return np.concatenate(
        [
            np.array([ends.low, ends.high], np.float32).view(np.uint8),
            np.array([ends.zero], np.int32).view(np.uint8),
            np.array([ends.added_zero, ends.added_scale, ends.scale], np.float32).view(np.uint8),
        ]
    )


def finish(f: Function, conv: Conv, sums: Tile, place: Place, shape: tuple[int, int]) -> None:
    """Store sums as `kernels.finish` does, rounded where the target holds codes. Sums are words of
    int32, as registers of whichever type.
    """
    y = pixel(f["y"], conv.target, place)
    added = None if conv.residual is None else pixel(f["r"], conv.residual, place)
    (blocks, width), width_of_all = shape, conv.target.blocks * conv.target.lanes
    multipliers = f["b"] + 4 * width_of_all + place[1] * f.lane.bytes
    ends = f["b"] + 8 * width_of_all
    for at, total in enumerate(sums):
        q, o = divmod(at, blocks)
        i, j = divmod(q, width or len(sums))

        def within(layout: Blocked, o: int = o, i: int = i, j: int = j) -> int:
            return o * layout.block + i * layout.row + j * layout.pixel

        r = scaled(f, total, f.load(multipliers, f.lane, o * f.lane.bytes))
        if added is not None and conv.residual is not None:
            a = f.load(added + within(conv.residual), lanes_of(conv.residual))
            r = r + taken(f, a, ends)
        stored = ended(f, r, conv.target.size, ends, conv.activation)
        f.store(stored, y, within(conv.target))


def scaled(f: Function, total: Value, multiplier: Value) -> Value:
    """A register of sums times their multipliers."""
    return integers.real(f, integers.cast(f, total, vector(I32, f.isa.lanes))) * multiplier


def taken(f: Function, a: Value, ends: Value) -> Value:
    """What is added, in steps of the result: codes, or floats."""
    if a.type.element != F32:
        a = integers.real(f, integers.unsigned(f, a)) - f.load_spread(ends, f.lane, ADDED_ZERO)
    return a * f.load_spread(ends, f.lane, ADDED_SCALE)


def ended(f: Function, r: Value, size: int, ends: Value, activation: str = "") -> Value:
    """A register of results, activated, in numbers of so many bytes."""
    if activation:
        r = FUNCTIONS[activation](f, r)
    if size == 4:
        return r
    return codes(f, r * f.load_spread(ends, f.lane, SCALE) if activation else r, ends)


def codes(f: Function, r: Value, ends: Value) -> Value:
    """A register of floats in steps of the result as bytes."""
    return integers.unsaturated(f, words(f, r, ends))


def words(f: Function, r: Value, ends: Value) -> Value:
    """The same as words of 32 bits."""
    low, high = (f.load_spread(ends, f.lane, at) for at in (LOW, HIGH))
    r = bounded(f, r, low, high)
    return integers.nearest(f, r) + f.load_spread(ends, vector(I32, f.isa.lanes), ZERO)


def bounded(f: Function, r: Value, low: Value, high: Value) -> Value:
    """What lies below `low` or above `high` as that; two instructions on x86."""
    r = f.select(lanes.compare(f, "ogt", r, low), r, low)
    return f.select(lanes.compare(f, "olt", r, high), r, high)
