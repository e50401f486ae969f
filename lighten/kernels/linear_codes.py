"""Rows of codes times a packed matrix: linear layers over tokens in int8 (rows B1, B8).

    reference, one sample:
        for t, k:
            sum = b[k] + Σ_c w[k, c] · x[t, c]
            y[t, k] = as `requantize` ends it, with r[t, k] added where there is one

Four channels lie in a word, and the register block is that of `linear`, whose channels are such
words:

             filters 0…15   16…31
    row t    [  sum  0    |  sum  1  ]        dot products of four
    row t+1  [  sum  2    |  sum  3  ]
    …
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lighten.emit import I32, Function, Index, Isa, Tile, Value, integers, lanes, vector
from lighten.kernels import linear, requantize
from lighten.kernels.block import Numbers
from lighten.kernels.direct_codes import multiply
from lighten.kernels.finish import number_of
from lighten.kernels.linear import Linear, Schedule
from lighten.kernels.strided import Strided, rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LinearCodes:
    """`rows` rows of so many `channels`, a multiple of 4, and `filters`; the result's numbers and
    the residual's have so many bytes, the latter none where there is no residual.
    """

    rows: int
    channels: int
    filters: int
    size: int = 1
    added: int = 0
    activation: str = ""

    @property
    def words(self) -> Linear:
        """The layer whose channels are words of four; its results and residual lie in rows."""
        target = rows((self.rows, self.filters))
        source = rows((self.rows, self.channels // 4))
        return Linear(source, target, self.activation, target if self.added else None)


def accepts(rows: int, channels: int) -> bool:
    """Whole words, and any number of rows."""
    return rows > 0 and channels % 4 == 0


def schedule(op: LinearCodes, isa: Isa) -> Schedule:
    """The register block."""
    return linear.schedule(op.words, isa)


def pack(weight: Array, schedule: Schedule, isa: Isa) -> Array:
    """`[filters, channels]` int8 as `linear` packs words."""
    return linear.pack(np.ascontiguousarray(weight).view(np.float32), schedule, isa)


def emit(name: str, op: LinearCodes, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, b as `requantize.pack` makes it for whole panels."""
    panel = schedule.blocks * isa.lanes
    width = -(-op.filters // panel) * panel
    how = linear.How(Numbers(multiply, _add), partial(_finish, what=(op, width)))
    return linear.emit(name, op.words, schedule, isa, how)


def _add(f: Function, a: Value, b: Value) -> Value:
    kind = vector(I32, f.isa.lanes)
    return integers.cast(f, integers.cast(f, a, kind) + integers.cast(f, b, kind), f.lane)


def _finish(
    f: Function,
    op: Linear,
    sums: Tile,
    place: tuple[Index, Index, Value],
    width: int,
    *,
    what: tuple[LinearCodes, int],
) -> None:
    """Store the sums of a tile, rounded where the result is codes; `what` is the layer, and how
    many filters there are in whole panels.
    """
    codes, width_of_all = what
    (n, row, column), blocks = place, -(-width // f.isa.lanes)
    ends = f["b"] + 8 * width_of_all
    multipliers = f["b"] + 4 * width_of_all + column * 4

    def at(base: Value, steps: Strided, size: int) -> Value:
        moved = base if isinstance(n, int) else base + n * (size * steps.sample)
        return moved + row * (size * steps.strides[0]) + column * size

    y, r = at(f["y"], op.target, codes.size), at(f["r"], op.target, codes.added)
    for number, total in enumerate(sums):
        q, o = divmod(number, blocks)
        count, first = min(f.isa.lanes, width - o * f.isa.lanes), q * codes.filters
        first += o * f.isa.lanes
        value = requantize.scaled(f, total, f.load(multipliers, f.lane, o * f.lane.bytes))
        if codes.added:
            kind = vector(number_of(codes.added), f.isa.lanes)
            added = lanes.load_first(f, r + first * codes.added, kind, count)
            value = value + requantize.taken(f, added, ends)
        stored = requantize.ended(f, value, codes.size, ends, codes.activation)
        lanes.store_first(f, stored, y + first * codes.size, count)
