"""Convolution of signs: 32 products at a time are an exclusive or and a count of bits (row B16).

    reference, one sample, x and w in {−1, +1} as bits, zeros around x:
        for k, i, j:
            differing = Σ_words popcount(x xor w)
            y[k, i, j] = α[k] · (number of products − 2 · differing) + b[k]

Weights of `planes` signs are as many filters whose sums are scaled and added (B22, B24). Ternary
ones (`masked`) say in a second word which of their products count: popcount((x xor w) and mask).

The register block is that of `direct`, whose channels are words of 32, several planes being
registers side by side:

                 filters 0…15             16…31            per word, one load of each register
    pixel j    [  plane 0 |  plane 1  ][  plane 0 | …      of weights and one broadcast of each
    pixel j+1  [  …                                        pixel

Images of signs lie as `[block of words, row, column, word]`, and their halo is zero bits, which
stand for −1: how much that takes from a sum depends on how many rows and columns of the window are
outside, so the number that a sum begins with is looked up by both:

    b:   byte offsets of every row of y, of every column, int32 | starts `[rows outside, columns
         outside, filter]`, int32 | α of every filter, float32 | b of every filter, float32

Where only the sign of y is kept, that is whether few enough bits differ: instead of starts there
are the most that may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lighten.emit import I32, I64, POINTER, Function, Index, Isa, Tile, Value, vector
from lighten.emit import bits as instructions
from lighten.emit.integers import real
from lighten.kernels import direct, share
from lighten.kernels.binary_layer import Layer, flat, outside
from lighten.kernels.block import even
from lighten.kernels.finish import Place, pixel, window
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Ends:
    """Where `b` holds what ends a sum, in bytes; `line` is one of its rows of starts."""

    layer: Layer
    lanes: int

    @cached_property
    def starts(self) -> int:
        target = self.layer.conv.target
        return 4 * (target.height + target.width)

    @cached_property
    def line(self) -> int:
        target = self.layer.conv.target
        return 4 * target.blocks * self.lanes * self.layer.schedule.kind.planes

    @cached_property
    def scales(self) -> int:
        kinds = [len(np.unique(seen, axis=0)) for seen in outside(self.layer.conv)]
        return self.starts + kinds[0] * kinds[1] * self.line

    @cached_property
    def shifts(self) -> int:
        return self.scales + self.line


def emit(name: str, layer: Layer, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: words, packed weights, `pack_ends`, what is added,
    results; r is not read where nothing is added.
    """
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    layer = flat(layer)
    conv, schedule = layer.conv, layer.schedule
    source, target = conv.source, conv.target
    ends = _Ends(layer, isa.lanes)
    group = math.prod(conv.window.kernel) * source.channels * _step(layer, f)
    width = even(target.width, schedule.columns)
    groups, tiles = target.blocks // schedule.filters, math.ceil(target.width / width)
    lines, short = divmod(target.height, schedule.rows)

    def line(high: int, n: Value, g: Index, i: Index, run: tuple[Index, Index]) -> None:
        first = i * schedule.rows

        def tile(j: Index, width: int) -> None:
            start = f.settled(window(conv, f["x"], (n, 0, first, j)))
            sums = _sums(f, layer, (start, f["w"] + g * group), (high, width))
            _finish(f, ends, sums, (n, g, first, j), width)

        share.along(f, run, target.width, width, tile)

    heavy = group * groups > source.sample  # weights are read once, the image for every group

    def all_of(high: int, count: int, above: int) -> None:
        def of_group(g: Index, n: Value, i: Index, run: tuple[Index, Index]) -> None:
            line(high, n, g, i + above, run)

        if heavy:
            share.rows(f, (groups, f["n"]), (count, tiles), of_group)
        else:
            share.rows(f, (f["n"], groups), (count, tiles), lambda n, g, *at: of_group(g, n, *at))

    all_of(schedule.rows, lines, 0)
    if short:  # the image's last rows
        all_of(short, 1, lines)
    return f


def _step(layer: Layer, f: Function) -> int:
    """Bytes of weights for one word of a pixel."""
    return layer.schedule.blocks * layer.schedule.kind.words * f.lane.bytes


def _sums(f: Function, layer: Layer, places: tuple[Value, Value], size: tuple[int, int]) -> Tile:
    """How many bits differ, for `size` (rows, columns): sums[pixel * blocks + register]."""
    conv, blocks = layer.conv, layer.schedule.blocks
    source, (rows, columns) = conv.source, conv.window.kernel
    (x, w), step = places, _step(layer, f)
    row_step = conv.window.dilations[0] * source.row
    column_step = conv.window.dilations[1] * source.pixel
    down, along = conv.window.strides
    pixels = [i * down * source.row + j * along * source.pixel for i, j in np.ndindex(size)]
    tap = source.lanes * step
    # taps written out at once: where bytes are counted; else LLVM shares their pixels, and spills
    apart = instructions.has_counts(f.isa) or columns * source.lanes > instructions.MOST
    together = 1 if apart else columns

    def some(x: Value, w: Value, sums: Tile) -> Tile:
        counter = instructions.Counter(f, sums)
        for s, word in np.ndindex(together, source.lanes):
            at = s * column_step + word * 4
            _count(f, layer, counter, (x + at, w + (s * tap + word * step), pixels))
        return counter.totals()

    def block(c: Value, sums: Tile) -> Tile:
        def row(r: Value, sums: Tile) -> Tile:
            x_row = x + c * source.block + r * row_step
            w_row = w + c * (rows * columns * tap) + r * (columns * tap)

            def column(s: Value, sums: Tile) -> Tile:
                return some(x_row + s * column_step, w_row + s * tap, sums)

            return f.loop(0, columns, column, sums, together)

        return f.loop(0, rows, row, sums)

    zero = f.zero(vector(I32, f.isa.lanes))
    return f.loop(0, source.blocks, block, [zero] * (len(pixels) * blocks))


def _count(
    f: Function,
    layer: Layer,
    counter: instructions.Counter,
    places: tuple[Value, Value, list[int]],
) -> None:
    """Count what one word of every pixel adds to each sum."""
    (x, w, pixels), kind, lane = places, layer.schedule.kind, vector(I32, f.isa.lanes)
    held = [
        [f.load(w, lane, (o * kind.words + part) * lane.bytes) for part in range(kind.words)]
        for o in range(layer.schedule.blocks)
    ]
    for q, place in enumerate(pixels):
        pixel = f.load_spread(x, lane, place)
        for o, (sign, *mask) in enumerate(held):
            bits = instructions.differ(f, pixel, sign)
            for counts in mask:
                bits = instructions.both(f, bits, counts)
            counter.add(q * len(held) + o, bits)


def _finish(f: Function, ends: _Ends, sums: Tile, place: Place, width: int) -> None:
    """Store what the sums stand for, or its signs."""
    layer = ends.layer
    conv, schedule = layer.conv, layer.schedule
    n, g, first, j = place
    for q in range(len(sums) // schedule.blocks):
        at = (n, g * schedule.filters, first + q // width, j + q % width)
        mine = sums[q * schedule.blocks : (q + 1) * schedule.blocks]
        if layer.signs is not None:
            _store_signs(f, layer.signs, _conditions(f, ends, mine, at), at)
            continue
        found = _numbers(f, ends, mine, at)
        y = pixel(f["y"], conv.target, at)
        for o, r in enumerate(found):
            f.store(r, y, o * conv.target.block)


def _conditions(f: Function, ends: _Ends, sums: Tile, place: Place) -> Tile:
    """Whether the results of one pixel are not below zero."""
    if not ends.layer.compares:
        return [instructions.not_below(f, r) for r in _numbers(f, ends, sums, place)]
    bounds = f["b"] + ends.starts + _offset(f, ends, place) + place[1] * f.lane.bytes
    words = sums[0].type
    return [
        instructions.at_most(f, total, f.load(bounds, words, o * words.bytes))
        for o, total in enumerate(sums)
    ]


def _numbers(f: Function, ends: _Ends, sums: Tile, place: Place) -> Iterator[Value]:
    """The results of one pixel, register by register of filters."""
    layer, lane, words = ends.layer, f.lane, vector(I32, f.isa.lanes)
    conv, schedule = layer.conv, layer.schedule
    planes, register = schedule.kind.planes, place[1]
    starts = f["b"] + ends.starts + _offset(f, ends, place)
    for o in range(schedule.filters):
        r: Value | None = None
        for plane in range(planes):
            number = (register + o) * planes + plane
            twice = sums[o * planes + plane] * 2
            counted = real(f, f.load(starts + number * lane.bytes, words) - twice)
            part = counted * f.load(f["b"] + number * lane.bytes, lane, ends.scales)
            r = part if r is None else r + part
        assert r is not None, "at least one plane"
        r = r + f.load(f["b"] + (register + o) * lane.bytes, lane, ends.shifts)
        if conv.residual is not None:
            r = r + f.load(pixel(f["r"], conv.residual, place), lane, o * conv.residual.block)
        yield FUNCTIONS[conv.activation](f, r)


def _offset(f: Function, ends: _Ends, place: Place) -> Index:
    """Bytes to what sums of a pixel begin with, where windows reach over the border."""
    layer = ends.layer
    if not layer.bordered:
        return 0
    found = []
    for index, before in ((place[2], 0), (place[3], layer.conv.target.height)):
        at = f["b"] + index * 4 + 4 * before
        held = f.load(at, I32)
        found.append(f.instruction(f"sext i32 {held.name} to i64", I64))
    return found[0] + found[1]


def _store_signs(f: Function, signs: Blocked, found: Tile, place: Place) -> None:
    """Conditions of a pixel's filters as bits, whole bytes at a time."""
    (n, register, i, j), lanes = place, f.isa.lanes
    together = max(1, 8 // lanes)
    y = pixel(f["y"], signs, (n, 0, i, j))
    for o in range(0, len(found), together):
        octet: Index = (register + o) * lanes // 8
        if signs.blocks > 1:
            block = octet // (4 * signs.lanes)
            octet = octet + block * (signs.block - 4 * signs.lanes)
        f.store(instructions.together(f, found[o : o + together]), y + octet)


def reference(layer: Layer, x: Array, weight: Array, scale: Array, shift: Array) -> Array:
    """The sum itself, of `[n, c, h, w]` in {−1, 1} and weights as `pack` takes them."""
    total = np.zeros(())
    for plane in range(weight.shape[-1]):
        part = direct.reference(layer.conv, x, weight[..., plane], [0.0] * len(weight))
        total = total + part * scale[:, plane, None, None]
    return total + shift[:, None, None]
