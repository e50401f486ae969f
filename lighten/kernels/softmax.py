"""Softmax, along the numbers of a row or across rows.

reference, one sample:
    for every row:
        m = max_i x[i]
        y[i] = exp(x[i] − m) / Σ_j exp(x[j] − m)
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.functions import Unary, decay
from lighten.kernels.strided import Strided
from lighten.kernels.walk import Pointers, along, folded, walk

LOWEST = float("-inf")


@dataclass(frozen=True)
class Softmax:
    """Over the last axis where `along`, else over the last but one; the last lies side by side."""

    source: Strided
    target: Strided
    along: bool = True


def emit(name: str, op: Softmax, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)

    def row(at: Pointers) -> None:
        total = exponentials(f, op.source.shape[-1], at[0], at[1])
        scale = f.spread(f.constant(1.0, f.lane.element) / total, isa.lanes)

        def write(i: Index, count: int, _: Tile) -> Tile:
            y = at[1] + i * 4
            held = lanes.load_first(f, y, f.lane, count)
            lanes.store_first(f, held * scale, y, count)
            return []

        along(f, op.source.shape[-1], write, [])

    walk(
        f,
        (f["x"], f["y"]),
        (op.source, op.target),
        row if op.along else lambda at: _columns(f, op, at),
        inner=1 if op.along else 2,
    )
    return f


def exponentials(f: Function, size: int, x: Value, y: Value, power: Unary = decay) -> Value:
    """Write `power` of x[i] − max x to y, and give their sum."""
    lowest = f.constant(LOWEST, f.lane)

    def read(i: Index, count: int) -> Value:
        return lanes.load_first(f, x + i * 4, f.lane, count, lowest)

    highest = folded(f, size, read, lambda a, b: f.call("maximum", a, b), lowest)
    most = f.spread(lanes.largest(f, highest), f.isa.lanes)

    def grown(i: Index, count: int) -> Value:
        value = power(f, read(i, count) - most)
        lanes.store_first(f, value, y + i * 4, count)
        return value

    return lanes.total(f, folded(f, size, grown, lambda a, b: a + b, f.zero(f.lane)))


def _columns(f: Function, op: Softmax, at: Pointers) -> None:
    """Every lane is a row of its own."""
    count, size = op.source.shape[-2:]
    down, apart = 4 * op.source.strides[-2], 4 * op.target.strides[-2]

    def some(i: Index, width: int, _: Tile) -> Tile:
        x, y = (p + i * 4 for p in at)

        def read(start: Value, j: Value, step: int) -> Value:
            return lanes.load_first(f, start + j * step, f.lane, width)

        def higher(j: Value, most: Tile) -> Tile:
            return [f.call("maximum", most[0], read(x, j, down))]

        (most,) = f.loop(0, count, higher, [f.constant(LOWEST, f.lane)])

        def grown(j: Value, total: Tile) -> Tile:
            value = decay(f, read(x, j, down) - most)
            lanes.store_first(f, value, y + j * apart, width)
            return [total[0] + value]

        (total,) = f.loop(0, count, grown, [f.zero(f.lane)])
        scale = f.constant(1.0, f.lane) / total

        def write(j: Value, _: Tile) -> None:
            lanes.store_first(f, read(y, j, apart) * scale, y + j * apart, width)

        f.loop(0, count, write)
        return []

    along(f, size, some, [])
