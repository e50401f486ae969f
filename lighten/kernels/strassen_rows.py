"""Strassen's product for linear layers over tokens: `strassen`, over rows (row G22).

    reference: that of `linear`

The rows of a sample fall into halves, channels and filters too. Of an odd number of rows the one in
the middle is in both halves. A step takes some samples:

    1  x, row by row       → S[sample][sum][row][channel]: four sums; three are parts of x
    2  for every group of filters and every sample: product after product (`quarters`)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import share
from lighten.kernels.block import LINE, Ahead, Columns, Rows, even, products, rounds, tallest
from lighten.kernels.linear import Linear, finish, row_at
from lighten.kernels.quarters import PIPELINE, algorithm, combine, packed, sums_of
from lighten.kernels.share import Team

Array = np.ndarray[Any, Any]
FILTERS = (2, 4, 3, 1)  # registers of filters in a block, the best first
LEAST = 64  # rows, and numbers of a half, from which on it takes less than the plain product
NEAR = 5 << 17  # bytes of x and S that stay in the second cache beside a group of filters


@dataclass(frozen=True)
class Schedule:
    """The register block, `blocks` registers of filters by `rows`; samples in a step."""

    blocks: int
    rows: int
    samples: int


def schedule(op: Linear, isa: Isa) -> Schedule | None:
    """How such a layer is run, or None where the plain product is the better one."""
    (count, channels), filters = op.source.shape, op.target.shape[1]
    halves = channels % (2 * isa.lanes) == filters % (2 * isa.lanes) == 0
    if op.paired or not halves or min(count, channels // 2, filters // 2) < LEAST:
        return None
    blocks = next(b for b in FILTERS if filters // 2 // isa.lanes % b == 0)
    rows = even(-(-count // 2), tallest(blocks, isa))
    return Schedule(blocks, rows, max(1, NEAR // (8 * count * channels)))


def workspace(op: Linear, schedule: Schedule, isa: Isa) -> int:
    """Bytes of S, and of p and q."""
    return schedule.samples * _sums(op) + 2 * _held(op, schedule, isa)


def _half(op: Linear) -> int:
    """Rows of a half."""
    return math.ceil(op.source.shape[0] / 2)


def _part(op: Linear) -> int:
    """Bytes of one sum of quarters."""
    return _half(op) * op.source.shape[1] * 2


def _sums(op: Linear) -> int:
    return len(algorithm()[1].steps) * _part(op)


def _held(op: Linear, schedule: Schedule, isa: Isa) -> int:
    return _half(op) * schedule.blocks * isa.lanes * 4


def pack(weight: Array, schedule: Schedule, isa: Isa) -> Array:
    """`[filters, channels]` as sums of quarters `[group of filters, product, channel, filter]`."""
    return packed(weight.T.astype(np.float64), schedule.blocks * isa.lanes)


@dataclass(frozen=True)
class Step:
    """So many samples from the `first` on; S lies in `scratch`."""

    first: Value
    samples: Index
    scratch: Value
    team: Team


def emit(name: str, op: Linear, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`, as in `linear`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    groups = op.target.shape[1] // 2 // (schedule.blocks * isa.lanes)

    def step(c: Value, scratch: Value, team: Team) -> None:
        first = c * schedule.samples
        place = Step(first, f.least(f["n"] - first, schedule.samples), scratch, team)
        _add(f, op, place)
        share.meet(f, team)
        share.each(f, (groups,), partial(_multiply, f, op, schedule, place), team)
        share.meet(f, team)

    steps = (f["n"] + (schedule.samples - 1)) // schedule.samples
    share.together(f, (steps,), workspace(op, schedule, isa), step)
    return f


def _add(f: Function, op: Linear, step: Step) -> None:
    """1: the sums of quarters of x."""
    (count, channels), half, line = op.source.shape, _half(op), algorithm()[1]
    down, across = 4 * (count - half) * op.source.strides[0], 2 * channels

    def row(n: Value, i: Value) -> None:
        x = row_at(f["x"], op.source, step.first + n, i)
        s = step.scratch + n * _sums(op) + i * (2 * channels)

        def register(c: Value, _: Tile) -> None:
            at, to = x + c * f.lane.bytes, s + c * f.lane.bytes
            quarters = [f.load(at, f.lane, a + b) for a in (0, down) for b in (0, across)]
            for number, value in sums_of(f, line, quarters):
                f.store(value, to, number * _part(op))

        f.loop(0, channels // 2 // f.isa.lanes, register)

    share.each(f, (step.samples, half), row, step.team)


def _multiply(f: Function, op: Linear, schedule: Schedule, step: Step, g: Value) -> None:
    """2: a group of filters, sample after sample."""
    half, panel = _half(op), schedule.blocks * f.isa.lanes
    own = f["s"] + schedule.samples * _sums(op)
    places = {"p": own, "q": own + _held(op, schedule, f.isa)}

    def tile(number: int, n: Value, i: Index, rows: int) -> None:
        held = {name: place + i * (4 * panel) for name, place in places.items()}
        multiply = partial(_product, f, op, schedule, (number, step, g), (n, i))

        def result(lower: int, last: int, sums: Tile) -> None:
            column = g * panel + last * (op.target.shape[1] // 2)
            bias = [
                f.load(f["b"] + column * 4, f.lane, o * f.lane.bytes)
                for o in range(schedule.blocks)
            ]
            total = [value + bias[at % schedule.blocks] for at, value in enumerate(sums)]
            row = i + lower * (op.source.shape[0] - half)
            finish(f, op, total, (step.first + n, row, column), panel)

        combine(f, number, held, multiply, result, rows * schedule.blocks)

    def sample(n: Value, _: Tile) -> None:
        full, left = divmod(half, schedule.rows)

        def product(number: int) -> None:
            f.loop(0, full, lambda t, _: tile(number, n, t * schedule.rows, schedule.rows))
            if left:
                tile(number, n, full * schedule.rows, left)

        for number in range(len(PIPELINE)):
            product(number)

    f.loop(0, step.samples, sample)


def _product(
    f: Function,
    op: Linear,
    schedule: Schedule,
    which: tuple[int, Step, Value],
    place: tuple[Value, Index],
    sums: Tile,
) -> Tile:
    """A tile of a product, added to the sums."""
    (number, step, g), (n, i) = which, place
    (count, channels), half, (made, line) = op.source.shape, _half(op), algorithm()
    output, panel = line.outputs[number], schedule.blocks * f.isa.lanes
    if output < line.inputs:  # a quarter of x as it lies
        lower, last = divmod(output, 2)
        x = row_at(f["x"], op.source, step.first + n, i + lower * (count - half))
        a = Rows(f.settled(x + last * (2 * channels)), 4 * op.source.strides[0])
    else:
        x = step.scratch + n * _sums(op) + (output - line.inputs) * _part(op)
        a = Rows(f.settled(x + i * (2 * channels)), 2 * channels)
    size = 2 * channels * panel
    w = f["w"] + (g * made.multiplications + number) * size
    b = Columns(w, 4 * panel, schedule.blocks, panel)
    tiles = math.ceil(half / schedule.rows)
    lines = math.ceil(size / LINE / tiles / rounds(channels // 2))
    asked = (i // schedule.rows if tiles > 1 else 0) * (lines * LINE * rounds(channels // 2))
    return products(f, a, b, channels // 2, sums, Ahead(w + size + asked, lines))
