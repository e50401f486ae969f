"""Weights and activations of a few signs: x ≈ Σ αᵢ bᵢ with bᵢ in {−1, +1} (B16, B21, B22, B24).

    binary       one plane of signs, α = mean |w|: the nearest there is (Rastegari 2016)
    residual     plane after plane, each of what the planes before it left over (HORQ, Li 2017)
    alternating  the same, then α by least squares and signs by nearest sum in turns (Xu 2018)
    ternary      {−α, 0, +α}: codes of `TERNARY`, the nearest there is

Every function takes `[filters, …]` and gives codes of that shape with one α (per plane) for each
filter. Binary are packed 32 to a word, along the last axis: bit i of word j is number 32 j + i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.formats.integer import Float32, Integer, Scale, namespace

Array = Any  # a NumPy array or a torch tensor where a format rounds it
WORD = 32
TINY = float(np.finfo(np.float32).tiny)
TERNARY = Integer(2, signed=True, symmetric=True)


@dataclass(frozen=True)
class Binary:
    """Sums of `planes` numbers ±α: bit i of a code says whether the i-th is positive.

    α is one number (a value that flows: one plane, and 0 is positive), or `[indices, planes]` along
    an axis. There is no zero point.
    """

    planes: int = 1

    @property
    def bits(self) -> float:
        """Bits of one code."""
        return float(self.planes)

    @property
    def name(self) -> str:
        """In short: b1."""
        return f"b{self.planes}"

    @property
    def low(self) -> int:
        """The smallest code: minus everywhere."""
        return 0

    @property
    def high(self) -> int:
        """The largest code: plus everywhere."""
        return (1 << self.planes) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type that stores one code."""
        return np.dtype(np.uint8)

    def scales(self, extent: int) -> tuple[int, ...]:
        """The shape of the scales along an axis."""
        return (extent, self.planes)

    def encode(self, x: Array, params: Scale) -> Array:
        """The sign of each number, as a code in x's own type; one plane only."""
        xp = namespace(x)
        return xp.where(x < 0, xp.zeros_like(x), xp.ones_like(x))

    def decode(self, codes: Array, params: Scale) -> Array:
        """Reals that the codes stand for."""
        total = 0 * codes
        for plane in range(self.planes):
            sign = 2 * (codes // (1 << plane) % 2) - 1
            total = total + sign * _of_plane(params, plane, codes.ndim)
        return total


SIGN = Binary()
Format = Float32 | Integer | Binary


def _of_plane(params: Scale, plane: int, ndim: int) -> Any:
    if params.axis is None:
        return params.scale
    return Scale(params.scale[:, plane], params.zero_point, params.axis).aligned(ndim)[0]


# ── the nearest sums of signs ─────────────────────────────────────────────────────────────────


def binary(w: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Scale]:
    """Codes and scales nearest to `[filters, …]` in the mean square: b = sign w, α = mean |w|.

    >>> codes, params = binary(np.array([[1.0, -3.0]]))
    >>> SIGN.decode(codes.astype(np.float32), params).tolist()
    [[2.0, -2.0]]
    """
    return residual(w, 1)


def residual(w: np.ndarray[Any, Any], planes: int) -> tuple[np.ndarray[Any, Any], Scale]:
    """Each plane is the nearest to what is left: αᵢ = mean |rᵢ₋₁|, bᵢ = sign rᵢ₋₁ (row B24)."""
    rows = w.reshape(len(w), -1).astype(np.float64)
    left, codes, scales = rows, np.zeros(rows.shape, np.uint8), []
    for plane in range(planes):
        positive = left >= 0
        scales.append(np.abs(left).mean(1))
        codes |= (positive << plane).astype(np.uint8)
        left = left - np.where(positive, 1, -1) * scales[-1][:, None]
    return codes.reshape(w.shape), _scale(np.stack(scales, 1))


def alternating(
    w: np.ndarray[Any, Any], planes: int, rounds: int = 8
) -> tuple[np.ndarray[Any, Any], Scale]:
    """From `residual` on: α by least squares for these signs, then for each number the signs whose
    sum is nearest, in turns (row B22). No turn makes the error larger.
    """
    start, params = residual(w, planes)
    rows, codes = w.reshape(len(w), -1).astype(np.float64), start.reshape(len(w), -1)
    scales = np.asarray(params.scale, np.float64)
    every = _planes(np.arange(1 << planes), planes)  # the signs of each code
    for _ in range(rounds):
        signs = _planes(codes, planes)
        gram = np.einsum("knp,knq->kpq", signs, signs)
        right = np.einsum("knp,kn->kp", signs, rows)
        # planes may be equal or opposite: the least of several solutions
        scales = np.einsum("kpq,kq->kp", np.linalg.pinv(gram, hermitian=True), right)
        codes = np.stack([_nearest(*both) for both in zip(rows, scales @ every.T, strict=True)])
    flip = ((scales < 0) << np.arange(planes)).sum(1).astype(np.uint8)
    return (codes ^ flip[:, None]).reshape(w.shape), _scale(np.abs(scales))


def ternary(w: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Scale]:
    """Codes −1, 0, +1 and scales nearest in the mean square: of the k largest |w|, whose mean is α,
    those that make (Σ |w|)² / k the largest (rows B21).
    """
    rows = np.abs(w.reshape(len(w), -1).astype(np.float64))
    falling = -np.sort(-rows, 1)
    counts = np.arange(1, rows.shape[1] + 1)
    sums = falling.cumsum(1)
    best = (sums**2 / counts).argmax(1)
    each = np.arange(len(rows))
    kept = rows >= falling[each, best][:, None]
    codes = np.where(kept, np.sign(w.reshape(rows.shape)), 0).astype(np.int8)
    scale = np.maximum(sums[each, best] / counts[best], TINY).astype(np.float32)
    return codes.reshape(w.shape), Scale(scale, np.zeros(len(w), np.float32), 0)


def _nearest(row: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of the sums is nearest to each number."""
    order = sums.argsort()
    middles = (sums[order][1:] + sums[order][:-1]) / 2
    return np.asarray(order[np.searchsorted(middles, row)], np.uint8)


def _scale(scales: np.ndarray[Any, Any]) -> Scale:
    """One row of scales for each filter, none of them zero."""
    held = np.maximum(scales, TINY).astype(np.float32)
    return Scale(held, np.zeros(len(held), np.float32), 0)


def _planes(codes: np.ndarray[Any, Any], planes: int) -> np.ndarray[Any, Any]:
    """`[…]` codes as `[…, planes]` signs, −1.0 or 1.0."""
    return np.asarray(2.0 * (codes[..., None] >> np.arange(planes) & 1) - 1)


# ── words ─────────────────────────────────────────────────────────────────────────────────────


def words(count: int) -> int:
    """How many words so many signs take."""
    return -(-count // WORD)


def packed(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`[…, count]` of 0 and 1 as `[…, words]` uint32, zeros beyond the last.

    >>> packed(np.array([1, 0, 1, 1])).tolist()
    [13]
    """
    room = [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % WORD)]
    held = np.packbits(np.pad(bits.astype(bool), room), axis=-1, bitorder="little")
    return np.ascontiguousarray(held).view("<u4")


def unpacked(held: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """What `packed` was given, as uint8."""
    octets = np.ascontiguousarray(held).view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")[..., :count]
