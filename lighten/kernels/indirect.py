"""Indirect convolution: pixels are found through a table instead of a frame of zeros (row G8).

    reference, one sample, pixel p of the result, tap t:
        for k, p:
            y[k, at(p)] = b[k] + Σ_c Σ_t w[k, c, t] · (x[c, from(p, t)] or 0 where that is outside)

(Dukhan 2019.) The table holds the place of every pixel of every window, one number each whatever
the channels; outside the image it points to a pixel of zeros. So nothing is written around x, and
the register block runs over the ends of rows: `columns` pixels of the whole result, row after row,
by `blocks` registers of filters, as in `direct`. The tables follow the packed weights:

    weights | zeros | x: [tile, tap, pixel] | y: [tile, pixel] | residual: [tile, pixel]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I64, POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, direct, share
from lighten.kernels.block import even
from lighten.kernels.direct import FILTERS
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
PLACES = 10  # of pixels that are kept in registers beside what else is needed
OUTSIDE = -1


@dataclass(frozen=True)
class Schedule:
    """The register block: `blocks` registers of filters by `columns` pixels."""

    blocks: int
    columns: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """Windows of more than one pixel, without groups, on blocked channels."""
    blocked = conv.source.lanes == conv.target.lanes == isa.lanes
    return blocked and conv.groups == 1 and conv.window.kernel != (1, 1)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """The register block that feeds most multiply-adds per load."""
    pixels, found = conv.target.height * conv.target.width, []
    for blocks in FILTERS:
        if conv.target.blocks % blocks == 0:
            most = min((isa.registers - blocks - 1) // blocks, PLACES)
            found.append(Schedule(blocks, even(pixels, most)))
    return [min(found, key=lambda s: (s.blocks + s.columns) / (s.blocks * s.columns))]


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """Nothing is read around the image."""
    return Halo()


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes beside sources and results: none."""
    return 0


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: as direct, and reading the table over and over."""
    rows, columns = conv.window.kernel
    weights = 4 * rows * columns * conv.source.channels * conv.target.blocks * isa.lanes
    found = conv.target.height * conv.target.width * rows * columns * conv.source.blocks
    found *= conv.target.blocks // schedule.blocks
    block = (schedule.blocks, schedule.columns)
    return costs.products(conv.macs, conv, block, isa) + costs.far(weights) + 2 * found


def _tiles(conv: Conv, schedule: Schedule) -> tuple[int, int]:
    """Whole tiles, and the pixels of the last one."""
    return divmod(conv.target.height * conv.target.width, schedule.columns)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """The weights as `direct` has them, a pixel of zeros, and the tables."""
    packed = direct.pack(weight, conv, direct.Schedule(schedule.blocks, schedule.columns))
    zeros = np.zeros(conv.source.lanes, np.float32)
    results = [conv.target] if conv.residual is None else [conv.target, conv.residual]
    tables = [_seen(conv, schedule), *(_made(layout, schedule) for layout in results)]
    flat = [table.astype(np.int64).reshape(-1).view(np.float32) for table in tables]
    return np.concatenate([packed.reshape(-1), zeros, *flat])


def _seen(conv: Conv, schedule: Schedule) -> Array:
    """Bytes from x to each pixel of each window, `[tile, tap, pixel]`."""
    window, source = conv.window, conv.source
    i, r, j, s = np.ix_(
        *map(np.arange, (conv.target.height, window.kernel[0], conv.target.width, window.kernel[1]))
    )
    row = i * window.strides[0] + r * window.dilations[0] - window.pads[0]
    column = j * window.strides[1] + s * window.dilations[1] - window.pads[1]
    inside = (row >= 0) & (row < source.height) & (column >= 0) & (column < source.width)
    place = row * source.row + column * source.pixel + source.origin
    found = np.where(inside, place, OUTSIDE).transpose(0, 2, 1, 3)
    found = found.reshape(-1, math.prod(window.kernel))
    return _in_tiles(found, schedule)


def _made(layout: Blocked, schedule: Schedule) -> Array:
    """Bytes from y, or the residual, to each pixel, `[tile, pixel]`."""
    i, j = np.ix_(np.arange(layout.height), np.arange(layout.width))
    place = i * layout.row + j * layout.pixel + layout.origin
    return _in_tiles(place.reshape(-1, 1), schedule)


def _in_tiles(table: Array, schedule: Schedule) -> Array:
    """`[pixel, …]` as `[tile, …, pixel]`, filled up with the last pixel."""
    wide = np.pad(table, ((0, -len(table) % schedule.columns), (0, 0)), mode="edge")
    return wide.reshape(-1, schedule.columns, table.shape[1]).swapaxes(1, 2)


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, n)`, as in `direct`."""
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    target, (full, rest) = conv.target, _tiles(conv, schedule)
    groups = target.blocks // schedule.blocks

    def tile(n: Value, g: Value, t: Index, width: int) -> None:
        sums = _sums(f, conv, schedule, (n, g, t), width)
        _finish(f, conv, schedule, (n, g, t), sums)

    share.each(f, (f["n"], groups, full), lambda n, g, t: tile(n, g, t, schedule.columns))
    if rest:
        share.each(f, (f["n"], groups), lambda n, g: tile(n, g, full, rest))
    return f


@dataclass(frozen=True)
class _Places:
    """Bytes from the packed weights to what follows them."""

    zeros: int
    seen: int
    made: int
    added: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> _Places:
        taps, (full, rest) = math.prod(conv.window.kernel), _tiles(conv, schedule)
        weights = conv.source.blocks * conv.source.lanes * taps * conv.target.blocks
        pixels = (full + bool(rest)) * schedule.columns
        zeros = weights * conv.target.pixel
        seen = zeros + conv.source.pixel
        made = seen + 8 * pixels * taps
        return cls(zeros, seen, made, made + 8 * pixels)


def _sums(
    f: Function, conv: Conv, schedule: Schedule, place: tuple[Value, Value, Index], width: int
) -> Tile:
    """The register block: bias, then every block of channels and tap added."""
    (n, g, t), source, lane, blocks = place, conv.source, f.lane, schedule.blocks
    places, taps = _Places.of(conv, schedule), math.prod(conv.window.kernel)
    filters = blocks * conv.target.pixel
    w = f["w"] + g * (source.blocks * taps * source.lanes * filters)
    table = f["w"] + t * (8 * taps * schedule.columns) + places.seen
    image, zeros = f["x"] + n * source.sample, f["w"] + places.zeros

    def block(count: int, c: Index, sums: Tile) -> Tile:
        x, weights = image + c * source.block, w + c * (taps * source.lanes * filters)

        def tap(at: Value, sums: Tile) -> Tile:
            row, held = table + at * (8 * schedule.columns), weights + at * (source.lanes * filters)
            pixels = []
            for q in range(width):
                found = f.load(row, I64, 8 * q)
                pixels.append(f.select(f.less(found, 0), zeros, x + found))
            for channel in range(count):
                loaded = [
                    f.load(held, lane, channel * filters + o * lane.bytes) for o in range(blocks)
                ]
                for q, pixel in enumerate(pixels):
                    one = f.load_spread(pixel, lane, 4 * channel)
                    for o in range(blocks):
                        to = q * blocks + o
                        sums[to] = f.fma(one, loaded[o], sums[to])
            return sums

        return f.loop(0, taps, tap, sums)

    first = [f.load(f["b"] + g * filters, lane, o * lane.bytes) for o in range(blocks)]
    sums = [first[o] for _ in range(width) for o in range(blocks)]
    whole, rest = divmod(source.channels, source.lanes)
    sums = f.loop(0, whole, lambda c, sums: block(source.lanes, c, sums), sums)
    return block(rest, whole, sums) if rest else sums


def _finish(
    f: Function, conv: Conv, schedule: Schedule, place: tuple[Value, Value, Index], sums: Tile
) -> None:
    """As `finish.finish`, each pixel where its table says."""
    (n, g, t), target, residual = place, conv.target, conv.residual
    places, first = _Places.of(conv, schedule), g * schedule.blocks
    y = f["y"] + n * target.sample + first * target.block
    for at, total in enumerate(sums):
        (q, o), value = divmod(at, schedule.blocks), total
        entry = f["w"] + t * (8 * schedule.columns)
        if residual is not None:
            other = f["r"] + n * residual.sample + first * residual.block
            other = other + f.load(entry, I64, places.added + 8 * q)
            value = value + f.load(other, f.lane, o * residual.block)
        to = y + f.load(entry, I64, places.made + 8 * q)
        f.store(FUNCTIONS[conv.activation](f, value), to, o * target.block)
