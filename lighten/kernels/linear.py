"""Rows times a packed matrix: linear layers over tokens (G1, G5).

    reference, one sample:
        for t, k:
            y[t, k] = activation(b[k] + Σ_c x[t, c] · w[k, c] + r[t, k])

A register block (`block.py`) is `rows` rows by `blocks` registers of filters:

             filters 0…15   16…31
    row t    [  sum  0    |  sum  1  ]
    row t+1  [  sum  2    |  sum  3  ]
    …

The panel of filters is the outer loop: it is read from afar once and stays near while the rows of
all samples pass. Weights are packed in the order in which they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.block import (
    FLOATS,
    LINE,
    PAIRS,
    READY,
    Ahead,
    Columns,
    Numbers,
    Rows,
    even,
    products,
    rounds,
    tallest,
)
from lighten.kernels.functions import CHEAP, FUNCTIONS
from lighten.kernels.strided import Strided

Array = np.ndarray[Any, Any]
NEAR = 5 << 17  # bytes of rows that stay in the second cache beside a panel
START, ROUNDED = 400, 4  # cycles of another step, and of rounding two registers to pairs
FAR = 4  # loads from near that one from the next cache takes as long as


@dataclass(frozen=True)
class Linear:
    """`source` is `[rows, channels]`; `target` and `residual`, `[rows, filters]`, lie in rows.
    Where it is `paired`, a channel of source and weights is two of them in bfloat16 (`rounding`).
    """

    source: Strided
    target: Strided
    activation: str = ""
    residual: Strided | None = None
    paired: bool = False

    @property
    def even(self) -> bool:
        """Whether the rows of all samples are at the same step, and so can be run through as
        one.
        """
        held = (self.source, self.target, *([self.residual] if self.residual else []))
        return all(x.sample == x.shape[0] * x.strides[0] for x in held)


@dataclass(frozen=True)
class Schedule:
    """The register block: `blocks` registers of filters by `rows` rows."""

    blocks: int
    rows: int


def schedule(op: Linear, isa: Isa) -> Schedule:
    """The block that is predicted to take the fewest cycles, of up to four registers of filters:
    one row at a time would leave no more than their loads to do.
    """
    registers, count = math.ceil(op.target.shape[1] / isa.lanes), op.source.shape[0]

    def made(blocks: int) -> Schedule:
        most = tallest(blocks, isa)
        return Schedule(blocks, even(count, most) if count > 1 else most)

    def cycles(one: Schedule) -> float:
        sums = one.blocks * one.rows
        step = max(sums, one.blocks + one.rows, READY, FAR * one.blocks) / 2
        return step * math.ceil(count / one.rows) * math.ceil(registers / one.blocks)

    options = [made(blocks) for blocks in range(1, min(registers, 4) + 1)]
    return min(options, key=lambda one: (cycles(one), -one.blocks))


def better_paired(op: Linear, isa: Isa) -> bool:
    """Whether half the products, two a cycle, save more than rounding the rows is predicted to
    cost.
    """
    (count, channels), filters = op.source.shape, op.target.shape[1]
    saved = count * channels * math.ceil(filters / isa.lanes) / 2
    return saved / 2 > START + ROUNDED * count * math.ceil(channels / (2 * isa.lanes))


def pack(weight: Array, schedule: Schedule, isa: Isa) -> Array:
    """`[filters, channels]` as `[panel, channel, filter]`, zeros for filters that are not there."""
    panel = schedule.blocks * isa.lanes
    filters, channels = weight.shape
    wide = np.zeros((math.ceil(filters / panel) * panel, channels), np.float32)
    wide[:filters] = weight
    return np.ascontiguousarray(wide.reshape(-1, panel, channels).transpose(0, 2, 1))


@dataclass(frozen=True)
class How:
    """What is multiplied, and how the sums of a tile are stored."""

    numbers: Numbers
    finish: Callable[[Function, Linear, Tile, tuple[Index, Index, Value], int], None]


def emit(name: str, op: Linear, schedule: Schedule, isa: Isa, other: How | None = None) -> Function:
    """The kernel `name(x, w, b, r, y, n)`: rows, packed weights, bias in whole registers, what is
    added, results; r is not read where nothing is added. `other` numbers than floats and pairs
    have a way of their own.
    """
    how = other or How(PAIRS if op.paired else FLOATS, finish)
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    (count, channels), filters = op.source.shape, op.target.shape[1]
    panel = schedule.blocks * isa.lanes
    size = 4 * panel * channels  # bytes of a panel
    samples, part = near(op, schedule)
    full, left = divmod(count, schedule.rows)
    parts = math.ceil(count / schedule.rows / part)

    def soon(start: Value, row: Index, first: Index) -> Ahead | None:
        """A tile's share of the next panel, asked for while this one is multiplied; `first` is the
        first of the tiles that pass by both.
        """
        if count < schedule.rows or not isinstance(row, Value):
            return None
        lines = math.ceil(size / LINE / part / rounds(channels))
        turn = row // schedule.rows
        turn = turn - first if parts > 1 else turn
        return Ahead(start + turn * (lines * LINE * rounds(channels)), lines)

    def tile(n: Index, row: Index, g: Value, shape: tuple[int, int], first: Index = 0) -> None:
        rows, width = shape
        blocks = math.ceil(width / isa.lanes)
        start, weights = f["b"] + g * (4 * panel), f["w"] + g * size
        bias = [f.load(start, f.lane, o * f.lane.bytes) for o in range(blocks)]
        down, step = (4 * stride for stride in op.source.strides)
        a = Rows(row_at(f["x"], op.source, n, row), down, step)
        b = Columns(weights, 4 * panel, blocks, blocks * isa.lanes, how.numbers)
        sums = products(f, a, b, channels, bias * rows, soon(weights + size, row, first))
        how.finish(f, op, sums, (n, row, g * panel), width)

    def sample(n: Value, r: Value, g: Value, width: int) -> None:
        first, shape = r * part, (schedule.rows, width)
        most = f.least(first + part, full) if parts > 1 else full
        f.loop(first, most, lambda t, _: tile(n, t * schedule.rows, g, shape, first))
        if left:  # after the last part
            f.loop(parts - 1, r + 1, lambda r, _: tile(n, full * schedule.rows, g, (left, width)))

    def panels(c: Value, r: Value, g: Value, width: int) -> None:
        last = f.least(c * samples + samples, f["n"])
        f.loop(c * samples, last, lambda n, _: sample(n, r, g, width))

    def together(g: Value, width: int) -> None:
        """A few rows in each of many samples: all of them as one."""
        total = f["n"] * count
        tiles = total // schedule.rows
        f.loop(0, tiles, lambda t, _: tile(0, t * schedule.rows, g, (schedule.rows, width)))
        f.loop(tiles * schedule.rows, total, lambda t, _: tile(0, t, g, (1, width)))

    def every(first: int, number: int, width: int) -> None:
        if op.even and count < schedule.rows:
            share.each(f, (number,), lambda g: together(g + first, width))
        else:
            chunks = (f["n"] + (samples - 1)) // samples
            share.each(f, (chunks, parts, number), lambda c, r, g: panels(c, r, g + first, width))

    whole, rest = divmod(filters, panel)
    every(0, whole, panel)
    if rest:
        every(whole, 1, rest)
    return f


def near(op: Linear, schedule: Schedule) -> tuple[int, int]:
    """How many samples, and how many tiles of one, pass by each panel in turn: as many as stay in
    the second cache. Where one sample is more than that, only a part of its rows does.
    """
    row = 4 * op.source.shape[1]
    samples = max(1, NEAR // (row * op.source.shape[0]))
    tiles = math.ceil(op.source.shape[0] / schedule.rows)
    return samples, even(tiles, max(1, NEAR // (row * schedule.rows)))


def row_at(base: Value, view: Strided, n: Index, row: Index) -> Value:
    """Where a row begins."""
    moved = base if isinstance(n, int) else base + n * (4 * view.sample)
    return moved + row * (4 * view.strides[0]) + 4 * view.offset


def finish(
    f: Function, op: Linear, sums: Tile, place: tuple[Index, Index, Value], width: int
) -> None:
    """Store the sums of a tile: with what is added, and activated. A costly function is not written
    out for every register, but runs over what was stored.
    """
    n, row, column = place
    blocks = math.ceil(width / f.isa.lanes)
    y = row_at(f["y"], op.target, n, row) + column * 4
    added = None
    if op.residual is not None:
        added = row_at(f["r"], op.residual, n, row) + column * 4
    early = op.activation in CHEAP

    def put(value: Value, start: Value, o: int, function: str) -> None:
        count = min(f.isa.lanes, width - o * f.isa.lanes)
        lanes.store_first(f, FUNCTIONS[function](f, value), start + o * f.lane.bytes, count)

    def held(start: Value, o: int) -> Value:
        count = min(f.isa.lanes, width - o * f.isa.lanes)
        return lanes.load_first(f, start + o * f.lane.bytes, f.lane, count)

    for at, total in enumerate(sums):
        (q, o), value = divmod(at, blocks), total
        if added is not None and op.residual is not None:
            value = value + held(added + q * (4 * op.residual.strides[0]), o)
        put(value, y + q * (4 * op.target.strides[0]), o, op.activation if early else "")
    if not early:

        def again(q: Value, _: Tile) -> None:
            start = y + q * (4 * op.target.strides[0])
            for o in range(blocks):
                put(held(start, o), start, o, op.activation)

        f.loop(0, len(sums) // blocks, again)
