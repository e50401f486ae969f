"""Sums, means and maxima over the rows, the columns or all pixels of blocked images.

reference, one sample:
    for c, and i, j over the axes that are kept:
        y[c, i, j] = sum, mean or max over the other axes of x[c, :, :]
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import POINTER, Function, Isa, Tile, Value
from lighten.kernels import share
from lighten.kernels.finish import pixel
from lighten.kernels.layout import Blocked


@dataclass(frozen=True)
class Reduce:
    """`function` is "sum", "mean" or "max"; over rows, columns or both. What is left of an axis may
    be the rows of `target`, or its columns.
    """

    source: Blocked
    target: Blocked
    function: str
    rows: bool
    columns: bool


def emit(name: str, op: Reduce, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)
    source = op.source
    kept = (1 if op.rows else source.height), (1 if op.columns else source.width)

    def one(n: Value, c: Value, i: Value, j: Value) -> None:
        total = _over(f, op, pixel(f["x"], source, (n, c, i, j)))
        place = (n, c, i + j, 0) if op.target.height > 1 else (n, c, 0, i + j)
        f.store(total, pixel(f["y"], op.target, place))

    share.each(f, (f["n"], source.blocks, *kept), one)
    return f


def _over(f: Function, op: Reduce, x: Value) -> Value:
    """What is left of the pixels from x on; a row's before the next."""
    largest, source = op.function == "max", op.source
    first = f.constant(float("-inf") if largest else 0.0, f.lane)
    rows, columns = source.height if op.rows else 1, source.width if op.columns else 1

    def joined(a: Value, b: Value) -> Value:
        return f.call("maximum", a, b) if largest else a + b

    def row(i: Value, total: Tile) -> Tile:
        def column(j: Value, sums: Tile) -> Tile:
            return [joined(sums[0], f.load(x + i * source.row + j * source.pixel, f.lane))]

        (sums,) = f.loop(0, columns, column, [first])
        return [joined(total[0], sums)]

    (total,) = f.loop(0, rows, row, [first])
    return total * f.constant(1 / (rows * columns), f.lane) if op.function == "mean" else total
