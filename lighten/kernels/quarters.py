"""Seven products of quarters in the order in which sums of them can grow: what `strassen` and
`strassen_rows` have in common.

       0:        P0 → p        2:  p + P2 → p      4:  p + q + P4 → C12     6:  p + P6 → C21
       1:    p + P1 → C11      3:      P3 → q      5:  p + P5 → p, p + q → C22

p and q are memory, of one group of filters; every sum is stored once and read at most twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lighten.algebra.bilinear import Bilinear
from lighten.algebra.straight_line import StraightLine, run, schedule
from lighten.algebra.strassen import strassen
from lighten.emit import Function, Tile, Value

Array = np.ndarray[Any, Any]
# by product: what it is added to, where the sum is kept, which quarter of y (half of the rows, of
# the filters) it is a result for, once something else is added to it, too
PIPELINE: Sequence[tuple[str, str, tuple[int, int] | None, str]] = (
    ("", "p", None, ""),
    ("p", "", (0, 0), ""),
    ("p", "p", None, ""),
    ("", "q", None, ""),
    ("pq", "", (0, 1), ""),
    ("p", "p", (1, 1), "q"),
    ("p", "", (1, 0), ""),
)


@cache
def algorithm() -> tuple[Bilinear, StraightLine]:
    """The algorithm, and how its sums of A are computed."""
    made = strassen()
    return made, schedule(made.left)


def packed(weight: Array, panel: int) -> Array:
    """`[channels, filters]` in float64 as sums of quarters, `[group, product, channel, filter]` of
    groups of `panel` filters, in the order in which they are read.
    """
    channels, filters = weight.shape
    quarters = weight.reshape(2, channels // 2, 2, filters // 2).transpose(0, 2, 1, 3)
    right = np.array(algorithm()[0].right, np.float64)
    made = np.tensordot(right, quarters.reshape(4, channels // 2, filters // 2), 1)
    split = made.reshape(len(right), channels // 2, -1, panel).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(split, np.float32)


def sums_of(f: Function, line: StraightLine, quarters: Tile) -> list[tuple[int, Value]]:
    """The sums of quarters by their number in S."""
    found = run(line, quarters, lambda factor: f.constant(float(factor), f.lane), f.fma)
    pairs = zip(line.outputs, found, strict=True)
    return [(output - line.inputs, value) for output, value in pairs if output >= line.inputs]


def combine(
    f: Function,
    number: int,
    held: Mapping[str, Value],
    multiply: Callable[[Tile], Tile],
    finish: Callable[[int, int, Tile], None],
    size: int,
) -> None:
    """A tile of product `number`: a row of `PIPELINE`. `multiply` adds the product to a tile of so
    many registers, `finish` stores a result in its quarter; `held` says where it lies in p and q.
    """
    reads, keep, quarter, also = PIPELINE[number]

    def load(name: str) -> Tile:
        return [f.load(held[name], f.lane, at * f.lane.bytes) for at in range(size)]

    sums = load(reads[0]) if reads else [f.zero(f.lane)] * size
    for name in reads[1:]:
        sums = [x + y for x, y in zip(sums, load(name), strict=True)]
    sums = multiply(sums)
    for at, value in enumerate(sums if keep else ()):
        f.store(value, held[keep], at * f.lane.bytes)
    if also:
        sums = [x + y for x, y in zip(sums, load(also), strict=True)]
    if quarter:
        finish(*quarter, sums)
