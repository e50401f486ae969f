"""Convolutions with zeros anywhere among their weights, in float32: `stream` over channels.

reference, one sample:
    for k, c, r, s where w[k, c, r, s] ≠ 0, and all i, j:
        y[k, i, j] += w[k, c, r, s] · x[c, i · stride + r, j · stride + s]

A pattern makes no difference: 2 : 4 and 1 × 4 blocks take as long as zeros anywhere, for an entry
is one number of one channel, and a place costs no more than a number does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.emit import F32, I32, Function, Isa, Tile, vector
from lighten.kernels import stream, stream_pack, tile_schedule
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.stream import Place, Which
from lighten.kernels.tile_schedule import Schedule, TiledConv

Array = np.ndarray[Any, Any]


def accepts(conv: TiledConv, isa: Isa) -> bool:
    """Any between float32 images in as many tiles as there are lanes."""
    ends = (conv.source, conv.target)
    return all(end.together == 1 and end.lanes == isa.lanes for end in ends)


schedule, cycles, workspace = tile_schedule.schedule, tile_schedule.cycles, tile_schedule.workspace


def entries(weight: Array) -> int:
    """How many weights are not zero."""
    return int(np.count_nonzero(weight))


def pack(weight: Array, conv: TiledConv, schedule: Schedule) -> Array:
    """`[filters, channels, rows, columns]` as a stream."""
    return stream_pack.pack(
        np.ascontiguousarray(weight, np.float32).view(np.uint32), conv, schedule
    )


def emit(name: str, conv: TiledConv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`: sources, the stream, bias, what is added, results; r is
    not read where nothing is added.
    """

    def finish(f: Function, place: Place, which: Which, sums: Tile, _: Tile) -> Tile:
        g = which[0]
        y, added = place.start(f["y"], conv.target, g), conv.residual
        if added is not None:
            r = place.start(f["r"], added, g)
            held = [f.load(r, f.lane, at) for at in place.within(added)]
            sums = [value + more for value, more in zip(sums, held, strict=True)]
        for value, at in zip(sums, place.within(conv.target), strict=True):
            f.store(FUNCTIONS[conv.activation](f, value), y, at)
        return []

    kind = vector(F32, isa.lanes)
    way = stream.Way(kind, Function.fma, finish, lambda f: f.zero(vector(I32, isa.lanes)))
    return stream.emit(name, conv, schedule, isa, way)
