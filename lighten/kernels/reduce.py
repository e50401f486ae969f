"""Sums, means and maxima over axes of a tensor that lies in rows.

reference, one sample:
    for every index of the axes that stay:
        y[index] = Σ or max over the others of x, times `scale`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.strided import Strided
from lighten.kernels.walk import Fold, Pointers, along, folded, start

FIRST = {"sum": 0.0, "mean": 0.0, "max": float("-inf")}
LAST: dict[str, Callable[[Function, Value], Value]] = {
    "sum": lanes.total,
    "mean": lanes.total,
    "max": lanes.largest,
}


@dataclass(frozen=True)
class Reduce:
    """`source` has the target's axes in front, then those that go, `over` of them. Registers are
    filled along the last of the source where it lies side by side, else along the target's last.
    """

    source: Strided
    target: Strided
    function: str
    over: int

    @property
    def along(self) -> bool:
        """Whether what goes lies side by side."""
        return self.source.strides[-1] == 1 and self.source.shape[-1] > 1


def emit(name: str, op: Reduce, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)
    kept = len(op.target.shape) - (0 if op.along else 1)

    def sample(n: Value) -> None:
        axes(0, [start(f["x"], op.source, n), start(f["y"], op.target, n)])

    def axes(axis: int, at: Pointers) -> None:
        if axis == kept:
            _row(f, op, at) if op.along else _columns(f, op, at)
            return
        steps = 4 * op.source.strides[axis], 4 * op.target.strides[axis]

        def step(i: Value, _: Tile) -> None:
            axes(axis + 1, [p + i * s for p, s in zip(at, steps, strict=True)])

        f.loop(0, op.target.shape[axis], step)

    share.each(f, (f["n"],), sample)
    return f


def _fold(f: Function, function: str) -> Fold:
    if function == "max":
        return lambda a, b: f.call("maximum", a, b)
    return lambda a, b: a + b


def _gone(
    f: Function, op: Reduce, x: Value, body: Callable[[Value, Tile], Tile], tile: Tile, inner: int
) -> Tile:
    """`body(pointer, tile)` for every index of the axes that go, but the last `inner`."""
    first = len(op.source.shape) - op.over
    last = len(op.source.shape) - inner

    def axes(axis: int, x: Value, tile: Tile) -> Tile:
        if axis == last:
            return body(x, tile)
        step = 4 * op.source.strides[axis]
        return f.loop(
            0, op.source.shape[axis], lambda i, held: axes(axis + 1, x + i * step, held), tile
        )

    return axes(first, x, tile)


def _scaled(f: Function, op: Reduce, value: Value) -> Value:
    if op.function != "mean":
        return value
    count = math.prod(op.source.shape[-op.over :])
    return value * f.constant(1 / count, value.type)


def _row(f: Function, op: Reduce, at: Pointers) -> None:
    fold, first = _fold(f, op.function), f.constant(FIRST[op.function], f.lane)

    def row(x: Value, held: Tile) -> Tile:
        def read(i: Index, count: int) -> Value:
            return lanes.load_first(f, x + i * 4, f.lane, count, first)

        return [fold(held[0], folded(f, op.source.shape[-1], read, fold, first))]

    (found,) = _gone(f, op, at[0], row, [first], inner=1)
    f.store(_scaled(f, op, LAST[op.function](f, found)), at[1])


def _columns(f: Function, op: Reduce, at: Pointers) -> None:
    fold, first = _fold(f, op.function), f.constant(FIRST[op.function], f.lane)
    axis = len(op.target.shape) - 1
    step = op.source.strides[axis]

    def some(i: Index, count: int, _: Tile) -> Tile:
        def one(x: Value, held: Tile) -> Tile:
            if step == 1:
                return [fold(held[0], lanes.load_first(f, x, f.lane, count))]
            return [fold(held[0], lanes.load_apart(f, x, (f.lane, count), 4 * step))]

        (found,) = _gone(f, op, at[0] + i * (4 * step), one, [first], inner=0)
        lanes.store_first(f, _scaled(f, op, found), at[1] + i * 4, count)
        return []

    along(f, op.target.shape[axis], some, [])
