"""Rows of a table by their numbers: embeddings, reordering.

reference, one sample:
    for i, j, k:
        y[i, j, k] = table[i, index[j], k]        index from −rows, as NumPy counts
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.strided import Strided
from lighten.kernels.walk import along, start


@dataclass(frozen=True)
class Gather:
    """`table` is `[before, rows, after]`, `indices` `[count]` (floats that hold whole numbers),
    `target` `[before, count, after]`; what is `after` lies side by side.
    """

    table: Strided
    indices: Strided
    target: Strided


def emit(name: str, op: Gather, isa: Isa) -> Function:
    """The kernel `name(table, index, y, n)`. An index beyond the table reads its last row."""
    f = Function(name, {**dict.fromkeys(("table", "index", "y"), POINTER), **share.COUNT}, isa)
    before, extent, after = op.table.shape

    def one(n: Value, j: Value) -> None:
        place = start(f["index"], op.indices, n) + j * (4 * op.indices.strides[0])
        asked = lanes.whole(f, f.load(place, f.lane.element))
        counted = f.select(f.less(asked, 0), asked + extent, asked)
        row = f.most(f.least(counted, extent - 1), 0)
        x = start(f["table"], op.table, n) + row * (4 * op.table.strides[1])
        y = start(f["y"], op.target, n) + j * (4 * op.target.strides[1])

        def block(i: Value, _: Tile) -> None:
            source = x + i * (4 * op.table.strides[0])
            target = y + i * (4 * op.target.strides[0])

            def some(k: Index, count: int, _: Tile) -> Tile:
                held = lanes.load_first(f, source + k * 4, f.lane, count)
                lanes.store_first(f, held, target + k * 4, count)
                return []

            along(f, after, some, [])

        f.loop(0, before, block)

    share.each(f, (f["n"], op.indices.shape[0]), one)
    return f
