"""Images and volumes sampled anew: the nearest number, or between the two nearest along each axis.

    reference, one sample, for rows and columns; `share` is 0 where the nearest is taken:
        row[j] = x[c, low(i), j] · (1 − share(i)) + x[c, high(i), j] · share(i)
        y[c, i, j] = row[low(j)] · (1 − share(j)) + row[high(j)] · share(j)

Where each result reads, and the shares, are tables made beforehand, as exact as the interpreter's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import F32, I64, POINTER, Function, Index, Isa, Tile, Type, Value, vector
from lighten.kernels import share
from lighten.kernels.finish import pixel
from lighten.kernels.layout import Blocked
from lighten.kernels.volumes import runs
from lighten.program.reference.moves import nearest

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sampling:
    """How an axis is sampled: `mode` is "nearest" or "linear"."""

    mode: str
    align_corners: bool


def places(extent: int, size: int, how: Sampling) -> tuple[Array, Array]:
    """Of each sample: the index before it and the one after, `[size, 2]`, and the latter's share.

    >>> places(2, 4, Sampling("linear", False))[1].tolist()
    [0.0, 0.25, 0.75, 0.0]
    """
    if how.mode == "nearest":
        low = nearest(extent, size)
        return np.stack([low, low], 1), np.zeros(size, np.float32)
    steps = np.arange(size)
    at = steps * ((extent - 1) / max(size - 1, 1))
    if not how.align_corners:
        at = np.clip((steps + 0.5) * (extent / size) - 0.5, 0, extent - 1)
    low = np.floor(at).astype(np.int64)
    return np.stack([low, np.minimum(low + 1, extent - 1)], 1), (at - low).astype(np.float32)


def table(extent: int, size: int, how: Sampling, step: int) -> Array:
    """The places in bytes, `step` from one to the next, then the shares; as bytes."""
    found, shares = places(extent, size, how)
    parts = (found * step).astype(np.int64), shares
    return np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])


@dataclass(frozen=True)
class Resize:
    """Between two blocked images."""

    source: Blocked
    target: Blocked
    how: Sampling


def emit(name: str, op: Resize, isa: Isa) -> Function:
    """The kernel `name(x, rows, columns, y, n)`: the tables of both axes."""
    given = dict.fromkeys(("x", "rows", "columns", "y"), POINTER)
    f = Function(name, {**given, **share.COUNT}, isa)
    source, target, linear = op.source, op.target, op.how.mode == "linear"

    def line(n: Value, c: Value, i: Value) -> None:
        x = pixel(f["x"], source, (n, c, 0, 0))
        above, below, low = _entry(f, f["rows"], i, target.height, f.lane)

        def column(j: Value, _: Tile) -> None:
            before, after, left = _entry(f, f["columns"], j, target.width, f.lane)
            value = f.load(x + above + before, f.lane)
            if linear:
                first = _between(f, value, f.load(x + below + before, f.lane), low)
                second = f.load(x + above + after, f.lane)
                second = _between(f, second, f.load(x + below + after, f.lane), low)
                value = _between(f, first, second, left)
            f.store(value, pixel(f["y"], target, (n, c, i, j)))

        f.loop(0, target.width, column)

    share.each(f, (f["n"], target.blocks, target.height), line)
    return f


def _entry(
    f: Function, held: Value, at: Value, size: int, kind: Type
) -> tuple[Value, Value, Value]:
    """A row of a table: the places before and after, and the share."""
    before, after = (f.load(held + at * 16, I64, 8 * which) for which in range(2))
    part = f.load(held + at * 4, F32, 16 * size)
    return before, after, f.spread(part, kind.lanes) if kind.lanes > 1 else part


def _between(f: Function, a: Value, b: Value, part: Value) -> Value:
    """a + (b − a) · part"""
    return f.fma(b - a, part, a)


@dataclass(frozen=True)
class Axis:
    """One axis of a row-major array: `[outer, extent, inner]` to `[outer, size, inner]`."""

    outer: int
    extent: int
    inner: int
    size: int
    how: Sampling


def along(name: str, op: Axis, isa: Isa) -> Function:
    """The kernel `name(x, places, y, n)` for one axis of a volume."""
    f = Function(name, {**dict.fromkeys(("x", "places", "y"), POINTER), **share.COUNT}, isa)

    def row(n: Value, o: Value, i: Value) -> None:
        before, after, part = _entry(f, f["places"], i, op.size, F32)
        x = f["x"] + (n * op.outer + o) * (4 * op.extent * op.inner)
        y = f["y"] + ((n * op.outer + o) * op.size + i) * (4 * op.inner)

        def run(at: Index, count: int) -> None:
            value = f.load(x + before + at * 4, vector(F32, count))
            if op.how.mode == "linear":
                other = f.load(x + after + at * 4, vector(F32, count))
                shares = f.spread(part, count) if count > 1 else part
                value = _between(f, value, other, shares)
            f.store(value, y + at * 4)

        runs(f, op.inner, run)

    share.each(f, (f["n"], op.outer, op.size), row)
    return f
