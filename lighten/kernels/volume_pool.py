"""Pooling over any number of axes, planar: windows are cut off at the border.

reference, one sample, taps t inside the volume only:
    for c, p:
        y[c, p] = max or mean over t of x[c, p · strides + t · dilations − before]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lighten.emit import F32, POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import share
from lighten.kernels.volumes import Size, Slide, nested

Range = tuple[Index, Index]


@dataclass(frozen=True)
class Pool:
    """`function` is "max" or "average"; the latter divides by the numbers that the window has
    inside the volume, or inside its padding too where `padded`.
    """

    channels: int
    size: Size
    results: Size
    window: Slide
    function: str
    padded: bool


def emit(name: str, pool: Pool, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)

    def channel(n: Value, c: Value) -> None:
        x = f["x"] + (n * pool.channels + c) * (4 * math.prod(pool.size))
        y = f["y"] + (n * pool.channels + c) * (4 * math.prod(pool.results))

        def one(*at: Value) -> None:
            place = y
            for a, index in enumerate(at):
                place = place + index * (4 * math.prod(pool.results[a + 1 :]))
            f.store(_window(f, pool, x, at), place)

        nested(f, pool.results, one)

    share.each(f, (f["n"], pool.channels), channel)
    return f


def _window(f: Function, pool: Pool, x: Value, at: tuple[Value, ...]) -> Value:
    """One result."""
    window, largest = pool.window, pool.function == "max"
    inside = [_range(f, pool, a, index, (0, pool.size[a])) for a, index in enumerate(at)]

    def taps(a: int, place: Value, total: Tile) -> Tile:
        if a == len(at):
            seen = f.load(place, F32)
            return [f.call("maximum", total[0], seen) if largest else total[0] + seen]
        step = 4 * math.prod(pool.size[a + 1 :])
        first = place + (at[a] * window.strides[a] - window.before[a]) * step

        def tap(t: Value, total: Tile) -> Tile:
            return taps(a + 1, first + t * (window.dilations[a] * step), total)

        return f.loop(*inside[a], tap, total)

    (total,) = taps(0, x, [f.constant(float("-inf") if largest else 0.0, F32)])
    if largest:
        return total
    if pool.padded:
        ends = [(-window.before[a], size + window.after[a]) for a, size in enumerate(pool.size)]
        inside = [_range(f, pool, a, at[a], between) for a, between in enumerate(ends)]
    count: Index = 1
    for start, stop in inside:
        count = (stop - start) * count
    return total / f.real(count)


def _range(f: Function, pool: Pool, a: int, at: Value, between: tuple[int, int]) -> Range:
    """The first tap along an axis that lies between these numbers, and the first beyond."""
    window, (low, high) = pool.window, between
    step, first = window.dilations[a], at * window.strides[a] - window.before[a]
    start = f.most((low + step - 1 - first) // step, 0)
    return start, f.least((high + step - 1 - first) // step, window.kernel[a])
