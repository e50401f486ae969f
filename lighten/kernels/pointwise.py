"""Number by number, over tensors that lie alike: functions, arithmetic, scales per channel.

reference, one sample:
    for c, i, j:
        unary     y[c, i, j] = function(x[c, i, j])
        affine    y[c, i, j] = activation(x[c, i, j] · scale[c] + shift[c])
        binary    y[c, i, j] = activation(a[c, i, j] ∘ b[c, i, j])      or b[c, 0, 0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import share
from lighten.kernels.finish import Place, pixel
from lighten.kernels.functions import BINARY, FUNCTIONS
from lighten.kernels.layout import Blocked


@dataclass(frozen=True)
class Unary:
    """`function` is a row of `FUNCTIONS`."""

    source: Blocked
    target: Blocked
    function: str


@dataclass(frozen=True)
class Affine:
    """A scale and a shift per channel."""

    source: Blocked
    target: Blocked
    activation: str = ""


@dataclass(frozen=True)
class Binary:
    """`function` is a row of `BINARY`; the sources are as large as the target, or one pixel."""

    sources: tuple[Blocked, Blocked]
    target: Blocked
    function: str
    activation: str = ""


def unary(name: str, op: Unary, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)

    def value(at: Place) -> Value:
        return FUNCTIONS[op.function](f, f.load(pixel(f["x"], op.source, at), f.lane))

    return _everywhere(f, op.target, value)


def affine(name: str, op: Affine, isa: Isa) -> Function:
    """The kernel `name(x, scale, shift, y, …)`; scale and shift are whole blocks."""
    names = ("x", "scale", "shift", "y")
    f = Function(name, {**dict.fromkeys(names, POINTER), **share.COUNT}, isa)

    def value(at: Place) -> Value:
        scale, shift = (
            f.load(f[which] + at[1] * f.lane.bytes, f.lane) for which in ("scale", "shift")
        )
        return FUNCTIONS[op.activation](
            f, f.fma(f.load(pixel(f["x"], op.source, at), f.lane), scale, shift)
        )

    return _everywhere(f, op.target, value)


def binary(name: str, op: Binary, isa: Isa) -> Function:
    """The kernel `name(a, b, y, …)`."""
    f = Function(name, {**dict.fromkeys("aby", POINTER), **share.COUNT}, isa)
    size = op.target.height * op.target.width

    def read(which: int, at: Place) -> Value:
        source = op.sources[which]
        place = (at[0], at[1], 0, 0) if source.height * source.width < size else at
        return f.load(pixel(f["ab"[which]], source, place), f.lane)

    def value(at: Place) -> Value:
        return FUNCTIONS[op.activation](f, BINARY[op.function](f, read(0, at), read(1, at)))

    return _everywhere(f, op.target, value)


def _everywhere(f: Function, target: Blocked, value: Callable[[Place], Value]) -> Function:
    """Store a value at every pixel of `y`, a register of channels at a time."""

    def row(n: Value, c: Index, i: Index) -> None:
        def column(j: Value, _: Tile) -> None:
            at = (n, c, i, j)
            f.store(value(at), pixel(f["y"], target, at))

        f.loop(0, target.width, column)

    share.each(f, (f["n"], target.blocks, target.height), row)
    return f
