"""A sparse matrix times one vector: as many filters at a time as a register has lanes (row G27).

reference, one sample:
    for k, (c, w) in the weights of filter k that are not zero:
        y[k] += w · x[c]

                filter 0   1   2   …  15          every filter of a group has as many entries as the
    step 0       c, w    c, w            …         longest of them, filled up with zeros; a step is
    step 1       c, w                             one register of numbers, one of places (16 bits),
    …                                             and one gather of x

A gathered register takes about as many cycles as it has lanes. So it is ahead of the dense product
where that waits for its weights to come from memory, or where few are left: at 10 % of 4096 · 4096
six times, of 1024 · 1024 1.4 times; at 25 % only the former.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I32, I64, POINTER, Function, Isa, Tile, Type, Value, lanes, vector
from lighten.kernels import costs, framed, share
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv, Window

Array = np.ndarray[Any, Any]
MOST = 1 << 16  # channels that 16 bits can name
PLACE = Type("int", 16)
TAKEN, BEGUN = 1.25, 3000.0  # cycles of each number that is gathered; of copies around it


@dataclass(frozen=True)
class Schedule:
    """How many steps all groups of filters have together: what there is to read."""

    steps: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """A 1 × 1 convolution of float32 on one pixel: both sides are vectors."""
    sides = [conv.source, conv.target, *([conv.residual] if conv.residual else [])]
    pixel = all((side.height, side.width, side.halo) == (1, 1, Halo()) for side in sides)
    floats = all(side.size == 4 and side.lanes == isa.lanes for side in sides)
    few = conv.source.channels <= MOST
    return pixel and floats and few and conv.groups == 1 and conv.window == Window((1, 1))


halo, workspace = framed.halo, framed.workspace


def schedule(weight: Array, conv: Conv) -> Schedule:
    """The steps that these weights take."""
    return Schedule(int(_lengths(weight, conv).sum()))


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    read = schedule.steps * _step(isa.lanes)
    return BEGUN + schedule.steps * isa.lanes * TAKEN + costs.far(read)


def _step(lanes: int) -> int:
    """Bytes of a register of numbers and its places."""
    return lanes * (4 + PLACE.bytes)


def _lengths(weight: Array, conv: Conv) -> Array:
    """How many steps each group of filters takes."""
    counts = np.count_nonzero(weight.reshape(len(weight), -1), axis=1)
    lanes = conv.target.lanes
    return np.asarray(np.pad(counts, (0, -len(counts) % lanes)).reshape(-1, lanes).max(1))


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels, 1, 1]` as bytes: where each group begins, and where the last ends; then
    each group's steps.
    """
    lanes, lengths = conv.target.lanes, _lengths(weight, conv)
    flat = weight.reshape(len(weight), -1)
    table = _table(len(lengths))
    starts = table + np.concatenate([[0], np.cumsum(lengths)]) * _step(lanes)
    held = np.zeros(starts[-1], np.uint8)
    held[: 8 * len(starts)] = starts.astype(np.int64).view(np.uint8)
    row, channel = np.nonzero(flat)
    first = np.searchsorted(row, row)
    at = starts[row // lanes] + (np.arange(len(row)) - first) * _step(lanes)
    lane = row % lanes
    numbers = flat[row, channel].astype(np.float32).view(np.uint8).reshape(-1, 4)
    places = channel.astype(np.uint16).view(np.uint8).reshape(-1, 2)
    held[(at + 4 * lane)[:, None] + np.arange(4)] = numbers
    held[(at + 4 * lanes + 2 * lane)[:, None] + np.arange(2)] = places
    return held


def _table(groups: int) -> int:
    """Bytes of the table of beginnings, in whole lines."""
    return math.ceil(8 * (groups + 1) / 64) * 64


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: vectors, packed weights, bias, what is added, results; r
    is not read where nothing is added.
    """
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    lane, size = f.lane, _step(isa.lanes)

    def group(n: Value, g: Value) -> None:
        x = f["x"] + n * conv.source.sample
        begin, end = (f.load(f["w"] + g * 8, I64, 8 * at) for at in range(2))

        def step(e: Value, sums: Tile) -> Tile:
            numbers = f.load(f["w"] + e, lane)
            places = f.load(f["w"] + e, vector(PLACE, isa.lanes), lane.bytes)
            return [f.fma(_gathered(f, x, places), numbers, sums[0])]

        (total,) = f.loop(begin, end, step, [f.load(f["b"] + g * lane.bytes, lane)], step=size)
        if conv.residual is not None:
            total = total + f.load(f["r"] + n * conv.residual.sample + g * lane.bytes, lane)
        y = f["y"] + n * conv.target.sample + g * lane.bytes
        f.store(FUNCTIONS[conv.activation](f, total), y)

    share.each(f, (f["n"], conv.target.blocks), group)
    return f


def _gathered(f: Function, x: Value, places: Value) -> Value:
    """The numbers of x at these indices."""
    wide = vector(I32, f.isa.lanes)
    text = f"zext {places.type.text} {places.name} to {wide.text}"
    indices = f.instruction(text, wide)
    return lanes.load_indexed(f, x, indices)
