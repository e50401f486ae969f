"""Convolution in the frequency domain, tile by tile, for large kernels (row G16).

    reference, one tile of N × N pixels, m = N − r + 1 results along each axis:
        y[k] = b[k] + F⁻¹ [ Σ_c conj(F w[k, c]) · F x[c] ]        its first m × m numbers

(Mathieu et al. 2013; tiles that overlap by r − 1.) F x is real along the columns and complex along
the rows; of its N² numbers only those are kept that the others do not follow from. A product of two
complex numbers is three real ones (Gauss), each a matrix product over tiles as in `winograd`:

    (xr + xi) · ur    xr · (ui − ur)    xi · (ur + ui)     re = first − third, im = first + second

    planes   columns 0 and N/2, rows 0 … N/2:   1 (rows 0 and N/2, which are real) or 3 each
             columns 1 … N/2 − 1, rows 0 … N−1: 3 each

An axis of one tap is not transformed (N = 1), so that a row of numbers is a case of this. Where
every channel has its own filter the products are taken on the way back, tile by tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Value
from lighten.kernels import costs, products, share
from lighten.kernels.block import even
from lighten.kernels.direct import FILTERS
from lighten.kernels.fft_tile import Transform
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv
from lighten.kernels.spectrum import Schedule, Sizes, Spectrum, alone, factors, outputs, tiles

Array = np.ndarray[Any, Any]
LEAST, LEAST_ALONE = 7, 11  # taps from which on it may pay: for all channels, for each alone
STEPS = {8: 0.4, 16: 0.4, 32: 0.9, 64: 1.0}  # cycles of an operation: large transforms spill
SIZES = tuple(STEPS)
CACHE = 1 << 19  # bytes that V and M of one step may take


def accepts(conv: Conv, isa: Isa) -> bool:
    """Large kernels in steps of one, without groups or with one for each channel."""
    sliding, same = conv.window, conv.source.lanes == conv.target.lanes == isa.lanes
    plain = sliding.strides == sliding.dilations == (1, 1)
    least = LEAST_ALONE if alone(conv) else LEAST
    fits = least <= max(sliding.kernel) < SIZES[-1]
    return same and plain and fits and (conv.groups == 1 or alone(conv))


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """The three that are predicted to take least, of all sizes of tile, with as many rows of tiles
    in a step as the cache holds, or all.
    """
    down, along = (
        _fitting(taps, extent)
        for taps, extent in zip(
            conv.window.kernel, (conv.target.height, conv.target.width), strict=True
        )
    )
    sizes = ((rows, columns) for rows in down for columns in along)
    found = [schedule for size in sizes for schedule in _schedules(conv, size, isa)]
    return sorted(found, key=lambda schedule: cycles(conv, schedule, isa))[:3]


def _fitting(taps: int, extent: int) -> list[int]:
    """Sizes of tile along an axis that are larger than the kernel, and not much than the image."""
    if taps == 1:
        return [1]
    larger = [size for size in SIZES if size > taps]
    return [size for size in larger if size < 2 * (extent + taps)] or larger[:1]


def _schedules(conv: Conv, size: tuple[int, int], isa: Isa) -> Iterator[Schedule]:
    """The register block that loads least, for each number of rows."""
    if alone(conv):
        yield Schedule(size, 1, 1, 1)
        return
    down, along = tiles(conv, Schedule(size, 1, 1, 1))
    row = Spectrum(size).planes * along * conv.target.pixel
    row *= conv.source.blocks + conv.target.blocks
    near = max((d for d in range(1, down + 1) if down % d == 0 and d * row <= CACHE), default=1)
    for rows in sorted({near, down}):
        fitting = [
            (blocks, even(rows * along, (isa.registers - blocks - 1) // blocks))
            for blocks in FILTERS
            if conv.target.blocks % blocks == 0
        ]
        blocks, columns = min(fitting, key=lambda b: 1 / b[0] + 1 / b[1])
        yield Schedule(size, blocks, columns, rows)


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the tiles read around the image."""
    (down, along), (high, wide) = tiles(conv, schedule), outputs(conv, schedule)
    (rows, columns), (top, left, *_) = conv.window.kernel, conv.window.pads
    bottom = down * high + rows - 1 - top - conv.source.height
    right = along * wide + columns - 1 - left - conv.source.width
    return Halo(max(top, 0), max(bottom, 0), max(left, 0), max(right, 0))


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of a tile between its two transforms, of V and of M."""
    sizes, planes = Sizes.of(conv, schedule), Spectrum(schedule.size).planes
    held = sizes.read if alone(conv) else sizes.read + sizes.made
    return math.prod(schedule.size) * conv.source.pixel + planes * held


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the transforms, and reading U."""
    planes, sizes = Spectrum(schedule.size).planes, Sizes.of(conv, schedule)
    down, along = tiles(conv, schedule)
    each = 1.0 + sum(math.log2(n) * STEPS[n] for n in schedule.size if n > 1)
    transforms = 2 * math.prod(schedule.size) * each * down * along
    transforms *= conv.source.blocks + conv.target.blocks
    weights = costs.far(planes * sizes.weights) * down / schedule.rows
    if alone(conv):
        return transforms + 2 * planes * down * along * conv.source.blocks + weights
    macs = planes * down * along * conv.source.channels * conv.target.channels
    block, moved = (schedule.blocks, schedule.columns), 2 * costs.far(workspace(conv, schedule))
    steps = down / schedule.rows
    return costs.products(macs, conv, block, isa) + transforms + weights + moved * steps


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """conj(F w) / N² by planes, each `[group of filters, channel, filter]`, or `[block, lane]`."""
    spectrum = np.conj(np.fft.fft2(weight.astype(np.float64), schedule.size))
    u = np.stack(list(factors(spectrum / math.prod(schedule.size), schedule.size)))
    lanes, (filters, channels) = conv.target.lanes, weight.shape[:2]
    if alone(conv):
        wide = np.zeros((len(u), conv.source.blocks * lanes), np.float32)
        wide[:, :filters] = u[:, :, 0]
        return wide
    group = schedule.blocks * lanes
    deep = conv.source.blocks * conv.source.lanes
    wide = np.zeros((len(u), conv.target.blocks * lanes, deep), np.float32)
    wide[:, :filters, :channels] = u
    split = wide.reshape(len(u), -1, group, deep)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2))


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`, as in `direct`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    down, along = tiles(conv, schedule)
    wide = outputs(conv, schedule)[1]

    def row(body: Callable[[Index, int], None]) -> None:
        f.loop(0, along - 1, lambda j, _: body(j, wide))
        body(along - 1, conv.target.width - (along - 1) * wide)

    def one_by_one(n: Value, c: Index, i: Index) -> None:
        tile = Transform(f, conv, schedule, f["s"])

        def both(j: Index, width: int) -> None:
            tile.read((n, c, i, j), 0)
            tile.write((n, c, i, j), 0, width)

        row(both)

    def step(n: Value, s: Index, scratch: Value, team: share.Team) -> None:
        tile, first = Transform(f, conv, schedule, scratch), s * schedule.rows

        def read(c: Index, i: Index) -> None:
            row(lambda j, _: tile.read((n, c, first + i, j), i * along + j))

        def write(k: Index, i: Index) -> None:
            row(lambda j, width: tile.write((n, k, first + i, j), i * along + j, width))

        matrices = (Spectrum(schedule.size).planes, products.groups(conv, tile.block))
        share.each(f, (conv.source.blocks, schedule.rows), read, team)
        share.meet(f, team)
        share.each(f, matrices, tile.multiply, team)
        share.meet(f, team)
        share.each(f, (conv.target.blocks, schedule.rows), write, team)

    if alone(conv):
        share.each(f, (f["n"], conv.source.blocks, down), one_by_one)
    else:
        share.together(f, (f["n"], down // schedule.rows), workspace(conv, schedule), step)
    return f
