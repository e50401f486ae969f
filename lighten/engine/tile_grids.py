"""Which grid images are cut in that ops join, and how large the tiles of each are.

    x ─ conv, steps of 2 ─ y ─ + ─ z        y and z in the same tiles, those of x twice as large

What is joined lies in one grid. The tiles of its values are as large to each other as the steps
between them say, and as small as covers every image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from lighten.kernels import tiled
from lighten.kernels.tiled import Pair

Join = tuple[str, str, Pair]  # two values, and the steps from the second to the first
Scales = dict[str, tuple[Fraction, Fraction]]
ONE = Fraction(1)


def grids(
    joins: Iterable[Join], sizes: Mapping[str, Sequence[int]], lanes: int
) -> dict[str, tuple[Pair, Pair]] | None:
    """Grid and tile of every value, whose rows and columns are given; None where the steps between
    them contradict each other.
    """
    found = {}
    for scales in _joined(joins):
        if scales is None:
            return None
        whole = _whole(scales)
        grid, cells = _cells(whole, sizes, lanes)
        for value, (down, along) in whole.items():
            found[value] = (grid, (cells[0] * down, cells[1] * along))
    return found


def _joined(joins: Iterable[Join]) -> Iterator[Scales | None]:
    """Values in one grid, and how large their tiles are to each other; None where that is not one
    number.
    """
    beside: dict[str, list[tuple[str, Fraction, Fraction]]] = defaultdict(list)
    for a, b, (down, along) in joins:
        beside[b].append((a, Fraction(down), Fraction(along)))
        beside[a].append((b, Fraction(1, down), Fraction(1, along)))
    seen: set[str] = set()
    for first in beside:
        if first in seen:
            continue
        scales, waiting = {first: (ONE, ONE)}, [first]
        while waiting:
            here = waiting.pop()
            for there, lower, further in beside[here]:
                scale = (scales[here][0] * lower, scales[here][1] * further)
                if there not in scales:
                    waiting.append(there)
                elif scales[there] != scale:
                    yield None
                    return
                scales.setdefault(there, scale)
        seen |= set(scales)
        yield scales


def _whole(scales: Scales) -> dict[str, Pair]:
    """The same proportions in the least whole numbers."""
    found: list[list[int]] = []
    for axis in range(2):
        held = [scale[axis] for scale in scales.values()]
        common = math.lcm(*(x.denominator for x in held))
        numbers = [int(x * common) for x in held]
        divisor = math.gcd(*numbers)
        found.append([number // divisor for number in numbers])
    return dict(zip(scales, zip(*found, strict=True), strict=True))


def _cells(
    scales: Mapping[str, Pair], sizes: Mapping[str, Sequence[int]], lanes: int
) -> tuple[Pair, Pair]:
    """The grid that wastes the fewest cells, and the tile of scale 1."""

    def least(grid: Pair) -> Pair:
        sides = [0, 0]
        for value, scale in scales.items():
            for axis, extent in enumerate(sizes[value]):
                sides[axis] = max(sides[axis], math.ceil(extent / (grid[axis] * scale[axis])))
        return sides[0], sides[1]

    best = min(tiled.grids(lanes), key=lambda grid: math.prod(least(grid)))
    return best, least(best)
