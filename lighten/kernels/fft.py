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
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I64, POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, products, share
from lighten.kernels.direct import FILTERS, even
from lighten.kernels.finish import pixel, window
from lighten.kernels.fourier import Arithmetic, Complex, complex_, forward, inverse
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv
from lighten.kernels.volumes import nested

Array = np.ndarray[Any, Any]
LEAST, SIZES = 5, (8, 16, 32, 64)  # taps from which on it may pay; transforms that are written
CACHE = 1 << 19  # bytes that V and M of one step may take


@dataclass(frozen=True)
class Schedule:
    """The size of a tile, (rows, columns); registers of filters by tiles; rows of tiles a step."""

    size: tuple[int, int]
    blocks: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Spectrum:
    """The planes of a tile's transform: where those of a column begin."""

    size: tuple[int, int]

    @property
    def real(self) -> int:
        """Columns that are real before the rows are transformed."""
        return min(self.size[1], 2)

    @property
    def edge(self) -> int:
        """Planes of such a column."""
        rows = self.size[0]
        return 1 if rows == 1 else 2 + 3 * (rows // 2 - 1)

    @property
    def planes(self) -> int:
        """Of all columns."""
        return self.real * self.edge + 3 * self.size[0] * self.complex

    @property
    def complex(self) -> int:
        """Columns that are complex."""
        return max(self.size[1] // 2 - 1, 0)

    def starts(self) -> Iterator[tuple[int, bool]]:
        """The first plane of each row of a real column, and whether it is real."""
        at = 0
        for row in range(self.size[0] // 2 + 1):
            single = row in (0, self.size[0] // 2)
            yield at, single
            at += 1 if single else 3


def accepts(conv: Conv, isa: Isa) -> bool:
    """Large kernels in steps of one, without groups or with one for each channel."""
    sliding, same = conv.window, conv.source.lanes == conv.target.lanes == isa.lanes
    plain = sliding.strides == sliding.dilations == (1, 1)
    fits = max(sliding.kernel) < SIZES[-1] and max(sliding.kernel) >= LEAST
    return same and plain and fits and (conv.groups == 1 or alone(conv))


def alone(conv: Conv) -> bool:
    """Whether every channel has one filter of its own."""
    return conv.groups == conv.source.channels == conv.target.channels > 1


def outputs(conv: Conv, schedule: Schedule) -> tuple[int, int]:
    """Results of one tile along each axis."""
    (rows, columns), (down, along) = schedule.size, conv.window.kernel
    return rows - down + 1, columns - along + 1


def tiles(conv: Conv, schedule: Schedule) -> tuple[int, int]:
    """Rows and columns of tiles."""
    down, along = outputs(conv, schedule)
    return math.ceil(conv.target.height / down), math.ceil(conv.target.width / along)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """The two sizes of tile that are predicted to take least."""
    sides = []
    for taps, extent in zip(
        conv.window.kernel, (conv.target.height, conv.target.width), strict=True
    ):
        fitting = [size for size in SIZES if size > taps and size < 2 * (extent + taps)]
        sides.append([1] if taps == 1 else fitting or [min(s for s in SIZES if s > taps)])
    found = [_schedule(conv, (rows, columns), isa) for rows in sides[0] for columns in sides[1]]
    return sorted(found, key=lambda schedule: cycles(conv, schedule, isa))[:2]


def _schedule(conv: Conv, size: tuple[int, int], isa: Isa) -> Schedule:
    """The register block that loads least, and as many rows of tiles as the cache holds."""
    made = Schedule(size, 1, 1, 1)
    if alone(conv):
        return made
    down, along = tiles(conv, made)
    row = Spectrum(size).planes * along * conv.target.pixel
    row *= conv.source.blocks + conv.target.blocks
    rows = max((d for d in range(1, down + 1) if down % d == 0 and d * row <= CACHE), default=1)
    fitting = []
    for blocks in FILTERS:
        if conv.target.blocks % blocks == 0:
            fitting.append((blocks, even(rows * along, (isa.registers - blocks - 1) // blocks)))
    blocks, columns = min(fitting, key=lambda b: sum(b) / (b[0] * b[1]))
    return Schedule(size, blocks, columns, rows)


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the tiles read around the image."""
    (down, along), (high, wide) = tiles(conv, schedule), outputs(conv, schedule)
    (rows, columns), (top, left, *_) = conv.window.kernel, conv.window.pads
    bottom = down * high + rows - 1 - top - conv.source.height
    right = along * wide + columns - 1 - left - conv.source.width
    return Halo(max(top, 0), max(bottom, 0), max(left, 0), max(right, 0))


@dataclass(frozen=True)
class _Sizes:
    """Tiles of one step, and bytes of one plane of V (`read`), of M (`made`), of U (`weights`): an
    odd number of registers, so that planes do not meet in the cache.
    """

    tiles: int
    read: int
    made: int
    weights: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> _Sizes:
        source, target = conv.source, conv.target
        if alone(conv):
            return cls(1, source.pixel, source.pixel, source.blocks * source.pixel)
        count = schedule.rows * tiles(conv, schedule)[1]
        read, made = ((layout.blocks * count | 1) * layout.pixel for layout in (source, target))
        weights = source.blocks * source.lanes * target.blocks * target.pixel
        return cls(count, read, made, weights)


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of a tile between its two transforms, of V and of M."""
    sizes, planes = _Sizes.of(conv, schedule), Spectrum(schedule.size).planes
    held = sizes.read if alone(conv) else sizes.read + sizes.made
    return math.prod(schedule.size) * conv.source.pixel + planes * held


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the transforms, and reading U."""
    planes, sizes = Spectrum(schedule.size).planes, _Sizes.of(conv, schedule)
    (down, along), numbers = tiles(conv, schedule), math.prod(schedule.size)
    steps = 2.0 * numbers * (1 + math.log2(numbers)) * down * along * costs.TRANSFORM
    transforms = steps * (conv.source.blocks + conv.target.blocks)
    weights = costs.far(planes * sizes.weights) * down / schedule.rows
    if alone(conv):
        return transforms + 2 * planes * down * along * conv.source.blocks + weights
    macs = planes * down * along * conv.source.channels * conv.target.channels
    block = (schedule.blocks, schedule.columns)
    return costs.products(macs, conv, block, isa) + transforms + weights


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """conj(F w) / N² by planes, each `[group of filters, channel, filter]`, or `[block, lane]`."""
    spectrum = np.conj(np.fft.fft2(weight.astype(np.float64), schedule.size))
    u = np.stack(list(_planes(spectrum / math.prod(schedule.size), schedule.size)))
    lanes, (filters, channels) = conv.target.lanes, weight.shape[:2]
    if alone(conv):
        wide = np.zeros((len(u), conv.source.blocks * lanes), np.float32)
        wide[:, :filters] = u[:, :, 0]
        return wide
    group = schedule.blocks * lanes
    across = (conv.target.blocks * lanes, conv.source.blocks * conv.source.lanes)
    wide = np.zeros((len(u), *across), np.float32)
    wide[:, :filters, :channels] = u
    split = wide.reshape(len(u), -1, group, wide.shape[2])
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2))


def _planes(spectrum: Array, size: tuple[int, int]) -> Iterator[Array]:
    """The factors of each product, in the order of the planes."""
    held, (rows, columns) = Spectrum(size), size
    for column in (0, columns // 2)[: held.real]:
        for row, (_, single) in enumerate(held.starts()):
            z = spectrum[..., row, column]
            yield from [z.real] if single else [z.real, z.imag - z.real, z.real + z.imag]
    for column in range(1, held.complex + 1):
        for row in range(rows):
            z = spectrum[..., row, column]
            yield from [z.real, z.imag - z.real, z.real + z.imag]


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, n)`, as in `direct`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    tile, (down, along) = _Tile(f, conv, schedule), tiles(conv, schedule)
    wide = outputs(conv, schedule)[1]

    def row(body: Callable[[Index, int], None]) -> None:
        f.loop(0, along - 1, lambda j, _: body(j, wide))
        body(along - 1, conv.target.width - (along - 1) * wide)

    def one_by_one(n: Value, c: Value, i: Value) -> None:
        def both(j: Index, width: int) -> None:
            tile.read((n, c, i, j), 0)
            tile.write((n, c, i, j), 0, width)

        row(both)

    def step(n: Value, s: Value) -> None:
        def read(c: Value, i: Value) -> None:
            row(lambda j, _: tile.read((n, c, s * schedule.rows + i, j), i * along + j))

        def write(k: Value, i: Value) -> None:
            row(lambda j, width: tile.write((n, k, s * schedule.rows + i, j), i * along + j, width))

        nested(f, (conv.source.blocks, schedule.rows), read)
        f.loop(0, Spectrum(schedule.size).planes, lambda p, _: tile.multiply(p))
        nested(f, (conv.target.blocks, schedule.rows), write)

    if alone(conv):
        share.each(f, (f["n"], conv.source.blocks, down), one_by_one)
    else:
        share.each(f, (f["n"], down // schedule.rows), step)
    return f


class _Tile:
    """What is done to one tile: there, in between, and back."""

    def __init__(self, f: Function, conv: Conv, schedule: Schedule) -> None:
        self.f, self.conv, self.schedule = f, conv, schedule
        self.spectrum, self.sizes = Spectrum(schedule.size), _Sizes.of(conv, schedule)
        self.rows, self.columns = schedule.size
        self.step = conv.source.pixel
        self.v = f["s"] + self.rows * self.columns * self.step
        self.m = self.v + self.spectrum.planes * self.sizes.read
        self.arithmetic = Arithmetic(self._scaled, self._added)

    def _scaled(self, factor: float, x: Value) -> Value:
        if factor == -1.0:
            return self.f.constant(-0.0, x.type) - x
        return x * self.f.constant(factor, x.type)

    def _added(self, factor: float, x: Value, y: Value) -> Value:
        return self.f.fma(x, self.f.constant(factor, x.type), y)

    def read(self, place: tuple[Value, Value, Index, Index], t: Index) -> None:
        """The tile's pixels, transformed row by row, then column by column, to V."""
        f, conv, (n, c, i, j) = self.f, self.conv, place
        high, wide = outputs(conv, self.schedule)
        x = window(conv, f["x"], (n, c, i * high, j * wide))

        def row(a: Value, _: Tile) -> None:
            line, held = x + a * conv.source.row, f["s"] + a * (self.columns * self.step)
            seen = [f.load(line, f.lane, b * self.step) for b in range(self.columns)]
            for u, (re, im) in enumerate(forward(seen, self.arithmetic)):
                at = _slot(u, self.columns)
                f.store(re, held, at * self.step)
                if im is not None:
                    f.store(im, held, (at + 1) * self.step)

        f.loop(0, self.rows, row)
        v = self.v + (t if alone(conv) else c * self.sizes.tiles + t) * self.step
        for column in range(self.spectrum.real):
            made = forward(self._column(column * self.step), self.arithmetic)
            planes = v + column * (self.spectrum.edge * self.sizes.read)
            for (at, _), number in zip(self.spectrum.starts(), made, strict=True):
                self._put(number, planes, at)

        def complex_column(u: Value, _: Tile) -> None:
            first = u * (2 * self.step) + 2 * self.step
            numbers = zip(self._column(first), self._column(first + self.step), strict=True)
            planes = v + self._planes_of(u, self.sizes.read)
            for k, number in enumerate(complex_(list(numbers), self.arithmetic)):
                self._put(number, planes, 3 * k)

        f.loop(0, self.spectrum.complex, complex_column)

    def _column(self, slot: Index) -> list[Value]:
        """A column of the tile in the workspace, `slot` bytes from its left."""
        held, line = self.f["s"] + slot, self.columns * self.step
        return [self.f.load(held, self.f.lane, a * line) for a in range(self.rows)]

    def _planes_of(self, u: Value, plane: int) -> Value:
        """Bytes to the planes of a complex column."""
        return u * (3 * self.rows * plane) + self.spectrum.real * self.spectrum.edge * plane

    def _put(self, number: Complex, v: Value, plane: int) -> None:
        """What a number is multiplied by, to its planes."""
        re, im = number
        factors = [re] if im is None else [re + im, re, im]
        for at, factor in enumerate(factors):
            self.f.store(factor, v, (plane + at) * self.sizes.read)

    def multiply(self, p: Value) -> None:
        """One plane's matrices, M = V · U."""
        sizes, schedule = self.sizes, self.schedule
        places = self.v + p * sizes.read, self.f["w"] + p * sizes.weights, self.m + p * sizes.made
        block = products.Block(schedule.blocks, schedule.columns, sizes.tiles)
        products.multiply(self.f, self.conv, block, places)

    def _product(self, k: Value, t: Index, base: Index, plane: int) -> Value:
        """A plane of the results' transform; `base` is a plane too."""
        f, sizes = self.f, self.sizes
        if not alone(self.conv):
            m = self.m + base * sizes.made + (k * sizes.tiles + t) * self.step
            return f.load(m, f.lane, plane * sizes.made)
        v = f.load(self.v + base * sizes.read, f.lane, plane * sizes.read)
        u = f["w"] + base * sizes.weights + k * self.step
        return v * f.load(u, f.lane, plane * sizes.weights)

    def _number(self, k: Value, t: Index, base: Index, plane: int) -> Complex:
        first, second, third = (self._product(k, t, base, plane + at) for at in range(3))
        return first - third, first + second

    def write(self, place: tuple[Value, Value, Index, Index], t: Index, width: int) -> None:
        """The tile's results: back column by column, then row by row, and what is done to them."""
        f, spectrum, (_, k, i, _) = self.f, self.spectrum, place
        high = outputs(self.conv, self.schedule)[0]
        line = self.columns * self.step
        for column in range(spectrum.real):
            base = column * spectrum.edge
            numbers = [
                (self._product(k, t, base, at), None) if single else self._number(k, t, base, at)
                for at, single in spectrum.starts()
            ]
            for a, value in enumerate(inverse(numbers, self.arithmetic)[:high]):
                f.store(value, f["s"], a * line + column * self.step)

        def complex_column(u: Value, _: Tile) -> None:
            base = u * (3 * self.rows) + spectrum.real * spectrum.edge
            numbers = [self._number(k, t, base, 3 * at) for at in range(self.rows)]
            held = f["s"] + u * (2 * self.step) + 2 * self.step
            made = complex_(numbers, self.arithmetic, back=True)
            for a, (re, im) in enumerate(made[:high]):
                f.store(re, held, a * line)
                f.store(im, held, a * line + self.step)

        f.loop(0, spectrum.complex, complex_column)
        height = f.least(f.constant(self.conv.target.height, I64) - i * high, high)
        bias = f.load(f["b"] + k * self.step, f.lane)
        f.loop(0, height, lambda a, _: self._row(place, a, width, bias))

    def _row(
        self, place: tuple[Value, Value, Index, Index], a: Value, width: int, bias: Value
    ) -> None:
        """One row of results."""
        f, conv, (n, k, i, j) = self.f, self.conv, place
        high, wide = outputs(conv, self.schedule)
        held = f["s"] + a * (self.columns * self.step)
        loaded = [f.load(held, f.lane, at * self.step) for at in range(self.columns)]
        numbers: list[Complex] = []
        for u in range(self.columns // 2 + 1):
            at = _slot(u, self.columns)
            numbers.append((loaded[at], loaded[at + 1] if at > 1 else None))
        at_ = (n, k, a + i * high, j * wide)
        y = pixel(f["y"], conv.target, at_)
        for b, value in enumerate(inverse(numbers, self.arithmetic)[:width]):
            total = value + bias
            if conv.residual is not None:
                other = pixel(f["r"], conv.residual, at_)
                total = total + f.load(other, f.lane, b * conv.residual.pixel)
            f.store(FUNCTIONS[conv.activation](f, total), y, b * conv.target.pixel)


def _slot(u: int, columns: int) -> int:
    """Where a column's number lies in a row of the workspace: the two real ones first."""
    return min(u, 1) if u in (0, columns // 2) else 2 * u
