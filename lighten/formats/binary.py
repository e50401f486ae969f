"""Weights as sums of a few scaled signs, Σ aᵢ·bᵢ with bᵢ in {−1, 1} or {−1, 0, 1} (rows B16–B24).

    signs        one sign each, a = mean |w|: the nearest point       (Rastegari et al., ECCV 2016)
    ternary      zero below 0.7·mean |w|, else a sign                 (TWN, Li et al. 2016)
    nearest      the nearest ternary array, found exactly           (Leng et al., AAAI 2018, eq. 12)
    greedy       the sign of what the signs before it left            (HORQ, Li et al., ICCV 2017)
    alternating  least squares for a, the best codes for these a, …   (Xu et al., ICLR 2018)

The first axis holds the filters: each has scales of its own. The same code takes NumPy and torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from lighten.formats.integer import namespace

Array = Any  # a NumPy array or a torch tensor
THRESHOLD = 0.7  # of the mean |w| (TWN, equation 6)
ROUNDS = 8  # of alternation, each at least as near as the one before


@dataclass(frozen=True)
class Signs:
    """`codes` `[m, k, …]` of −1, 0 and 1, and `scales` `[m, k]`: together Σ scales·codes."""

    codes: Array
    scales: Array

    def decode(self) -> Array:
        """The real numbers, `[k, …]`."""
        shape = (*self.scales.shape, *(1,) * (self.codes.ndim - 2))
        return (self.codes * self.scales.reshape(shape)).sum(0)


def signs(w: Array) -> Signs:
    """One sign for each weight, the filter's mean magnitude for all: the L2 optimum (B16)."""
    rows = _rows(w)
    return _made([_sign(rows)], [abs(rows).mean(1)], w)


def ternary(w: Array) -> Signs:
    """Zero up to a threshold, a sign beyond, the mean of what is beyond as scale (TWN, B21)."""
    rows = _rows(w)
    limit = THRESHOLD * abs(rows).mean(1)[:, None]
    beyond = _ones(abs(rows) > limit, rows)
    count = namespace(w).clip(beyond.sum(1), 1, None)
    return _made([_sign(rows) * beyond], [(abs(rows) * beyond).sum(1) / count], w)


def nearest(w: Array) -> Signs:
    """The ternary array with the least squared distance.

    With n weights kept the best are the n largest, and the distance falls by (Σ |w|)²/n: so the
    best n is found among all, by running sums over the sorted magnitudes.
    """
    xp, rows = namespace(w), _rows(w)
    ordered = -xp.sort(-abs(rows))
    number = xp.cumsum(xp.ones_like(ordered), 1)
    sums = xp.cumsum(ordered, 1)
    best = xp.argmax(sums * sums / number, 1)[:, None]
    kept = _ones(number == 1.0 + best, rows)
    limit, scale = (ordered * kept).sum(1), (sums / number * kept).sum(1)
    return _made([_sign(rows) * _ones(abs(rows) >= limit[:, None], rows)], [scale], w)


def greedy(w: Array, bits: int = 2) -> Signs:
    """`bits` signs, each of what is left after those before it (B24)."""
    rest, codes, scales = _rows(w), [], []
    for _ in range(bits):
        codes.append(_sign(rest))
        scales.append(abs(rest).mean(1))
        rest = rest - codes[-1] * scales[-1][:, None]
    return _made(codes, scales, w)


def alternating(w: Array, bits: int = 2, rounds: int = ROUNDS) -> Signs:
    """`bits` signs, nearer in every round: scales by least squares, then the best codes (B22).

    With the scales known, a weight's best code is that of the nearest of the 2^bits sums.
    """
    xp, rows = namespace(w), _rows(w)
    first = greedy(rows, bits)
    codes = xp.moveaxis(first.codes, 0, -1)  # [k, n, bits]
    scales = first.scales.T
    sums = _like(rows, list(product((-1.0, 1.0), repeat=bits)))  # [2^bits, bits]
    for _ in range(rounds):
        scales = _least_squares(codes, rows, scales)
        values = scales @ sums.T
        codes = sums[xp.argmin(abs(rows[:, :, None] - values[:, None, :]), -1)]
    scales = _least_squares(codes, rows, scales)
    parts = [codes[:, :, i] for i in range(bits)]
    return _made(parts, [scales[:, i] for i in range(bits)], w)


def _least_squares(codes: Array, rows: Array, before: Array) -> Array:
    """The scales `[k, bits]` nearest to `rows` for these codes; a pinch of `before` where codes
    are equal and scales cannot be told apart.
    """
    turned = namespace(rows).moveaxis(codes, 1, 2)
    pinch = 1e-6 * codes.shape[1]
    squares = turned @ codes + pinch * _like(rows, _identity(codes.shape[2]))
    wanted = (turned @ rows[:, :, None]) + pinch * before[:, :, None]
    return namespace(rows).linalg.solve(squares, wanted)[:, :, 0]


def _identity(size: int) -> list[list[float]]:
    return [[float(i == j) for j in range(size)] for i in range(size)]


def _like(x: Array, values: Any) -> Array:
    """Numbers as an array of x's library, type and device."""
    xp = namespace(x)
    return xp.zeros_like(x[:1, :1]).reshape(()) + xp.asarray(values, dtype=x.dtype)


def _rows(w: Array) -> Array:
    return w.reshape(w.shape[0], -1)


def _sign(x: Array) -> Array:
    """1 from zero on, −1 below."""
    return 2.0 * _ones(x >= 0, x) - 1.0


def _ones(where: Array, like: Array) -> Array:
    """One where it holds and zero elsewhere, of the type of `like`."""
    xp = namespace(like)
    return xp.where(where, xp.ones_like(like), xp.zeros_like(like))


def _made(codes: list[Array], scales: list[Array], w: Array) -> Signs:
    xp = namespace(w)
    found = xp.stack([code + xp.zeros_like(_rows(w)) for code in codes])
    return Signs(found.reshape(len(codes), *w.shape), xp.stack(scales))


SUMS: Mapping[str, Callable[[Array], Signs]] = {
    "signs": signs,
    "ternary": ternary,
    "nearest": nearest,
    "greedy": greedy,
    "alternating": alternating,
}
