"""Rows or images of float32 rounded to pairs of bfloat16, for kernels that multiply pairs (A1).

reference:
    for t, c:
        y[t, c] = (bfloat16(x[t, 2c]), bfloat16(x[t, 2c + 1]))      0 where there is no x

    x    16 numbers | 16 numbers        two loads,
    y    8 pairs    , 8 pairs           one rounding, one store
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, bfloat16, lanes
from lighten.kernels import share
from lighten.kernels.layout import Blocked
from lighten.kernels.strided import Strided, rows


@dataclass(frozen=True)
class Rounding:
    """`source` is `[rows, channels]`, its channels side by side."""

    source: Strided

    @property
    def target(self) -> Strided:
        """`[rows, pairs]`, a word each."""
        count, channels = self.source.shape
        return rows((count, -(-channels // 2)))


def emit(name: str, op: Rounding, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`: numbers, words."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    (count, channels), step = op.source.shape, 2 * isa.lanes
    whole, rest = divmod(channels, step)

    def pairs(x: Value, y: Value, numbers: int) -> None:
        low = lanes.load_first(f, x, f.lane, min(numbers, isa.lanes))
        more, high = numbers - isa.lanes, f.zero(f.lane)
        if more > 0:
            high = lanes.load_first(f, x + f.lane.bytes, f.lane, more)
        lanes.store_first(f, bfloat16.rounded(f, low, high), y, -(-numbers // 2))

    def row(n: Value, t: Index) -> None:
        x = f["x"] + n * (4 * op.source.sample) + t * (4 * op.source.strides[0])
        x = x + 4 * op.source.offset
        y = f["y"] + n * (4 * op.target.sample) + t * (4 * op.target.strides[0])

        def every(c: Value, _: Tile) -> None:
            pairs(x + c * (4 * step), y + c * (2 * step), step)

        f.loop(0, whole, every)
        if rest:
            pairs(x + 4 * step * whole, y + 2 * step * whole, rest)

    share.each(f, (f["n"], count), row)
    return f


def words(layout: Blocked) -> Blocked:
    """Images of an even number of channels in pairs: two of its blocks make one."""
    return replace(layout, channels=layout.channels // 2)


def emit_blocked(name: str, source: Blocked, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`: images in blocks, the same in `words`, halo and all."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    target = words(source)
    whole = source.blocks // 2

    def line(n: Value, block: Index, row: Index, single: bool) -> None:
        x = f["x"] + n * source.sample + block * (2 * source.block) + row * source.row
        y = f["y"] + n * target.sample + block * target.block + row * target.row

        def pixel(j: Value, _: Tile) -> None:
            at = x + j * source.pixel
            high = f.zero(f.lane) if single else f.load(at, f.lane, source.block)
            f.store(bfloat16.rounded(f, f.load(at, f.lane), high), y + j * target.pixel)

        f.loop(0, source.columns, pixel)

    if whole:
        share.each(f, (f["n"], whole, source.rows), lambda n, p, i: line(n, p, i, False))
    if source.blocks % 2:
        share.each(f, (f["n"], source.rows), lambda n, i: line(n, whole, i, True))
    return f
