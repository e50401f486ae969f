"""Convolutions of codes whose zeros lie in blocks of 1 × 4: `stream` over fours of channels (G27).

reference, one sample (`program.integers` says what ends it):
    for k, c, r, s where w[k, 4c … 4c + 3, r, s] is not all zeros, and all i, j:
        sum[k, i, j] += Σ_q w[k, 4c + q, r, s] · x[4c + q, i · stride + r, j · stride + s]

An entry of the stream is a word of four weights, and one instruction multiplies them with the four
channels that a lane of x holds. Four filters make a word of results. Weights without zeros are a
stream as well: places cost one load of the eighteen for sixteen sums, so that the layers between
sparse ones need no other kernel and no other layout. Zeros that do not fill a block gain nothing:
2 : 4 along channels leaves every word half full, and is as slow as dense.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.emit import I32, Function, Isa, Tile, Value, integers, vector
from lighten.kernels import quads, stream, stream_pack, tile_schedule
from lighten.kernels.quads import CODES
from lighten.kernels.stream import Place, Which
from lighten.kernels.tile_schedule import Schedule, TiledConv

Array = np.ndarray[Any, Any]


def accepts(conv: TiledConv, isa: Isa) -> bool:
    """Any that reads images of codes in as many tiles as there are lanes; what it makes, and what
    it adds to that, may be codes or floats.
    """
    like = conv.residual is None or conv.residual.together == conv.target.together
    fits = conv.source.lanes == conv.target.lanes == isa.lanes
    return like and fits and conv.source.together == CODES


schedule, cycles, workspace = tile_schedule.schedule, tile_schedule.cycles, tile_schedule.workspace


def words(weight: Array) -> Array:
    """Codes `[filters, channels, rows, columns]` as words of four channels."""
    filters, channels, *kernel = weight.shape
    wide = np.zeros((filters, -(-channels // CODES) * CODES, *kernel), np.int8)
    wide[:, :channels] = weight
    split = wide.reshape(filters, -1, CODES, *kernel)
    held = np.ascontiguousarray(np.moveaxis(split, 2, -1))
    return held.view(np.uint32)[..., 0]


def width(conv: TiledConv) -> int:
    """How many numbers there are per filter: what `requantize.pack` is told."""
    return conv.target.groups * conv.target.together


def entries(weight: Array) -> int:
    """How many blocks of codes are not all zeros."""
    return int(np.count_nonzero(words(weight)))


def pack(weight: Array, conv: TiledConv, schedule: Schedule) -> Array:
    """Codes `[filters, channels, rows, columns]` as a stream."""
    return stream_pack.pack(words(weight), conv, schedule)


def emit(name: str, conv: TiledConv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: sources, the stream, what `requantize.pack` makes, what
    is added, results; r is not read where nothing is added.
    """
    words, coded = vector(I32, isa.lanes), conv.target.together == CODES

    def finish(f: Function, place: Place, which: Which, sums: Tile, made: Tile) -> Tile:
        ends = quads.ends(f, width(conv), which, conv.target.together)
        reals = _with_added(f, conv, [quads.scaled(f, t, ends) for t in sums], (place, which, ends))
        reals = [quads.active(f, r, conv.activation, ends if coded else None) for r in reals]
        if coded:
            codes = [quads.rounded(f, r, ends) for r in reals]
            made = [
                quads.joined(f, *pair, which[1]) for pair in zip(made or codes, codes, strict=True)
            ]
            reals = [quads.whole(f, word, ends) for word in made]
        if which[1] == conv.target.together - 1:
            y = place.start(f["y"], conv.target, which[0])
            for value, at in zip(reals, place.within(conv.target), strict=True):
                f.store(value, y, at)
        return made

    def fill(f: Function) -> Value:
        return quads.fill(f, width(conv)) if coded else f.zero(words)

    def multiply(f: Function, pixel: Value, weight: Value, total: Value) -> Value:
        return integers.dot(f, total, pixel, weight)

    return stream.emit(name, conv, schedule, isa, stream.Way(words, multiply, finish, fill))


def _with_added(
    f: Function, conv: TiledConv, reals: Tile, where: tuple[Place, Which, quads.Ends]
) -> Tile:
    """One filter's results with what lies at `r` added, which is in the same groups."""
    added, (place, (g, q), ends) = conv.residual, where
    if added is None:
        return reals
    r, made = place.start(f["r"], added, g), []
    for x, at in zip(reals, place.within(added), strict=True):
        if added.together == CODES:
            more = quads.added(f, f.load(r, vector(I32, f.isa.lanes), at), q, ends)
        else:
            more = f.load(r, f.lane, at) * ends.added[1]
        made.append(x + more)
    return made
