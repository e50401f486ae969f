"""Layer and root-mean-square normalization of rows (Ba et al. 2016; Zhang & Sennrich 2019).

reference, one sample:
    for t:
        m = Σ_c x[t, c] / channels                       0 where `rms`
        v = Σ_c (x[t, c] − m)² / channels
        y[t, c] = (x[t, c] − m) / √(v + ε) · w[c] + b[c]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.strided import Strided
from lighten.kernels.walk import Pointers, along, folded, walk


@dataclass(frozen=True)
class Normalize:
    """Over the last axis of both, whose numbers lie side by side."""

    source: Strided
    target: Strided
    epsilon: float
    rms: bool = False


def emit(name: str, op: Normalize, isa: Isa) -> Function:
    """The kernel `name(x, w, b, y, n)`."""
    f = Function(name, {**dict.fromkeys("xwby", POINTER), **share.COUNT}, isa)
    size = op.source.shape[-1]
    share_of_one = f.constant(1 / size, f.lane.element)

    def row(at: Pointers) -> None:
        x, y = at
        mean = f.zero(f.lane)
        if not op.rms:
            summed = _sum(f, size, lambda i, count: lanes.load_first(f, x + i * 4, f.lane, count))
            mean = f.spread(summed * share_of_one, isa.lanes)

        def away(i: Index, count: int) -> Value:
            held = lanes.load_first(f, x + i * 4, f.lane, count, mean)
            return held if op.rms else held - mean

        def squared(i: Index, count: int) -> Value:
            distance = away(i, count)
            return distance * distance

        spread = _sum(f, size, squared) * share_of_one
        one = f.constant(1.0, f.lane.element)
        root = f.call("sqrt", spread + f.constant(op.epsilon, f.lane.element))
        scale = f.spread(one / root, isa.lanes)

        def write(i: Index, count: int, _: Tile) -> Tile:
            w, b = (lanes.load_first(f, f[which] + i * 4, f.lane, count) for which in "wb")
            value = f.fma(away(i, count) * scale, w, b)
            lanes.store_first(f, value, y + i * 4, count)
            return []

        along(f, size, write, [])

    walk(f, (f["x"], f["y"]), (op.source, op.target), row, inner=1)
    return f


def _sum(f: Function, size: int, read: Callable[[Index, int], Value]) -> Value:
    return lanes.total(f, folded(f, size, read, lambda a, b: a + b, f.zero(f.lane)))
