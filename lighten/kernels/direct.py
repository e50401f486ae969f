"""Direct convolution over blocked channels: the sum itself, with its results in registers.

    reference, one sample:
        for k, i, j:
            y[k, i, j] = b[k] + Σ_c Σ_r Σ_s w[k, c, r, s] · x[c, i · stride + r, j · stride + s]

The register block is `columns` neighbouring pixels by `blocks` registers of filters:

                 filters 0…15   16…31            per channel c of the input, one load of
    pixel j    [  sum  0    |  sum  1  ]         each filter register and one broadcast
    pixel j+1  [  sum  2    |  sum  3  ]         of each pixel feed columns × blocks
    …                                            multiply-adds
    pixel j+13 [  sum 26    |  sum 27  ]

Every sum stays in its register through all channels and taps, and is stored once. The padding is
read from the halo of x. Weights are packed in the order in which they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, framed, share
from lighten.kernels.block import LINE, Ahead, even, tallest
from lighten.kernels.finish import Place, finish, window
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv, Window

Array = np.ndarray[Any, Any]
Multiply = Callable[[Function, Value, Value, Value], Value]
Finish = Callable[[Function, Conv, Tile, Place, tuple[int, int]], None]
FILTERS = (6, 5, 4, 3, 2, 1)  # registers of filters in a block


@dataclass(frozen=True)
class Schedule:
    """The register block: `blocks` registers of filters by `columns` pixels of `rows` rows; more
    than one row where a row is no longer than that.
    """

    blocks: int
    columns: int
    rows: int = 1


@dataclass(frozen=True)
class Arithmetic:
    """How the product of a pixel and weights is added to a sum, and how sums are stored. Where a
    register block of filters reads only some `channels`, `begin` tells from which block on.
    """

    multiply: Multiply = Function.fma
    finish: Finish = finish
    begin: Callable[[Index], Index] = lambda g: 0
    channels: int = 0


PLAIN = Arithmetic()


def accepts(conv: Conv, isa: Isa) -> bool:
    """Any convolution without groups whose results are blocked by the registers' lanes; what it
    reads may be planar.
    """
    return conv.groups == 1 and conv.target.lanes == isa.lanes


def flat(conv: Conv) -> Conv:
    """A 1 × 1 convolution between images without halos reads and writes one long row."""
    layouts = [x for x in (conv.source, conv.target, conv.residual) if x is not None]
    if conv.window != Window((1, 1)) or any(x.halo != Halo() for x in layouts):
        return conv
    source, target, *rest = (replace(x, height=1, width=x.height * x.width) for x in layouts)
    return replace(conv, source=source, target=target, residual=rest[0] if rest else None)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit."""
    found, conv = [], flat(conv)
    for blocks in FILTERS:
        if conv.target.blocks % blocks:
            continue
        height, width, most = conv.target.height, conv.target.width, tallest(blocks, isa)
        found.append(Schedule(blocks, even(width, most)))
        tallest_even = even(height, max(1, most // width))
        if tallest_even > 1 and width <= most:
            found.append(Schedule(blocks, width, tallest_even))
    return found


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    weights = 4 * weight_size(conv)
    block = (schedule.blocks, schedule.columns * schedule.rows)
    shared = conv.batch if weights_first(conv, schedule) else 1
    return costs.products(conv.macs, conv, block, isa) + costs.far(weights) / shared


def asked_for(conv: Conv, schedule: Schedule, passes: int) -> int:
    """How many lines of the next group's filters are asked for with each tap of each block of
    channels, in so many passes over this group's; 0 where the filters are few or the passes many.
    """
    lines = conv.source.lanes * schedule.blocks * 4 * conv.target.lanes // LINE
    far = conv.remote and 4 * weight_size(conv) > costs.FEW and passes <= lines
    return math.ceil(lines / passes) if far else 0


def weights_first(conv: Conv, schedule: Schedule) -> bool:
    """Whether a group of filters passes over all samples before the next does: every image is read
    again for each group, but every weight only once.
    """
    image = conv.source.channels * conv.source.height * conv.source.width
    return image * conv.target.blocks // schedule.blocks < weight_size(conv)


def weight_size(conv: Conv) -> int:
    """How many weights there are, in whole blocks of filters."""
    rows, columns = conv.window.kernel
    return rows * columns * conv.source.channels * conv.target.blocks * conv.target.lanes


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels, rows, columns]` as `[group, block, row, column, channel, filter]`, where
    a group is what the register block holds; zeros for filters that are not there.
    """
    group, lanes = schedule.blocks * conv.target.lanes, conv.source.lanes
    filters, channels, rows, columns = weight.shape
    wide = np.zeros(
        (math.ceil(filters / group) * group, conv.source.blocks * lanes, rows, columns), np.float32
    )
    wide[:filters, :channels] = weight
    split = wide.reshape(-1, group, conv.source.blocks, lanes, rows, columns)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1))


def emit(
    name: str, conv: Conv, schedule: Schedule, isa: Isa, arithmetic: Arithmetic = PLAIN
) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: sources, packed weights, bias, what is added, results,
    and `share.COUNT`; r is not read where nothing is added.
    """
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    conv = flat(conv)
    some = replace(conv.source, channels=arithmetic.channels or conv.source.channels)
    read, target = replace(conv, source=some), conv.target
    source = read.source
    filters = schedule.blocks * f.lane.bytes  # of one channel's weights
    rows, columns = conv.window.kernel
    taps = rows * columns * source.lanes * filters
    width = even(target.width, schedule.columns)
    groups, tiles = target.blocks // schedule.blocks, math.ceil(target.width / width)
    lines, short = divmod(target.height, schedule.rows)
    ahead = asked_for(read, schedule, math.ceil(target.height / schedule.rows) * tiles)

    def soon(weights: Value, i: Index, j: Index) -> Ahead | None:
        """The part of the next group's filters that this tile asks for."""
        if not ahead:
            return None
        number = i * tiles + (j // width if tiles > 1 else 0)
        part = ahead * LINE * source.blocks * rows * columns
        return Ahead(weights + source.blocks * taps + number * part, ahead)

    def line(high: int, n: Value, g: Index, i: Index, run: tuple[Index, Index]) -> None:
        weights = f["w"] + g * (source.blocks * taps)
        outer = g * filters

        def tile(j: Index, width: int) -> None:
            first = i * schedule.rows
            start = f.settled(window(conv, f["x"], (n, arithmetic.begin(g), first, j)))
            block = (schedule.blocks, width, high)
            places = (start, weights, f["b"] + outer)
            sums = _sums(f, read, places, block, (soon(weights, i, j), arithmetic.multiply))
            place = (n, g * schedule.blocks, first, j)
            arithmetic.finish(f, conv, sums, place, (schedule.blocks, width))

        share.along(f, run, target.width, width, tile)

    def all_of(high: int, count: int, run: Callable[..., None]) -> None:
        """Every line of `high` rows: `count` of them."""
        if weights_first(read, schedule):
            order = (groups, f["n"])
            share.rows(f, order, (count, tiles), lambda g, n, *at: run(high, n, g, *at))
        else:
            share.rows(f, (f["n"], groups), (count, tiles), partial(run, high))

    all_of(schedule.rows, lines, line)
    if short:  # the image's last rows

        def last(high: int, n: Value, g: Index, i: Index, run: tuple[Index, Index]) -> None:
            line(high, n, g, i + lines, run)

        all_of(short, 1, last)
    return f


def _sums(
    f: Function,
    conv: Conv,
    places: tuple[Value, Value, Value],
    size: tuple[int, int, int],
    how: tuple[Ahead | None, Multiply],
) -> Tile:
    """The register block of `size` (registers, columns, rows): bias, and every channel and tap."""
    (x, w, b), (blocks, width, height), (ahead, multiply) = places, size, how
    source, lane = conv.source, f.lane
    rows, columns = conv.window.kernel
    row_step = conv.window.dilations[0] * source.row
    column_step = conv.window.dilations[1] * source.pixel
    filters = blocks * lane.bytes
    tap, (down, along) = source.lanes * filters, conv.window.strides
    pixels = [
        i * down * source.row + j * along * source.pixel for i, j in np.ndindex(height, width)
    ]

    def channels(count: int, x: Value, w: Value, sums: Tile) -> Tile:
        for c in range(count):
            held = [f.load(w, lane, c * filters + o * lane.bytes) for o in range(blocks)]
            for q, place in enumerate(pixels):
                pixel = f.load_spread(x, lane, place + 4 * c)
                for o in range(blocks):
                    at = q * blocks + o
                    sums[at] = multiply(f, pixel, held[o], sums[at])
        return sums

    def ask(number: Index) -> None:
        if ahead is not None:
            start = ahead.pointer + number * (ahead.lines * LINE)
            for line in range(ahead.lines):
                f.prefetch(start + line * LINE)

    def block(count: int, place: tuple[Value, Value, Index], sums: Tile) -> Tile:
        x, w, first = place

        def row(r: Value, sums: Tile) -> Tile:
            def column(s: Value, sums: Tile) -> Tile:
                ask(first + r * columns + s)
                return channels(count, x_row + s * column_step, w_row + s * tap, sums)

            x_row, w_row = x + r * row_step, w + r * (columns * tap)
            return f.loop(0, columns, column, sums)

        return f.loop(0, rows, row, sums)

    first = [f.load(b, lane, o * lane.bytes) for o in range(blocks)]
    sums = [first[o] for _ in pixels for o in range(blocks)]
    whole, rest = divmod(source.channels, source.lanes)

    def every(c: Value, sums: Tile) -> Tile:
        place = (x + c * source.block, w + c * (rows * columns * tap), c * (rows * columns))
        return block(source.lanes, place, sums)

    sums = f.loop(0, whole, every, sums)
    if rest:
        taps = whole * rows * columns
        sums = block(rest, (x + whole * source.block, w + taps * tap, taps), sums)
    return sums


def reference(conv: Conv, x: Array, weight: Array, bias: Sequence[float]) -> Array:
    """The same by seven loops' worth of sums, `[n, c, h, w]` → `[n, k, i, j]`, in x's precision."""
    top, left, bottom, right = conv.window.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = conv.window.results(*x.shape[2:])
    y = np.zeros((len(x), len(weight), height, width), x.dtype)
    y += np.asarray(bias, x.dtype)[:, None, None]
    (rows, columns), (down, along) = conv.window.kernel, conv.window.strides
    for r in range(rows):
        for s in range(columns):
            begin, start = r * conv.window.dilations[0], s * conv.window.dilations[1]
            seen = padded[
                :, :, begin : begin + down * height : down, start : start + along * width : along
            ]
            y += np.einsum("kc,ncij->nkij", weight[:, :, r, s].astype(x.dtype), seen)
    return y
