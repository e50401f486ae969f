"""Products of matrices from seven products of their quarters instead of eight (row G22).

    A11 A12     B11 B12     C11 C12
    A21 A22  ·  B21 B22  =  C21 C22

Strassen (1969) in the form of Winograd (1971), which adds least: four sums of quarters of A, four
of B, seven of products. Nothing in it asks that the quarters' numbers commute, so they may be
matrices themselves.
"""

from __future__ import annotations

from lighten.algebra.bilinear import Bilinear, exact


def strassen() -> Bilinear:
    """y = (C11, C12, C21, C22) for a = (A11, A12, A21, A22) and b = (B11, B12, B21, B22).

    Its products come in an order in which a result, or a partial sum that results share, is at hand
    when the next is added to it: C11 = 0 + 1, C12 = 0 + 2 + 3 + 4, C22 = 0 + 2 + 3 + 5 and
    C21 = 0 + 2 + 5 + 6, where p is product number p.

    >>> strassen().multiplications
    7
    """
    left = exact(
        [
            [1, 0, 0, 0],
            [0, 1, 0, 0],
            [-1, 0, 1, 1],
            [0, 0, 1, 1],
            [1, 1, -1, -1],
            [1, 0, -1, 0],
            [0, 0, 0, 1],
        ]
    )
    right = exact(
        [
            [1, 0, 0, 0],
            [0, 0, 1, 0],
            [1, -1, 0, 1],
            [-1, 1, 0, 0],
            [0, 0, 0, 1],
            [0, -1, 0, 1],
            [-1, 1, 1, -1],
        ]
    )
    uses = ({0, 1}, {0, 2, 3, 4}, {0, 2, 5, 6}, {0, 2, 3, 5})
    out = exact([[int(p in used) for p in range(7)] for used in uses])
    return Bilinear(left, right, out)


def proves_product(made: Bilinear) -> bool:
    """Whether it multiplies any two matrices of 2 × 2: an identity between tables of fractions."""
    size = range(2)
    wanted = tuple(
        exact(
            [
                [i == row and j == column and inner == other for inner in size for j in size]
                for i in size
                for other in size
            ]
        )
        for row in size
        for column in size
    )
    return made.tensor() == wanted
