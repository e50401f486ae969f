"""Floats as codes, and codes as floats (rows A6, B3).

reference, number by number, s and z the scale and zero point of the codes:
    y = min(max(rint(x / s), low), high) + z        floats to codes
    y = (float32(x) − z) · s                        codes to floats

Both sides lie alike, but for one case: the planes of an image of up to four channels become one
word for each pixel, which a first convolution reads as it reads four channels of any other.

    red    r0 r1 r2 …
    green  g0 g1 g2 …    →    r0 g0 b0 · | r1 g1 b1 · | r2 g2 b2 · | …
    blue   b0 b1 b2 …
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import I32, POINTER, Function, Index, Isa, Tile, Value, lanes, vector
from lighten.kernels import requantize, share
from lighten.kernels.finish import lanes_of, pixel
from lighten.kernels.layout import Blocked


@dataclass(frozen=True)
class Encoding:
    """One side holds floats, the other codes: their sizes say which."""

    source: Blocked
    target: Blocked

    @property
    def interleaves(self) -> bool:
        """Whether planes become words."""
        return self.source.lanes == 1 and self.target.lanes == 4


def emit(name: str, op: Encoding, isa: Isa) -> Function:
    """The kernel `name(x, b, y, …)`, b as `requantize.numbers` of the codes."""
    f = Function(name, {**dict.fromkeys("xby", POINTER), **share.COUNT}, isa)
    if op.interleaves:
        share.each(f, (f["n"], op.source.height), lambda n, i: _interleaved(f, op, n, i))
    elif op.target.lanes == 1:
        _flat(f, op)
    else:
        extents = (f["n"], op.target.blocks, op.target.height)
        share.each(f, extents, lambda n, c, i: _row(f, op, (n, c, i)))
    return f


def _changed(f: Function, op: Encoding, x: Value) -> Value:
    """A register of one as the other."""
    if op.source.size == 1:
        return requantize.taken(f, x, f["b"])
    return requantize.codes(f, x / f.load_spread(f["b"], f.lane, requantize.SCALE), f["b"])


def _row(f: Function, op: Encoding, place: tuple[Value, Index, Index]) -> None:
    def column(j: Value, _: Tile) -> None:
        x = f.load(pixel(f["x"], op.source, (*place, j)), lanes_of(op.source))
        f.store(_changed(f, op, x), pixel(f["y"], op.target, (*place, j)))

    f.loop(0, op.target.width, column)


def _flat(f: Function, op: Encoding) -> None:
    """All numbers of all samples, in whole registers: beyond the last there is room in the arena,
    which is given out in lines.
    """
    count, width = f["n"] * (op.source.sample // op.source.size), f.isa.lanes
    kind = vector(lanes_of(op.source).element, width)

    def run(first: Index, last: Index) -> None:
        def step(i: Value, _: Tile) -> None:
            x = f.load(f["x"] + i * kind.bytes, kind)
            f.store(_changed(f, op, x), f["y"] + i * (op.target.size * width))

        f.loop(first, last, step)

    share.spans(f, ((count + (width - 1)) // width,), run)


def _interleaved(f: Function, op: Encoding, n: Value, row: Index) -> None:
    """A row of pixels, a register of each plane at a time."""
    width, words = f.isa.lanes, vector(I32, f.isa.lanes)
    plane = op.source.rows * op.source.row
    x, y = pixel(f["x"], op.source, (n, 0, row, 0)), pixel(f["y"], op.target, (n, 0, row, 0))
    scale = f.load_spread(f["b"], f.lane, requantize.SCALE)

    def some(start: Index, count: int) -> None:
        total = f.zero(words)
        for c in range(op.source.channels):
            at = x + c * plane + start * 4
            number = lanes.load_first(f, at, f.lane, count) / scale
            total = total + requantize.words(f, number, f["b"]) * (1 << 8 * c)
        lanes.store_first(f, total, y + start * 4, count)

    whole = op.source.width // width
    f.loop(0, whole, lambda t, _: some(t * width, width))
    if op.source.width % width:
        some(whole * width, op.source.width % width)
