"""Bilinear algorithms y = W[(U a) ⊙ (V b)], exact, with the identity that proves each.

Every fast product has this form: transform both arguments, multiply entry by entry, combine. Its
cost in multiplications is the number of rows of U; what it computes is the tensor

    T[i, j, k] = Σ_p W[i, p] U[p, j] V[p, k],        y_i = Σ_jk T[i, j, k] a_j b_k,

a finite table of fractions. To compare that table with the one wanted is a proof, not a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lighten.errors import InputError

Matrix = tuple[tuple[Fraction, ...], ...]


def exact(rows: Iterable[Iterable[Any]]) -> Matrix:
    """The matrix with these entries as fractions (a float means exactly what its bits say).

    >>> exact([[1, 0.5]])
    ((Fraction(1, 1), Fraction(1, 2)),)
    """
    return tuple(tuple(Fraction(entry) for entry in row) for row in rows)


def transpose(matrix: Matrix) -> Matrix:
    """Rows become columns."""
    return tuple(zip(*matrix, strict=True))


def times(matrix: Matrix, vector: Sequence[Any]) -> tuple[Any, ...]:
    """The product of a matrix and a vector of fractions or integers."""
    return tuple(sum(c * x for c, x in zip(row, vector, strict=True) if c) for row in matrix)


@dataclass(frozen=True)
class Bilinear:
    """y = W[(U a) ⊙ (V b)]: `left` is U, `right` is V (one row per product), `out` is W.

    Raises `InputError` unless U, V and the columns of W are equally many.

    >>> Bilinear(exact([[1]]), exact([[1]]), exact([[2]])).apply([3], [5])
    (Fraction(30, 1),)
    """

    left: Matrix
    right: Matrix
    out: Matrix

    def __post_init__(self) -> None:
        products = {len(self.left), len(self.right), *(len(row) for row in self.out)}
        widths = [{len(row) for row in matrix} for matrix in (self.left, self.right)]
        if len(products) != 1 or any(len(found) != 1 for found in widths):
            raise InputError(
                "U, V and the columns of W must be equally many, but got "
                f"{len(self.left)}, {len(self.right)} and {sorted({len(r) for r in self.out})}."
            )

    @property
    def multiplications(self) -> int:
        """How many products of a sum of `a` and a sum of `b` it takes."""
        return len(self.left)

    def apply(self, a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...]:
        """y for vectors of integers or fractions, exactly."""
        products = zip(times(self.left, a), times(self.right, b), strict=True)
        return times(self.out, [x * y for x, y in products])

    def transposed(self) -> Bilinear:
        """The algorithm whose tensor is T[j, i, k]: `a` and `y` change places, `b` stays.

        The transposition principle (Winograd 1980, chapter IV): the transpose of multiplying
        polynomials of m and r coefficients is the correlation with r taps that gives m values,
        in as many products. Twice transposed it is itself.
        """
        return Bilinear(transpose(self.out), self.right, transpose(self.left))

    def scaled(self, left: Sequence[Fraction], out: Sequence[Fraction]) -> Bilinear:
        """The same tensor with row p of U times `left[p]`, column p of W times `out[p]`, and row
        p of V divided by both. Raises `InputError` on a zero or on another length.
        """
        if {len(left), len(out)} != {self.multiplications} or not all((*left, *out)):
            raise InputError(f"There must be {self.multiplications} factors, none of them zero.")
        right = zip(self.right, left, out, strict=True)
        return Bilinear(
            tuple(tuple(c * s for c in row) for row, s in zip(self.left, left, strict=True)),
            tuple(tuple(c / (s * t) for c in row) for row, s, t in right),
            tuple(tuple(c * t for c, t in zip(row, out, strict=True)) for row in self.out),
        )

    def tensor(self) -> tuple[Matrix, ...]:
        """T[i][j][k], all of it."""
        shape = range(len(self.left[0])), range(len(self.right[0]))
        tables = []
        for row in self.out:
            table = [[Fraction(0) for _ in shape[1]] for _ in shape[0]]
            for w, us, vs in zip(row, self.left, self.right, strict=True):
                for j, u in enumerate(us if w else ()):
                    for k, v in enumerate(vs if u else ()):
                        table[j][k] += w * u * v
            tables.append(exact(table))
        return tuple(tables)

    def proves_correlation(self, outputs: int, taps: int) -> bool:
        """Whether y_i = Σ_k a_{i+k} b_k for every a of outputs + taps − 1 values and every b.

        An identity between tables of fractions, T[i, j, k] = [j = i + k], so it holds for all
        inputs or for none.
        """
        entries = (range(outputs), range(outputs + taps - 1), range(taps))
        return self.tensor() == _table(entries, lambda i, j, k: j == i + k)

    def proves_product(self, m: int, r: int) -> bool:
        """Whether y holds the coefficients of the product of any polynomials of m and of r
        coefficients (lowest first): T[i, j, k] = [i = j + k].
        """
        entries = (range(m + r - 1), range(m), range(r))
        return self.tensor() == _table(entries, lambda i, j, k: i == j + k)


def _table(
    entries: tuple[range, range, range], holds: Callable[[int, int, int], bool]
) -> tuple[Matrix, ...]:
    first, second, third = entries
    return tuple(
        tuple(tuple(Fraction(holds(i, j, k)) for k in third) for j in second) for i in first
    )
