"""Products of polynomials from their values at points (Toom 1963, Cook 1966; Karatsuba 1962).

The product of polynomials of m and r coefficients has n = m + r − 1 of its own, so n points decide
it: evaluate both there, multiply the n pairs of values, interpolate. Points lie on the projective
line, x = p / q with whole p and q, and polynomials are homogeneous, Σ c_i p^i q^(m−1−i). That way
infinity, 1 / 0, is a point like the others, and everything but one division per point stays whole:

    Π_{b≠a} (q_b x − p_b)     vanishes at every point but a,
    N_a = Π_{b≠a} (p_a q_b − q_a p_b)     is its value at a.

Numbers are polynomials at x = base, so long multiplication falls out too: `toom(2)` is Karatsuba's
answer to Kolmogorov, who had conjectured that n² is the best there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest

from lighten.algebra.bilinear import Bilinear, exact, transpose
from lighten.errors import InputError

Number = int | float | Fraction


@dataclass(frozen=True)
class Point:
    """x = numerator / denominator in lowest terms; 1 / 0 is infinity.

    >>> print(Point.of(-0.5), Point.of(math.inf), Point.of(math.inf).powers(3))
    -1/2 ∞ (0, 0, 1)
    """

    numerator: int
    denominator: int

    @classmethod
    def of(cls, x: Number) -> Point:
        """The point at `x`, which may be `math.inf` (of either sign: there is one infinity)."""
        if isinstance(x, float) and math.isinf(x):
            return cls(1, 0)
        return cls(*Fraction(x).as_integer_ratio())

    def powers(self, count: int) -> tuple[int, ...]:
        """p^i q^(count−1−i) for every i below `count`: what coefficient i is worth here."""
        p, q = self.numerator, self.denominator
        return tuple(p**i * q ** (count - 1 - i) for i in range(count))

    def __str__(self) -> str:
        return str(Fraction(self.numerator, self.denominator)) if self.denominator else "∞"


def interpolant(points: Sequence[Point], at: int) -> tuple[tuple[int, ...], int]:
    """The polynomial that vanishes at every point but `points[at]`, and its value N there.

    Coefficients lowest first, as many as there are points. Raises `InputError` when two points
    are one.

    >>> interpolant([Point.of(x) for x in (0, 1, -1, math.inf)], 3)  # x³ − x
    ((0, -1, 0, 1), 1)
    """
    here, coefficients, value = points[at], [1], 1
    for there in (point for n, point in enumerate(points) if n != at):
        p, q = there.numerator, there.denominator
        lower, higher = [-p * c for c in coefficients], [q * c for c in coefficients]
        coefficients = [a + b for a, b in zip_longest(lower, [0, *higher], fillvalue=0)]
        value *= here.numerator * q - here.denominator * p
    if not value:
        raise InputError(f"Points must differ, but {here} is given more than once.")
    return tuple(coefficients), value


def cook_toom(m: int, r: int, points: Sequence[Number]) -> Bilinear:
    """Multiplies polynomials of m and of r coefficients (lowest first) in m + r − 1 products.

    `left` and `right` evaluate and are whole; `out` interpolates, and holds the divisions. Raises
    `InputError` unless there are m + r − 1 different points.

    >>> cook_toom(2, 2, (0, 1, math.inf)).apply([1, 2], [3, 4])  # (1 + 2x)(3 + 4x)
    (Fraction(3, 1), Fraction(10, 1), Fraction(8, 1))
    """
    if m < 1 or r < 1 or len(points) != m + r - 1:
        raise InputError(
            f"Polynomials of {m} and {r} coefficients need {m + r - 1} points, but got "
            f"{len(points)}."
        )
    where = [Point.of(x) for x in points]
    vanishing = [interpolant(where, at) for at in range(len(where))]
    return Bilinear(
        exact(point.powers(m) for point in where),
        exact(point.powers(r) for point in where),
        transpose(exact([Fraction(c, value) for c in row] for row, value in vanishing)),
    )


def toom(parts: int) -> Bilinear:
    """Multiplies polynomials of `parts` coefficients in 2 · parts − 1 products (row G21).

    The points are 0, 1, −1, 2, −2, … and infinity. `toom(2)` is Karatsuba: 3 products for 4.

    >>> karatsuba = toom(2)
    >>> karatsuba.multiplications, karatsuba.proves_product(2, 2)
    (3, True)
    """
    whole = [0, *(sign * x for x in range(1, parts + 1) for sign in (1, -1))]
    return cook_toom(parts, parts, [*whole[: 2 * parts - 2], math.inf])


def multiply(x: int, y: int, algorithm: Bilinear | None = None, bits: int = 64) -> int:
    """x · y by cutting both into the algorithm's number of digits, again and again.

    Numbers of at most `bits` bits are multiplied as they are. With `toom(2)`, the default, the
    work grows as n^1.58 (log₂ 3) instead of n².

    >>> multiply(3**500, -(7**300)) == -(3**500 * 7**300)
    True
    """
    algorithm = algorithm or toom(2)
    parts = len(algorithm.left[0])
    size = max(abs(x).bit_length(), abs(y).bit_length())
    if size <= max(bits, 8 * parts):
        return x * y
    width = -(-size // parts)
    digits = [_digits(number, width, parts) for number in (x, y)]
    sides = zip((algorithm.left, algorithm.right), digits, strict=True)
    left, right = ([_whole(row, ds) for row in matrix] for matrix, ds in sides)
    products = [multiply(a, b, algorithm, bits) for a, b in zip(left, right, strict=True)]
    return sum(_whole(row, products) << (width * i) for i, row in enumerate(algorithm.out))


def _digits(number: int, width: int, parts: int) -> list[int]:
    sign = -1 if number < 0 else 1
    mask = (1 << width) - 1
    return [sign * (abs(number) >> (width * i) & mask) for i in range(parts)]


def _whole(row: Sequence[Fraction], numbers: Sequence[int]) -> int:
    total = sum((c * x for c, x in zip(row, numbers, strict=True) if c), Fraction(0))
    if total.denominator != 1:
        raise InputError("Long multiplication needs an algorithm whose sums are whole.")
    return total.numerator
