"""Where to evaluate: the points of F(m, r) that round least.

Every set of different points is exact in fractions; in floating point they are far apart (in 2-D,
F(8, 3) at 0, ±1, ±2, ±3, ±4, ∞ errs thousands of times more than at the points here). A product's
rounding error reaches the output through its column of Aᵀ, having been scaled by the norms of its
rows of G and Bᵀ (Barabasz, Anderson, Soodhalter & Gregg, "Error analysis and improving the accuracy
of Winograd convolution", 2018). `growth` puts the worst case and the typical one together.

`POINTS` is a table written down from a search over `candidates`: each set is within 15 % of the
least growth for all m and r that share n = m + r − 1, and where several are as close, one whose
transforms take few operations. Candidates come in pairs x, −x, so that transforms share their even
and odd halves, and have denominators that are powers of two, so that Bᵀ and Aᵀ are exact in binary
floating point.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

from lighten.algebra.bilinear import Bilinear, transpose
from lighten.algebra.cook_toom import Number
from lighten.errors import InputError

MAGNITUDES = tuple(Fraction(x) for x in ("1/4", "3/8", "1/2", "3/4", "1", "3/2", "2", "3", "4"))

# n → the points between 0 and infinity, as a text: "±2" is the pair 2, −2
POINTS = {
    3: "1",
    4: "±1",
    5: "±3/4 2",
    6: "±2 ±1/2",
    7: "±1 ±2 1/2",
    8: "±1 ±2 ±1/2",
    9: "±1 ±3/2 ±3/8 3",
    10: "±3/2 ±3/4 ±3/8 ±3",
    11: "±1 ±2 ±3/4 ±3/8 4",
    12: "±1 ±1/4 ±3/2 ±3/4 ±3",
    13: "±1 ±2 ±1/2 ±3/4 ±3 1/4",
    14: "±1 ±2 ±1/2 ±4 ±1/4 ±3/4",
}


def best_points(m: int, r: int) -> tuple[Number, ...]:
    """The m + r − 1 points to use for F(m, r), infinity last.

    Raises `InputError` beyond 14 points.

    >>> [str(x) for x in best_points(4, 3)]
    ['0', '2', '-2', '1/2', '-1/2', 'inf']
    """
    n = m + r - 1
    if m < 1 or r < 1 or n > max(POINTS):
        raise InputError(f"F({m}, {r}) needs {n} points, and 1 to {max(POINTS)} are chosen.")
    between: list[Number] = []
    for word in POINTS.get(n, "").split():
        x = Fraction(word.removeprefix("±"))
        between += [x, -x] if word.startswith("±") else [x]
    return (*(Fraction(0),)[: n - 1], *between, math.inf)


def candidates(n: int) -> Iterator[tuple[Number, ...]]:
    """Every set of n points the table was chosen from: 0, pairs, one more if n is odd, infinity."""
    pairs, lone = divmod(n - 2, 2)
    for chosen in combinations(MAGNITUDES, pairs):
        between = [sign * x for x in chosen for sign in (1, -1)]
        extra = [[x] for x in MAGNITUDES if x not in chosen] if lone else [[]]
        for more in extra:
            yield (Fraction(0), *between, *more, math.inf)


def growth(algorithm: Bilinear) -> float:
    """How much rounding errors grow: the geometric mean of a worst case and a typical one.

    Worst: the most that any output can take in, max_i Σ_p |W_ip| ‖U_p‖₁ ‖V_p‖₁. Typical: the root
    mean square over outputs when signs are random, √Σ_p W_ip² ‖U_p‖₂² ‖V_p‖₂². Scaling points does
    not change it, and measured float32 errors rank sets as it does (`tests/test_algebra.py`).

    >>> growth(Bilinear(((Fraction(2),),), ((Fraction(1, 2),),), ((Fraction(3),),)))
    3.0
    """
    columns = [[float(c) for c in row] for row in transpose(algorithm.out)]
    sides = [[[float(c) for c in row] for row in m] for m in (algorithm.left, algorithm.right)]
    absolute = [sum(map(abs, u)) * sum(map(abs, v)) for u, v in zip(*sides, strict=True)]
    squared = [math.hypot(*u) * math.hypot(*v) for u, v in zip(*sides, strict=True)]
    outputs = range(len(algorithm.out))
    worst = max(sum(abs(c[i]) * a for c, a in zip(columns, absolute, strict=True)) for i in outputs)
    typical = math.hypot(
        *(c[i] * s for i in outputs for c, s in zip(columns, squared, strict=True))
    ) / math.sqrt(len(outputs))
    return math.sqrt(worst * typical)
