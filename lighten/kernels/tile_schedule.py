"""Register blocks of convolutions over tiles: which fit, and how long each is predicted to take."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from lighten.emit import Isa
from lighten.kernels import costs
from lighten.kernels.block import READY, even
from lighten.kernels.shapes import Window
from lighten.kernels.tiled import Tiled

Cells = list[tuple[int, int]]
ENTRY = 8  # bytes of an entry: a place and a number, of a word each
NEAR = 38 << 10  # bytes of pixels that stay in the first cache beside weights and results
SPARE = 4  # registers that hold no sum
# cycles: a load of a register, of which 1.6 come in each; a sum's addition until the next; leaving
# a filter's loop; a register from the second cache; one of a word that waits outside the registers;
# ending a sum, as a float and as a code
LOAD, WAIT, LEAVE, FURTHER, AWAY = 0.62, 4.0, 18.0, 1.3, 1.0
END = {1: 1.0, 4: 2.5}


@dataclass(frozen=True)
class TiledConv:
    """A convolution between images in tiles: `y = activation(w ∗ x + b + residual)`."""

    source: Tiled
    target: Tiled
    window: Window
    activation: str = ""
    residual: Tiled | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample, zeros and all."""
        pixels = self.target.height * self.target.width
        return self.target.channels * pixels * self.source.channels * math.prod(self.window.kernel)


@dataclass(frozen=True)
class Schedule:
    """The register block of `rows` by `columns` cells, `copies` of it, and the groups of channels
    in a chunk.
    """

    rows: int
    columns: int
    copies: int
    chunk: int


def schedules(conv: TiledConv, isa: Isa) -> list[Schedule]:
    """Blocks in even parts of the tile that fit into registers, with chunks that stay near."""
    (high, wide), most = conv.target.tile, isa.registers - SPARE
    found = {
        (even(high, rows), even(wide, columns))
        for rows, columns in itertools.product(range(1, high + 1), range(1, wide + 1))
        if rows * columns <= most
    }
    return [_with_chunks(conv, *block) for block in sorted(found)]


def _with_chunks(conv: TiledConv, rows: int, columns: int) -> Schedule:
    """A block with as many copies as keep its sums from waiting, and its chunks."""
    copies = max(1, min(READY // (rows * columns), 4))
    chunk = max(1, NEAR // (_seen(conv, rows, columns) * conv.source.vector))
    return Schedule(rows, columns, copies, even(conv.source.groups, chunk))


def schedule(conv: TiledConv, isa: Isa, entries: int) -> Schedule:
    """The block that is predicted to take the fewest cycles for so many entries."""
    return min(schedules(conv, isa), key=lambda one: cycles(conv, one, isa, entries))


def cycles(conv: TiledConv, schedule: Schedule, isa: Isa, entries: int) -> float:
    """A rough prediction for one sample."""
    filters, number = conv.target.groups * conv.target.together, chunks(conv, schedule)
    total = costs.far(ENTRY * entries)
    for rows, columns, cells in blocks(conv, schedule):
        count, sums = len(rows) * len(columns), len(cells)
        entry = max((sums + 2) * LOAD, WAIT / schedule.copies)
        waiting = 2 * sums * (number - 1) * LOAD
        crowded = conv.target.together > 1 and 2 * sums > isa.registers - SPARE
        away = AWAY * sums if crowded else 0.0
        seen = _seen(conv, *(end + 1 for end in cells[-1])) * conv.source.groups
        per_filter = LEAVE * number + waiting + away + END[conv.target.together] * sums
        total += count * (entries * entry + filters * per_filter + seen * FURTHER)
    return total


def _seen(conv: TiledConv, rows: int, columns: int) -> int:
    """Cells of one group that the windows of a block read."""
    sides = zip((rows, columns), conv.window.strides, conv.window.extent, strict=True)
    return math.prod((count - 1) * step + extent for count, step, extent in sides)


def chunks(conv: TiledConv, schedule: Schedule) -> int:
    """In how many chunks the channels are taken."""
    return math.ceil(conv.source.groups / schedule.chunk)


def workspace(conv: TiledConv, schedule: Schedule) -> int:
    """Bytes of the sums that wait between chunks."""
    if chunks(conv, schedule) == 1:
        return 0
    filters = conv.target.groups * conv.target.together
    return filters * schedule.rows * schedule.columns * conv.target.vector


def blocks(conv: TiledConv, schedule: Schedule) -> list[tuple[range, range, Cells]]:
    """A tile in whole blocks, and what is left below and beside: first rows, first columns, and
    the cells of each.
    """

    def cut(size: int, part: int) -> list[tuple[range, int]]:
        whole = size - size % part
        found = [(range(0, whole, part), part), (range(whole, size, part), size - whole)]
        return [piece for piece in found if piece[0]]

    (high, wide) = conv.target.tile
    return [
        (a, b, list(itertools.product(range(rows), range(columns))))
        for (a, rows), (b, columns) in itertools.product(
            cut(high, schedule.rows), cut(wide, schedule.columns)
        )
    ]
