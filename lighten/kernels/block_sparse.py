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
from lighten.kernels import quads, stream
from lighten.kernels.quads import CODES
from lighten.kernels.stream import Place, Schedule, TiledConv

Array = np.ndarray[Any, Any]


def accepts(conv: TiledConv, isa: Isa) -> bool:
    """Any that reads images of codes in as many tiles as there are lanes; what it makes, and what it
    adds to that, may be codes or floats.
    """
    like = conv.residual is None or conv.residual.together == conv.target.together
    fits = conv.source.lanes == conv.target.lanes == isa.lanes
    return like and fits and conv.source.together == CODES


schedule, workspace = stream.schedule, stream.workspace


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


def pack(weight: Array, conv: TiledConv, schedule: Schedule) -> Array:
    """Codes `[filters, channels, rows, columns]` as a stream."""
    return stream.pack(words(weight), conv, schedule)


def emit(name: str, conv: TiledConv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: sources, the stream, what `requantize.pack` makes, what
    is added, results; r is not read where nothing is added.
    """
    words, coded = vector(I32, isa.lanes), conv.target.together == CODES

    def finish(f: Function, place: Place, g: Value, sums: Tile, held: Value) -> None:
        ends = quads.ends(f, width(conv), g, conv.target.together)
        y, count, size = place.start(f["y"], conv.target, g), len(sums), conv.target.vector
        for at, to in enumerate(place.within(conv.target)):
            rows = [
                f.load(held, words, (q * count + at) * size)
                for q in range(conv.target.together - 1)
            ]
            reals = [quads.scaled(f, t, q, ends) for q, t in enumerate((*rows, sums[at]))]
            reals = _with_added(f, conv, reals, (place, g, at), ends)
            if coded:
                codes = [quads.rounded(f, r, ends, conv.activation) for r in reals]
                f.store(quads.joined(f, codes, ends), y, to)
            else:
                f.store(quads.active(f, reals[0], conv.activation), y, to)

    def fill(f: Function) -> Value:
        return quads.fill(f, width(conv)) if coded else f.zero(words)

    def multiply(f: Function, pixel: Value, weight: Value, total: Value) -> Value:
        return integers.dot(f, total, pixel, weight)

    return stream.emit(name, conv, schedule, isa, stream.Way(words, multiply, finish, fill))


def _with_added(
    f: Function,
    conv: TiledConv,
    reals: Tile,
    where: tuple[Place, Value, int],
    ends: quads.Ends,
) -> Tile:
    """The registers of a cell with what lies at `r` added, which is in the same groups."""
    if conv.residual is None:
        return reals
    place, g, at = where
    r = place.start(f["r"], conv.residual, g) + place.within(conv.residual)[at]
    if conv.residual.together == CODES:
        word = f.load(r, vector(I32, f.isa.lanes))
        return [x + quads.added(f, word, q, ends) for q, x in enumerate(reals)]
    return [x + f.load(r, f.lane) * ends.added[1] for x in reals]
