"""Pooling over blocked channels: windows are cut off at the border, no padding is read. Codes have
a largest one as numbers have.

reference, one sample, rows r and columns s inside the image only:
    for c, i, j:
        y[c, i, j] = max or mean over r, s of x[c, i · stride + r, j · stride + s]
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, integers
from lighten.kernels import share
from lighten.kernels.finish import Place, lanes_of, pixel
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Window

LOWEST = float("-inf")


@dataclass(frozen=True)
class Pool:
    """`function` is "max" or "average"; the latter divides by the pixels that the window has inside
    the image, or inside its padding too where `padded`.
    """

    source: Blocked
    target: Blocked
    window: Window
    function: str
    padded: bool = False


def emit(name: str, pool: Pool, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    target = pool.target

    def row(n: Value, c: Index, i: Index) -> None:
        def column(j: Value, _: Tile) -> None:
            value = _window(f, pool, (n, c, i, j))
            f.store(value, pixel(f["y"], target, (n, c, i, j)))

        f.loop(0, target.width, column)

    share.each(f, (f["n"], target.blocks, target.height), row)
    return f


def _window(f: Function, pool: Pool, place: Place) -> Value:
    """One result: the window's pixels that lie inside the image."""
    n, c, i, j = place
    window, source = pool.window, pool.source
    largest = pool.function == "max"
    rows = _inside(f, i, 0, pool)
    columns = _inside(f, j, 1, pool)
    codes, kind = source.size == 1, lanes_of(source)
    first = f.constant(LOWEST, kind) if largest and not codes else f.zero(kind)

    def more(total: Value, seen: Value) -> Value:
        if codes:
            return integers.most_byte(f, total, seen)
        return f.call("maximum", total, seen) if largest else total + seen

    def row(r: Value, total: Tile) -> Tile:
        def column(s: Value, total: Tile) -> Tile:
            at = (
                n,
                c,
                i * window.strides[0] + r * window.dilations[0] - window.pads[0],
                j * window.strides[1] + s * window.dilations[1] - window.pads[1],
            )
            return [more(total[0], f.load(pixel(f["x"], source, at), kind))]

        return f.loop(*columns, column, total)

    (total,) = f.loop(*rows, row, [first])
    if largest:
        return total
    if pool.padded:
        height, width = _counted(f, i, 0, pool), _counted(f, j, 1, pool)
    else:
        height, width = (stop - start for start, stop in (rows, columns))
    if isinstance(height, int) and isinstance(width, int):
        return total * f.constant(1 / (height * width), f.lane)
    return total / f.spread(f.real(height * width), f.lane.lanes)


def _counted(f: Function, at: Index, axis: int, pool: Pool) -> Index:
    """Taps of the window inside the image and its padding."""
    window, size = pool.window, (pool.source.height, pool.source.width)[axis]
    taps, step, stride = window.kernel[axis], window.dilations[axis], window.strides[axis]
    end = window.pads[axis] + size + window.pads[axis + 2]
    results = (pool.target.height, pool.target.width)[axis]
    if (results - 1) * stride + (taps - 1) * step < end:
        return taps
    return f.least((end + step - 1 - at * stride) // step, taps)


def _inside(f: Function, at: Index, axis: int, pool: Pool) -> tuple[Index, Index]:
    """The first tap of the window inside the image and the first beyond it."""
    window = pool.window
    taps, step = window.kernel[axis], window.dilations[axis]
    size = (pool.source.height, pool.source.width)[axis]
    stride, before = window.strides[axis], window.pads[axis]
    results = (pool.target.height, pool.target.width)[axis]
    start: Index = 0
    stop: Index = taps
    if before:  # taps t with at · stride + t · step ≥ before
        start = f.most((before + step - 1 - at * stride) // step, 0)
    if (results - 1) * stride + (taps - 1) * step - before >= size:
        stop = f.least((size + before + step - 1 - at * stride) // step, taps)
    return start, stop
