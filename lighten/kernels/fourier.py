"""Discrete Fourier transforms of a power of two of numbers, as sums and products of whatever
numbers are: floats, arrays, registers (Cooley & Tukey 1965).

    reference:
        X[k] = Σ_j x[j] · e^(−2πi jk / N)

A transform falls into those of its even and its odd numbers, X[k] = E[k] + e^(−2πi k/N) · O[k];
real numbers need the first half of X alone, since X[N − k] is X[k] conjugated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Number = Any  # adds and subtracts
Complex = tuple[Number, Number]


@dataclass(frozen=True)
class Arithmetic:
    """`scale(factor, x)` is factor · x, `add(factor, x, y)` factor · x + y, for float factors."""

    scale: Callable[[float, Number], Number]
    add: Callable[[float, Number, Number], Number]


PLAIN = Arithmetic(lambda factor, x: factor * x, lambda factor, x, y: factor * x + y)


def root(k: int, size: int) -> tuple[float, float]:
    """e^(−2πi k / size); exact where it is 1, −i, −1 or i, and as symmetric as it should be.

    >>> root(1, 4), root(1, 8)[0] == -root(1, 8)[1]
    ((0.0, -1.0), True)
    """
    eighths, over = divmod(8 * (k % size), size)
    if over:
        turn = 2 * math.pi * k / size
        return math.cos(turn), -math.sin(turn)
    half = math.sqrt(0.5)
    row = ((1.0, 0.0), (half, -half), (0.0, -1.0), (-half, -half))[eighths % 4]
    return row if eighths < 4 else (-row[0], -row[1])


def forward(values: Sequence[Number], with_: Arithmetic) -> list[Complex]:
    """X[0 … N/2] of real numbers; the imaginary parts of the first and last are None.

    >>> forward([1.0, 2.0, 3.0, 4.0], PLAIN)
    [(10.0, None), (-2.0, 2.0), (-2.0, None)]
    """
    size = len(values)
    if size == 1:
        return [(values[0], None)]
    even, odd = forward(values[::2], with_), forward(values[1::2], with_)
    (first, _), (second, _) = even[0], odd[0]
    made: list[Complex] = [(first, None)] * (size // 2 + 1)
    made[0], made[size // 2] = (first + second, None), (first - second, None)
    for k in range(1, (size + 3) // 4):
        plus, minus = _butterfly(even[k], odd[k], root(k, size), with_)
        made[k], made[size // 2 - k] = plus, (minus[0], with_.scale(-1.0, minus[1]))
    if size >= 4:
        made[size // 4] = (even[size // 4][0], with_.scale(-1.0, odd[size // 4][0]))
    return made


def _butterfly(
    e: Complex, o: Complex, turn: tuple[float, float], with_: Arithmetic
) -> tuple[Complex, Complex]:
    """e + turn · o and e − turn · o"""
    (er, ei), (a, b), (c, s) = e, o, turn
    if (c, s) == (1.0, 0.0):
        return (er + a, ei + b), (er - a, ei - b)
    if c == 0.0:  # −i, or i
        plus, minus = (er + b, ei - a), (er - b, ei + a)
        return (plus, minus) if s < 0 else (minus, plus)
    add = with_.add
    return (
        (add(-s, b, add(c, a, er)), add(c, b, add(s, a, ei))),
        (add(s, b, add(-c, a, er)), add(-c, b, add(-s, a, ei))),
    )


def inverse(spectrum: Sequence[Complex], with_: Arithmetic) -> list[Number]:
    """N · x from X[0 … N/2].

    >>> inverse([(10.0, None), (-2.0, 2.0), (-2.0, None)], PLAIN)
    [4.0, 8.0, 12.0, 16.0]
    """
    size = 2 * (len(spectrum) - 1)
    if not size:
        return [spectrum[0][0]]
    first, last = spectrum[0][0], spectrum[-1][0]
    even: list[Complex] = [(first + last, None)]
    odd: list[Complex] = [(first - last, None)]
    for k in range(1, (size + 3) // 4):
        (a, b), (c, d) = spectrum[k], spectrum[size // 2 - k]
        even.append((a + c, b - d))
        odd.append(_turned((a - c, b + d), root(-k, size), with_))
    if size >= 4:
        a, b = spectrum[size // 4]
        even.append((a + a, None))
        odd.append((with_.scale(-2.0, b), None))
    made: list[Number] = [None] * size
    made[::2], made[1::2] = inverse(even, with_), inverse(odd, with_)
    return made


def _turned(z: Complex, turn: tuple[float, float], with_: Arithmetic) -> Complex:
    (a, b), (c, s) = z, turn
    return with_.add(-s, b, with_.scale(c, a)), with_.add(s, a, with_.scale(c, b))


def complex_(values: Sequence[Complex], with_: Arithmetic, *, back: bool = False) -> list[Complex]:
    """X of complex numbers; `back`: N · x from X.

    >>> complex_([(1.0, 0.0), (0.0, 1.0)], PLAIN)
    [(1.0, 1.0), (1.0, -1.0)]
    """
    size = len(values)
    if size == 1:
        return list(values)
    even = complex_(values[::2], with_, back=back)
    odd = complex_(values[1::2], with_, back=back)
    sign = -1 if back else 1
    pairs = [
        _butterfly(e, o, root(sign * k, size), with_)
        for k, (e, o) in enumerate(zip(even, odd, strict=True))
    ]
    return [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
