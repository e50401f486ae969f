"""Convolutions whose zeros are skipped: weights as a stream of places and values (rows C11, G27).

reference, one sample and one filter k:
    for (c, r, s), w in the filter's stream:                  only what is not zero
        y[k, i, j] += w · x[c, i · stride + r, j · stride + s]          for all i, j

            tiles 0 … 15                 The register block is `rows` by `columns` cells of every
    cell 0 [   sum 0   ]                 tile. Each entry of the stream is a place, relative to the
    cell 1 [   sum 1   ]                 cell, and a number: one load spreads the number, one load
    …                                    per sum fetches its pixel from there, all aligned.

Places and numbers are data: the code knows the shape alone, and is the same for every pattern.
Channels are taken in chunks whose pixels stay in the first cache; between chunks the sums wait in
scratch. Few sums are kept in several copies, each fed by other entries, so that none waits for its
last addition; a filter's entries are filled up with zeros to as many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I32, I64, POINTER, Function, Isa, Tile, Type, Value
from lighten.kernels import share, tile_frames
from lighten.kernels.stream_pack import WORD
from lighten.kernels.tile_schedule import (
    ENTRY,
    Cells,
    Schedule,
    TiledConv,
    blocks,
    chunks,
    workspace,
)
from lighten.kernels.tiled import Tiled

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """One register block: its sample, its first cell (i, j), and its cells from there."""

    n: Value
    i: Value
    j: Value
    cells: Cells

    def start(self, base: Value, layout: Tiled, group: Value) -> Value:
        """Where the first cell of a group lies."""
        moved = base + self.n * layout.sample + group * layout.group + layout.origin
        return moved + self.i * layout.row + self.j * layout.vector

    def within(self, layout: Tiled) -> list[int]:
        """Bytes from the block's first cell to each."""
        return [i * layout.row + j * layout.vector for i, j in self.cells]


Multiply = Callable[[Function, Value, Value, Value], Value]
Which = tuple[Value, int]  # a group of filters, and one in it
Finish = Callable[[Function, Place, Which, Tile, Tile], Tile]


@dataclass(frozen=True)
class Way:
    """What is added up: registers of `kind`; `multiply(f, pixel, weight, sum)`; `finish(f, place,
    which, sums, made)` ends the sums of one filter of a group, of whose filters before it `made` is
    what is in registers, and stores them after the last; `fill(f)` is what is around an image.
    """

    kind: Type
    multiply: Multiply
    finish: Finish
    fill: Callable[[Function], Value]


# ── code ──────────────────────────────────────────────────────────────────────────────────────


def emit(name: str, conv: TiledConv, schedule: Schedule, isa: Isa, way: Way) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, with scratch `s` after y where it has some."""
    names = "xwbrys" if workspace(conv, schedule) else "xwbry"
    f = Function(name, {**dict.fromkeys(names, POINTER), **share.COUNT}, isa)
    target, number = conv.target, chunks(conv, schedule)

    def block(span: tuple[Value, Value], place: Place) -> None:
        x = _window(conv, f["x"], place)
        if number > 1:
            _prepared(f, conv, span, place, way)
            several = (number - 1, x)
            _chunks(f, conv, schedule, (span, several, place), way)
        _finished(f, conv, schedule, (span, x, place), way)

    def some(n: Value, first: Value, last: Value) -> None:
        for rows, columns, cells in blocks(conv, schedule):

            def line(i: Value, _: Tile, columns: range = columns, cells: Cells = cells) -> None:
                def column(j: Value, _: Tile) -> None:
                    block((first, last), Place(n, i, j, cells))

                f.loop(columns.start, columns.stop, column, step=columns.step)

            f.loop(rows.start, rows.stop, line, step=rows.step)
        start, fill = f["y"] + n * target.sample, way.fill(f)
        f.loop(
            first,
            last,
            lambda g, _: tile_frames.frame(f, target, start + g * target.group, fill),
        )

    share.spans(f, (f["n"], target.groups), some)
    return f


def _window(conv: TiledConv, x: Value, place: Place) -> Value:
    """Where the window of a block's first cell begins."""
    source, (top, left, _, _) = conv.source, conv.window.pads
    down, along = conv.window.strides
    moved = x + place.n * source.sample
    moved = moved + place.i * (down * source.row) + place.j * (along * source.vector)
    return moved + (
        (source.halo.top - top) * source.row + (source.halo.left - left) * source.vector
    )


def _prepared(
    f: Function, conv: TiledConv, span: tuple[Value, Value], place: Place, way: Way
) -> None:
    """The bias of every filter, where its sums will wait."""
    size, vectors = conv.target.vector, len(place.cells)

    def one(o: Value, _: Tile) -> None:
        bias = f.load_spread(f["b"] + o * WORD, way.kind)
        s = f["s"] + (o - span[0] * conv.target.together) * (size * vectors)
        for at in range(vectors):
            f.store(bias, s, at * size)

    first, last = (end * conv.target.together for end in span)
    f.loop(first, last, one)


def _chunks(
    f: Function,
    conv: TiledConv,
    schedule: Schedule,
    what: tuple[tuple[Value, Value], tuple[int, Value], Place],
    way: Way,
) -> None:
    """All chunks but the last, added to the sums that wait."""
    span, (number, x), place = what
    first, last = (end * conv.target.together for end in span)
    size, vectors = conv.target.vector, len(place.cells)

    def chunk(c: Value, _: Tile) -> None:
        def one(o: Value, _: Tile) -> None:
            s = f["s"] + (o - first) * (size * vectors)
            sums = [f.load(s, way.kind, at * size) for at in range(vectors)]
            for at, value in enumerate(_sums(f, conv, schedule, (c, o, x, place), sums, way)):
                f.store(value, s, at * size)

        f.loop(first, last, one)

    f.loop(0, number, chunk)


def _finished(
    f: Function,
    conv: TiledConv,
    schedule: Schedule,
    what: tuple[tuple[Value, Value], Value, Place],
    way: Way,
) -> None:
    """The last chunk of every filter, and what is done to its sums; those of a group together."""
    (first, last), x, place = what
    together, number = conv.target.together, chunks(conv, schedule)
    size, vectors = conv.target.vector, len(place.cells)

    def group(g: Value, _: Tile) -> None:
        made: Tile = []
        for q in range(together):
            o = g * together + q
            if number > 1:
                s = f["s"] + (o - first * together) * (size * vectors)
                sums = [f.load(s, way.kind, at * size) for at in range(vectors)]
            else:
                sums = [f.load_spread(f["b"] + o * WORD, way.kind)] * vectors
            chunk = f.constant(number - 1, I64)
            sums = _sums(f, conv, schedule, (chunk, o, x, place), sums, way)
            made = way.finish(f, place, (g, q), sums, made)

    f.loop(first, last, group)


def _sums(
    f: Function,
    conv: TiledConv,
    schedule: Schedule,
    what: tuple[Value, Value, Value, Place],
    sums: Tile,
    way: Way,
) -> Tile:
    """One filter's entries of one chunk added to its sums."""
    chunk, o, x, place = what
    source, (down, along) = conv.source, conv.window.strides
    pixels = [i * down * source.row + j * along * source.vector for i, j in place.cells]
    lines = conv.target.groups * conv.target.together
    row = f["w"] + (chunk * lines + o) * WORD
    begin, end = (_wide(f, f.load(row, I32, at * WORD)) for at in range(2))
    count = len(sums)
    held = sums + [f.zero(way.kind)] * (count * (schedule.copies - 1))

    def entry(e: Value, held: Tile) -> Tile:
        made = []
        for copy in range(schedule.copies):
            start = f["w"] + e + copy * ENTRY
            pixel = x + _wide(f, f.load(start, I32))
            weight = f.load_spread(start, way.kind, WORD)
            for at, place_ in enumerate(pixels):
                value = f.load(pixel, way.kind, place_)
                made.append(way.multiply(f, value, weight, held[copy * count + at]))
        return made

    held = f.loop(begin, end, entry, held, step=ENTRY * schedule.copies)
    return [
        _total([held[copy * count + at] for copy in range(schedule.copies)]) for at in range(count)
    ]


def _total(values: Tile) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _wide(f: Function, number: Value) -> Value:
    """A word as an index."""
    return f.instruction(f"sext i32 {number.name} to i64", I64)
