"""Copies between layouts: slices, pads, parts of a concatenation, shuffles, planar to blocked.

reference, one sample, for every c, i, j inside `size`:
    y[at + (c, i, j) · spread] = x[begin + (c, i, j) · steps]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Type, Value, vector
from lighten.kernels import share
from lighten.kernels.finish import lanes_of, pixel
from lighten.kernels.layout import Blocked

Corner = tuple[int, int, int]  # channel, row, column
Run = tuple[Index, Index]  # the first, and the first beyond


@dataclass(frozen=True)
class Move:
    """A box of `size` (channels, rows, columns), taken from `begin` in steps of `steps` and put at
    `at` in steps of `spread`. What lies around and between in the target stays as it is.
    """

    source: Blocked
    target: Blocked
    size: Corner
    begin: Corner = (0, 0, 0)
    steps: Corner = (1, 1, 1)
    at: Corner = (0, 0, 0)
    spread: Corner = (1, 1, 1)


def emit(name: str, move: Move, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`: a register of channels at a time where both sides lie alike, else
    as many as lie side by side on both.
    """
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    channels, rows, _ = move.size
    units = channels // _unit(move)
    if _alike(move) and move.target.lanes > 1:
        extents = (f["n"], -(-channels // move.target.lanes), rows)
        share.spans(f, extents, lambda n, c, *run: _block(f, move, (n, c), run))
    elif rows > 1:  # the channels of a pixel lie side by side: one part should write them
        share.spans(f, (f["n"], rows), lambda n, *run: _channels(f, move, n, (0, units), run))
    else:
        share.spans(f, (f["n"], units), lambda n, *some: _channels(f, move, n, some, (0, 1)))
    return f


def _unit(move: Move) -> int:
    """How many channels stay side by side in one block on both sides."""
    if move.steps[0] != 1 or move.spread[0] != 1:
        return 1
    return math.gcd(move.source.lanes, move.target.lanes, move.begin[0], move.at[0], move.size[0])


def _runs(move: Move) -> bool:
    """Whether rows of both sides are numbers side by side."""
    return move.source.lanes == move.target.lanes == move.steps[2] == move.spread[2] == 1


def _alike(move: Move) -> bool:
    """Whether blocks move as they are: their lanes beyond the channels may be overwritten."""
    lanes = move.target.lanes
    if move.source.lanes != lanes or move.begin[0] % lanes or move.at[0] % lanes:
        return False
    if move.steps[0] != 1 or move.spread[0] != 1:
        return False
    return move.size[0] % lanes == 0 or move.at[0] + move.size[0] == move.target.channels


def _block(f: Function, move: Move, place: tuple[Value, Index], run: Run) -> None:
    """Some rows of one block of channels."""
    (n, c), lanes = place, move.target.lanes
    blocks = (n, c + move.begin[0] // lanes, c + move.at[0] // lanes)
    _box(f, move, (f["x"], f["y"]), (blocks, run), lanes_of(move.target))


def _channels(f: Function, move: Move, n: Value, units: Run, run: Run) -> None:
    """Some rows of some units of channels, one after the other: its block and lane on each side."""
    unit, size, kind = _unit(move), move.target.size, lanes_of(move.target).element
    kind = vector(kind, unit) if unit > 1 else kind

    def channel(u: Value, _: Tile) -> None:
        c = u * unit
        source, lane = _split(c * move.steps[0] + move.begin[0], move.source.lanes)
        target, place = _split(c * move.spread[0] + move.at[0], move.target.lanes)
        bases = (f["x"] + lane * size, f["y"] + place * size)
        _box(f, move, bases, ((n, source, target), run), kind)

    f.loop(*units, channel)


def _split(channel: Value, lanes: int) -> tuple[Value, Value]:
    block = channel // lanes
    return block, channel - block * lanes


def _box(
    f: Function,
    move: Move,
    bases: tuple[Value, Value],
    part: tuple[tuple[Value, Index, Index], Run],
    kind: Type,
) -> None:
    """Copy some rows of one block, or of one lane in it."""
    (n, old, new), run = part
    (_, above, before), (_, top, left) = move.begin, move.at
    (_, down, along), (_, apart, aside) = move.steps, move.spread

    def row(i: Value, _: Tile) -> None:
        def columns(kind: Type, start: int, stop: int) -> None:
            def column(j: Value, _: Tile) -> None:
                x = pixel(bases[0], move.source, (n, old, i * down + above, j * along + before))
                y = pixel(bases[1], move.target, (n, new, i * apart + top, j * aside + left))
                f.store(f.load(x, kind), y)

            f.loop(start, stop, column, step=f.isa.lanes if kind == wide and runs else 1)

        whole = move.size[2] - move.size[2] % f.isa.lanes if runs else 0
        columns(wide, 0, whole)
        columns(kind, whole, move.size[2])

    runs, wide = _runs(move), vector(lanes_of(move.target).element, f.isa.lanes)
    f.loop(*run, row)


def fill(name: str, layout: Blocked, value: float, isa: Isa) -> Function:
    """The kernel `name(y, …)`: one number everywhere inside the halo."""
    f = Function(name, {"y": POINTER, **share.COUNT}, isa)
    number = f.constant(value, lanes_of(layout))

    def line(n: Value, c: Value, i: Value) -> None:
        y = pixel(f["y"], layout, (n, c, i, 0))
        f.loop(0, layout.width, lambda j, _: f.store(number, y + j * layout.pixel))

    share.each(f, (f["n"], layout.blocks, layout.height), line)
    return f


def clear(name: str, layout: Blocked, isa: Isa, blank: int = 0) -> Function:
    """The kernel `name(y, …)`: zeros in the halo, or what codes have for a zero."""
    f = Function(name, {"y": POINTER, **share.COUNT}, isa)
    halo = layout.halo
    zero = f.constant(blank, lanes_of(layout))

    def zeros(start: Value, count: int) -> None:
        f.loop(0, count, lambda p, _: f.store(zero, start + p * layout.pixel))

    def block(n: Value, c: Index, first: Index, last: Index) -> None:
        y = f["y"] + n * layout.sample + c * layout.block

        def whole(i: Value, _: Tile) -> None:
            zeros(y + i * layout.row, layout.columns)

        def ends(i: Value, _: Tile) -> None:
            start = y + i * layout.row
            zeros(start, halo.left)
            zeros(start + (halo.left + layout.width) * layout.pixel, halo.right)

        inside = layout.rows - halo.bottom
        f.loop(first, f.least(last, halo.top), whole)
        f.loop(f.most(first, halo.top), f.least(last, inside), ends)
        f.loop(f.most(first, inside), last, whole)

    share.spans(f, (f["n"], layout.blocks, layout.rows), block)
    return f
