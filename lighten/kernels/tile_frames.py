"""What lies around the pixels of tiles: the neighbours' pixels, and padding beyond the image.

reference, one group of channels:
    for every cell (i, j) of tile (p, q):
        y[i, j][p, q] = image[p · rows + i, q · columns + j]     or the fill, where there is none

The cells of one row of neighbours all come from the same other tiles: from one register the lanes
are permuted into the halo's.

    [a b c d]  →  [b . d .]      right of 2 × 2 tiles: a's neighbour is b, b has none
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lighten.emit import I32, Function, Tile, Value, vector
from lighten.kernels.tiled import Tiled

UNROLLED = 8  # cells of a row written out


@dataclass(frozen=True)
class Run:
    """Cells from `start` below `stop` along one axis of a tile that are alike: the pixels of the
    tile `shift` further on; `filled` tiles of the grid have such pixels.
    """

    start: int
    stop: int
    shift: int = 0
    filled: int = 0


def frame(f: Function, layout: Tiled, group: Value, fill: Value) -> None:
    """Fill what lies around and beyond the pixels of one group, whose first byte is `group`."""
    kind = vector(I32, layout.lanes)
    first = group + layout.origin
    for lanes, rows, columns in _beyond(layout):

        def kept(i: Value, j: Value, lanes: list[int] = lanes) -> None:
            place = first + (i * layout.row + j * layout.vector)
            f.store(f.permute(f.load(place, kind), lanes, fill), place)

        _over(f, rows, columns, kept)
    for lanes, rows, columns in _around(layout):
        (high, wide), (down, along) = layout.tile, (rows.shift, columns.shift)
        back = down * high * layout.row + along * wide * layout.vector

        def taken(i: Value, j: Value, lanes: list[int] = lanes, back: int = back) -> None:
            place = first + (i * layout.row + j * layout.vector)
            f.store(f.permute(f.load(place - back, kind), lanes, fill), place)

        _over(f, rows, columns, taken)


def inside(layout: Tiled) -> list[tuple[list[bool], Run, Run]]:
    """The cells of a tile in parts, and which lanes hold a pixel of the image there."""
    down, across = layout.grid
    sides = zip(layout.tile, (layout.height, layout.width), layout.grid, strict=True)
    rows, columns = (_filled(*side) for side in sides)
    return [
        ([p < a.filled and q < b.filled for p in range(down) for q in range(across)], a, b)
        for a, b in itertools.product(rows, columns)
    ]


def _beyond(layout: Tiled) -> Iterator[tuple[list[int], Run, Run]]:
    """The cells where some tile has no pixel, and from which lanes they are taken."""
    for there, rows, columns in inside(layout):
        if not all(there):
            lanes = [lane if held else layout.lanes for lane, held in enumerate(there)]
            yield lanes, rows, columns


def _around(layout: Tiled) -> Iterator[tuple[list[int], Run, Run]]:
    """The cells of the halo, and from which lanes of the pixel's own register they are taken."""
    (high, wide), halo = layout.tile, layout.halo
    above = _shifted(halo.top, high, halo.bottom)
    beside = _shifted(halo.left, wide, halo.right)
    for a, b in itertools.product(above, beside):
        if a.shift or b.shift:
            yield _neighbours(layout, a.shift, b.shift), a, b


def _neighbours(layout: Tiled, down: int, along: int) -> list[int]:
    """For each tile, the lane of the one so many further on; beyond the grid, that of the fill."""
    rows, columns = layout.grid
    found = []
    for p, q in itertools.product(range(rows), range(columns)):
        held = 0 <= p + down < rows and 0 <= q + along < columns
        found.append((p + down) * columns + q + along if held else layout.lanes)
    return found


def _shifted(before: int, size: int, after: int) -> list[Run]:
    """An axis with its halo, cut where another tile begins."""
    cuts = range(-math.ceil(before / size), math.ceil((size + after) / size))
    return [Run(max(-before, n * size), min(size + after, (n + 1) * size), n) for n in cuts]


def _filled(size: int, extent: int, count: int) -> list[Run]:
    """An axis of a tile, cut where fewer tiles have a pixel."""
    having = [min(count, max(0, math.ceil((extent - i) / size))) for i in range(size)]
    found, start = [], 0
    for filled, cells in itertools.groupby(having):
        stop = start + len(list(cells))
        found.append(Run(start, stop, 0, filled))
        start = stop
    return found


def _over(f: Function, rows: Run, columns: Run, body: Callable[[Value, Value], None]) -> None:
    """`body(i, j)` for all cells; short rows are written out."""

    def row(i: Value, _: Tile) -> None:
        if columns.stop - columns.start <= UNROLLED:
            for j in range(columns.start, columns.stop):
                body(i, f.constant(j, i.type))
        else:
            f.loop(columns.start, columns.stop, lambda j, _: body(i, j))

    f.loop(rows.start, rows.stop, row)
