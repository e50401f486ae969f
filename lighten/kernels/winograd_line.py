"""Winograd convolution along one axis, F(m, r): kernels of one row or one column (rows G10, G12).

    reference, one tile of m results from n pixels, n = m + r − 1:
        y[k] = b[k] + Aᵀ [ Σ_c (G w[k, c]) ⊙ (Bᵀ x[c]) ]

As in `winograd`, but the transforms act on n numbers instead of n × n, so that m may be larger for
the same error. A step takes some lines of tiles, or some tiles of one long line:

    1  x, tile by tile      → V[product][channel block][tile][lane]      Bᵀ x in registers
    2  for every product:     M = V · U
    3  M, tile by tile      → y             Aᵀ M, bias, residual, activation
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.algebra.straight_line import StraightLine, run
from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, products, share
from lighten.kernels.block import even
from lighten.kernels.direct import FILTERS
from lighten.kernels.finish import pixel, window
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv
from lighten.kernels.share import Team
from lighten.kernels.winograd_schedule import algorithm

Array = np.ndarray[Any, Any]
OUTPUTS = {3: (2, 4, 6), 5: (2, 4), 7: (2, 4)}  # taps → m
CACHE = 1 << 19  # bytes that V and M of one step may take


@dataclass(frozen=True)
class Schedule:
    """F(outputs, r); registers of filters by tiles in a block; lines of a step, tiles of each."""

    outputs: int
    blocks: int
    columns: int
    rows: int
    tiles: int


@dataclass(frozen=True)
class Axis:
    """The axis along which the kernel lies: its taps, results of a line, and how many lines."""

    upright: bool
    taps: int
    extent: int
    lines: int

    @classmethod
    def of(cls, conv: Conv) -> Axis:
        """A kernel of one column is upright."""
        (rows, columns), target = conv.window.kernel, conv.target
        if columns == 1:
            return cls(True, rows, target.height, target.width)
        return cls(False, columns, target.width, target.height)

    def step(self, layout: Blocked) -> int:
        """Bytes along it."""
        return layout.row if self.upright else layout.pixel

    def place(self, line: Index, at: Index) -> tuple[Index, Index]:
        """Row and column of a position on a line."""
        return (at, line) if self.upright else (line, at)


def accepts(conv: Conv, isa: Isa) -> bool:
    """Kernels of 3, 5 or 7 taps in one axis, in steps of one, without groups or dilation."""
    sliding, same = conv.window, conv.source.lanes == conv.target.lanes == isa.lanes
    plain = sliding.strides == sliding.dilations == (1, 1) and conv.groups == 1
    return same and plain and min(sliding.kernel) == 1 and max(sliding.kernel) in OUTPUTS


def count(conv: Conv, outputs: int) -> int:
    """Tiles of one line."""
    return math.ceil(Axis.of(conv).extent / outputs)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """For each m the register block that loads least, in steps that the cache holds."""
    found, axis = [], Axis.of(conv)
    for outputs in OUTPUTS[axis.taps]:
        along = count(conv, outputs)
        tile = (outputs + axis.taps - 1) * conv.target.pixel
        most = max(CACHE // (tile * (conv.source.blocks + conv.target.blocks)), 1)
        tiles = even(along, most)
        rows = even(axis.lines, most // along) if along <= most else 1
        fitting = [
            (blocks, even(rows * tiles, (isa.registers - blocks - 1) // blocks))
            for blocks in FILTERS
            if conv.target.blocks % blocks == 0
        ]
        blocks, columns = min(fitting, key=lambda b: 1 / b[0] + 1 / b[1])
        found.append(Schedule(outputs, blocks, columns, rows, tiles))
    return found


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the tiles read around the image."""
    (top, left, *_), axis = conv.window.pads, Axis.of(conv)
    plain = conv.window.halo(conv.source.height, conv.source.width)
    read = count(conv, schedule.outputs) * schedule.outputs + axis.taps - 1
    if axis.upright:
        below = max(read - top - conv.source.height, 0)
        return Halo(max(top, 0), below, plain.left, plain.right)
    beside = max(read - left - conv.source.width, 0)
    return Halo(plain.top, plain.bottom, max(left, 0), beside)


@dataclass(frozen=True)
class _Sizes:
    """Products, tiles of one step; bytes of one product's part of V, of M, of U."""

    products: int
    tiles: int
    read: int
    made: int
    weights: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> _Sizes:
        source, target, tiles = conv.source, conv.target, schedule.rows * schedule.tiles
        read, made = ((layout.blocks * tiles | 1) * layout.pixel for layout in (source, target))
        weights = source.blocks * source.lanes * target.blocks * target.pixel
        return cls(schedule.outputs + max(conv.window.kernel) - 1, tiles, read, made, weights)


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of V and M."""
    sizes = _Sizes.of(conv, schedule)
    return sizes.products * (sizes.read + sizes.made)


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the transforms, and reading U."""
    sizes, axis = _Sizes.of(conv, schedule), Axis.of(conv)
    _, before, after = algorithm(schedule.outputs, axis.taps)
    tiles = count(conv, schedule.outputs) * axis.lines
    macs = sizes.products * tiles * conv.source.channels * conv.target.channels
    moved = 2 * sizes.products
    changed = (len(before.steps) + moved) * conv.source.blocks
    changed += (len(after.steps) + moved) * conv.target.blocks
    steps = tiles / sizes.tiles
    read = costs.far(sizes.products * sizes.weights) * steps
    block = (schedule.blocks, schedule.columns)
    return costs.products(macs, conv, block, isa) + tiles * changed * costs.TRANSFORM + read


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """U = G w as `[product, group of filters, channel, filter]`."""
    made, *_ = algorithm(schedule.outputs, Axis.of(conv).taps)
    line = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
    u = np.einsum("ai,kci->akc", made.as_float()[1], line)
    group, (filters, channels) = schedule.blocks * conv.target.lanes, weight.shape[:2]
    deep = conv.source.blocks * conv.source.lanes
    wide = np.zeros((len(u), conv.target.blocks * conv.target.lanes, deep), np.float32)
    wide[:, :filters, :channels] = u
    return np.ascontiguousarray(wide.reshape(len(u), -1, group, deep).transpose(0, 1, 3, 2))


@dataclass(frozen=True)
class _Step:
    """A sample's lines from `line` on, `lines` of them, and of each the tiles from `tile` on; the
    last of those may be the one that its line `ends` in. V and M lie in `scratch`.
    """

    sample: Value
    scratch: Value
    team: Team
    line: Index
    lines: int
    tile: Index
    tiles: int
    ends: bool


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, n)`, as in `direct`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    axis, along = Axis.of(conv), count(conv, schedule.outputs)
    down, below = divmod(axis.lines, schedule.rows)
    before = (along - 1) // schedule.tiles  # steps of a line that it does not end in

    def step(place: _Step) -> None:
        _read(f, conv, schedule, place)
        share.meet(f, place.team)
        _multiply(f, conv, schedule, place)
        share.meet(f, place.team)
        _write(f, conv, schedule, place)

    def last(n: Value, line: Index, lines: int, scratch: Value, team: Team) -> None:
        first = before * schedule.tiles
        step(_Step(n, scratch, team, line, lines, first, along - first, ends=True))

    def middle(n: Value, line: Index, t: Index, scratch: Value, team: Team) -> None:
        place = t * schedule.tiles, schedule.tiles
        step(_Step(n, scratch, team, line, 1, *place, ends=False))

    def whole(n: Value, i: Index, scratch: Value, team: Team) -> None:
        last(n, i * schedule.rows, schedule.rows, scratch, team)

    def rest(n: Value, scratch: Value, team: Team) -> None:
        last(n, down * schedule.rows, below, scratch, team)

    size = workspace(conv, schedule)
    if before:
        share.together(f, (f["n"], axis.lines, before), size, middle)
        share.meet(f, share.everyone(f))
    share.together(f, (f["n"], down), size, whole)
    if below:
        share.meet(f, share.everyone(f))
        share.together(f, (f["n"],), size, rest)
    return f


def _run(f: Function, line: StraightLine, values: Sequence[Value]) -> Tile:
    return list(run(line, values, lambda factor: f.constant(float(factor), f.lane), f.fma))


def _read(f: Function, conv: Conv, schedule: Schedule, step: _Step) -> None:
    """1: the pixels of every tile of this step, transformed, to V."""
    sizes, axis, source = _Sizes.of(conv, schedule), Axis.of(conv), conv.source
    line = algorithm(schedule.outputs, axis.taps)[1]

    def tile(c: Index, i: Index, j: Index) -> None:
        place = axis.place(step.line + i, (step.tile + j) * schedule.outputs)
        x = window(conv, f["x"], (step.sample, c, *place))
        seen = [f.load(x, f.lane, a * axis.step(source)) for a in range(sizes.products)]
        v = step.scratch + (c * sizes.tiles + i * step.tiles + j) * source.pixel
        for p, value in enumerate(_run(f, line, seen)):
            f.store(value, v, p * sizes.read)

    share.each(f, (source.blocks, step.lines, step.tiles), tile, step.team)


def _multiply(f: Function, conv: Conv, schedule: Schedule, step: _Step) -> None:
    """2: the matrices of every product, M = V · U."""
    sizes = _Sizes.of(conv, schedule)
    block = products.Block(schedule.blocks, schedule.columns, sizes.tiles)

    def group(p: Index, g: Index) -> None:
        v, m = step.scratch + p * sizes.read, step.scratch + p * sizes.made
        places = v, f["w"] + p * sizes.weights, m + sizes.products * sizes.read
        products.multiply(f, conv, block, places, g)

    share.each(f, (sizes.products, products.groups(conv, block)), group, step.team)


def _write(f: Function, conv: Conv, schedule: Schedule, step: _Step) -> None:
    """3: the results of every tile of this step."""
    sizes, axis, target = _Sizes.of(conv, schedule), Axis.of(conv), conv.target
    line, m = algorithm(schedule.outputs, axis.taps)[2], schedule.outputs
    over = axis.extent - (count(conv, m) - 1) * m

    def tile(k: Index, i: Index, j: Index, width: int) -> None:
        held = step.scratch + (k * sizes.tiles + i * step.tiles + j) * target.pixel
        held = held + sizes.products * sizes.read
        bias = f.load(f["b"] + k * target.pixel, f.lane)
        sums = [f.load(held, f.lane, p * sizes.made) for p in range(sizes.products)]
        at = (step.sample, k, *axis.place(step.line + i, (step.tile + j) * m))
        y = pixel(f["y"], target, at)
        for a, value in enumerate(_run(f, line, sums)[:width]):
            total = value + bias
            if conv.residual is not None:
                other = pixel(f["r"], conv.residual, at)
                total = total + f.load(other, f.lane, a * axis.step(conv.residual))
            f.store(FUNCTIONS[conv.activation](f, total), y, a * axis.step(target))

    def row(k: Index, i: Index) -> None:
        whole = step.tiles - 1 if step.ends else step.tiles
        f.loop(0, whole, lambda j, _: tile(k, i, j, m))
        if step.ends:
            tile(k, i, whole, over)

    share.each(f, (target.blocks, step.lines), row, step.team)
