"""The register block that all products of rows and columns are made of (G1, G4).

reference:
    for q in range(rows), o in range(blocks):
        sums[q, o] += Σ_c a[q, c] · b[c, o]         b[c, o] is a register

              b[c, 0]     b[c, 1]           per step c: one load of each register of b,
    a[0, c] [ sums[0,0] | sums[0,1] ]       one number of each row of a spread over the
    a[1, c] [ sums[1,0] | sums[1,1] ]       lanes, rows × blocks multiply-adds
    …
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lighten.emit import Function, Index, Isa, Tile, Value, bfloat16, lanes

READY = 8  # multiply-adds under way that keep both ports of a core busy
UNROLLED = 8  # steps written out in one round
LINE = 64  # bytes that are fetched at a time
WIDEST = 4  # registers of columns in a block

Multiply = Callable[[Function, Value, Value, Value], Value]
Add = Callable[[Function, Value, Value], Value]
Finish = Callable[[Tile, tuple[Index, Index], tuple[int, int]], None]


@dataclass(frozen=True)
class Rows:
    """Where `a[q, c]` lies: bytes from one row to the next and from one step to the next."""

    pointer: Value
    row: int
    step: int = 4


def _plus(f: Function, a: Value, b: Value) -> Value:
    return a + b


@dataclass(frozen=True)
class Numbers:
    """What a and b hold: how a product is added to a sum, and two sums to each other."""

    multiply: Multiply = Function.fma
    add: Add = _plus


FLOATS, PAIRS = Numbers(), Numbers(bfloat16.dot)


@dataclass(frozen=True)
class Columns:
    """Where register `b[c, o]` lies: `blocks` side by side of `width` numbers altogether, and the
    bytes from one step to the next.
    """

    pointer: Value
    step: int
    blocks: int
    width: int
    numbers: Numbers = FLOATS

    def load(self, f: Function, pointer: Value, o: int) -> Value:
        """Register o at one step; what lies beyond `width` is not read."""
        count = min(f.isa.lanes, self.width - o * f.isa.lanes)
        return lanes.load_first(f, pointer + o * f.lane.bytes, f.lane, count)


def tallest(blocks: int, isa: Isa) -> int:
    """Rows that fit into the registers beside `blocks` of b and one of a."""
    return max(1, (isa.registers - blocks - 1) // blocks)


@dataclass(frozen=True)
class Ahead:
    """What will be read soon: from where, and how many lines are asked for in each round."""

    pointer: Value
    lines: int


def rounds(count: int) -> int:
    """In how many rounds of a loop so many steps are made, at least one."""
    return max(1, count // UNROLLED)


def products(
    f: Function, a: Rows, b: Columns, count: int, sums: Tile, ahead: Ahead | None = None
) -> Tile:
    """`sums[q · blocks + o]` with `count` steps added. Few sums are kept in several copies, so that
    none waits for its last addition.
    """
    size = len(sums)
    copies = max(1, min(READY // size, count))
    held = sums + [f.zero(f.lane)] * (size * (copies - 1))
    multiply, add = partial(b.numbers.multiply, f), partial(b.numbers.add, f)

    def steps(x: Value, w: Value, number: int, held: Tile) -> Tile:
        for c in range(number):
            first = c % copies * size
            registers = [b.load(f, w + c * b.step, o) for o in range(b.blocks)]
            for q in range(size // b.blocks):
                spread = f.load_spread(x, f.lane, q * a.row + c * a.step)
                for o, register in enumerate(registers):
                    at = first + q * b.blocks + o
                    held[at] = multiply(spread, register, held[at])
        return held

    unrolled = max(UNROLLED, copies)
    whole, rest = divmod(count, unrolled)

    def round_(c: Value, held: Tile) -> Tile:
        x, w = a.pointer + c * (unrolled * a.step), b.pointer + c * (unrolled * b.step)
        if ahead is not None:
            for line in range(ahead.lines):
                f.prefetch(ahead.pointer + c * (ahead.lines * LINE) + line * LINE)
        return steps(x, w, unrolled, held)

    held = f.loop(0, whole, round_, held)
    if rest:
        done = whole * unrolled
        held = steps(a.pointer + done * a.step, b.pointer + done * b.step, rest, held)
    for copy in range(1, copies):
        held = [*map(add, held[:size], held[copy * size :][:size]), *held[size:]]
    return held[:size]


def even(count: int, most: int) -> int:
    """The height of a tile, at most so many rows, when `count` are cut into as few as can be."""
    return math.ceil(count / math.ceil(count / most))


def multiply(
    f: Function, size: tuple[int, int, int], a: Rows, b: tuple[Value, int], finish: Finish
) -> None:
    """All of a product `size` (rows, steps, columns) in register blocks; b is its first register
    and the bytes from one step to the next. `finish(sums, (row, column), (rows, columns))` stores a
    block.
    """
    height, count, width = size
    blocks = min(math.ceil(width / f.isa.lanes), WIDEST)
    panel, rows = blocks * f.isa.lanes, even(height, tallest(blocks, f.isa))

    def tile(row: Index, column: Index, shape: tuple[int, int]) -> None:
        registers = math.ceil(shape[1] / f.isa.lanes)
        source = Rows(a.pointer + row * a.row, a.row, a.step)
        held = Columns(b[0] + column * 4, b[1], registers, shape[1])
        sums = [f.zero(f.lane)] * (shape[0] * registers)
        finish(products(f, source, held, count, sums), (row, column), shape)

    def columns(column: Index, width: int) -> None:
        full, left = divmod(height, rows)
        f.loop(0, full, lambda t, _: tile(t * rows, column, (rows, width)))
        if left:
            tile(full * rows, column, (left, width))

    whole, rest = divmod(width, panel)
    f.loop(0, whole, lambda c, _: columns(c * panel, panel))
    if rest:
        columns(whole * panel, rest)
