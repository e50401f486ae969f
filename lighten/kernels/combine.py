"""Sums, products and means of codes (rows B1, B8).

reference, one sample, f as `program.integers.factors` says, each step rounded by itself:
    add        r = float32(a − za) · fa + float32(b − zb) · fb              or b[c, 0, 0]
    mul        r = float32(a − za) · float32(b − zb) · f
    average    r = (float32(Σ x over the window) − count · zx) · f
    y = min(max(rint(r), low), high) + zero
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I32, POINTER, Function, Index, Isa, Tile, Value, integers, vector
from lighten.kernels import requantize, share
from lighten.kernels.finish import Place, lanes_of, pixel
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Window
from lighten.program.integers import Ends

Array = np.ndarray[Any, Any]
FIRST = 24  # bytes before the zero point and the factor of each value, behind those of Ends


@dataclass(frozen=True)
class Combine:
    """`function` is "add" or "mul"; the sources are as large as the target, or one pixel."""

    sources: tuple[Blocked, Blocked]
    target: Blocked
    function: str


@dataclass(frozen=True)
class Average:
    """The mean of every window, all of which lie inside the image."""

    source: Blocked
    target: Blocked
    window: Window


def pack(ends: Ends, zeros: Sequence[float], factors: Sequence[float]) -> Array:
    """The numbers that `combine` and `average` read, as bytes."""
    held = [*zeros, *factors]
    return np.concatenate([requantize.numbers(ends), np.array(held, np.float32).view(np.uint8)])


def combine(name: str, op: Combine, isa: Isa) -> Function:
    """The kernel `name(a, w, b, y, …)`: the two values, the numbers, the result."""
    f = Function(name, {**dict.fromkeys("awby", POINTER), **share.COUNT}, isa)
    size = op.target.height * op.target.width

    def off(which: int, at: Place) -> Value:
        source = op.sources[which]
        place = (at[0], at[1], 0, 0) if source.height * source.width < size else at
        x = f.load(pixel(f["aw"[which]], source, place), lanes_of(source))
        return integers.real(f, integers.unsigned(f, x)) - _number(f, which)

    def value(at: Place) -> Value:
        a, b = off(0, at), off(1, at)
        if op.function == "mul":
            return a * b * _number(f, 2)
        return a * _number(f, 2) + b * _number(f, 3)

    return _everywhere(f, op.target, value)


def average(name: str, op: Average, isa: Isa) -> Function:
    """The kernel `name(x, b, y, …)`."""
    f = Function(name, {**dict.fromkeys("xby", POINTER), **share.COUNT}, isa)
    (rows, columns), (down, along) = op.window.kernel, op.window.strides
    apart, aside = op.window.dilations

    def value(at: Place) -> Value:
        n, c, i, j = at

        def row(r: Value, total: Tile) -> Tile:
            def column(s: Value, total: Tile) -> Tile:
                place = (n, c, i * down + r * apart, j * along + s * aside)
                seen = f.load(pixel(f["x"], op.source, place), lanes_of(op.source))
                return [total[0] + integers.unsigned(f, seen)]

            return f.loop(0, columns, column, total)

        (total,) = f.loop(0, rows, row, [f.zero(vector(I32, isa.lanes))])
        return (integers.real(f, total) - _number(f, 0)) * _number(f, 1)

    return _everywhere(f, op.target, value)


def _number(f: Function, which: int) -> Value:
    return f.load_spread(f["b"], f.lane, FIRST + 4 * which)


def _everywhere(f: Function, target: Blocked, value: Callable[[Place], Value]) -> Function:
    """Round a value to every pixel of `y`, a register of channels at a time."""

    def row(n: Value, c: Index, i: Index) -> None:
        def column(j: Value, _: Tile) -> None:
            at = (n, c, i, j)
            codes = requantize.codes(f, value(at), f["b"])
            f.store(codes, pixel(f["y"], target, at))

        f.loop(0, target.width, column)

    share.each(f, (f["n"], target.blocks, target.height), row)
    return f
