"""The formats of signs: x = Σ αᵢ bᵢ with bᵢ in {−1, +1} or {−1, 0, +1} (A7), and packed signs.

`binary` finds the sums nearest to some numbers; here is how they are stored and what flows as a
sign. Packed, 32 signs are a word, along the last axis: bit i of word j is number 32 j + i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.formats.binary import Signs
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


def coded(sums: Signs) -> tuple[np.ndarray[Any, Any], Format, Scale] | None:
    """Codes, format and scales of a sum of signs, `Binary` where none is zero and `TERNARY` of one
    plane; None for several with zeros.
    """
    codes, scales = np.asarray(sums.codes), np.asarray(sums.scales, np.float64)
    sizes = np.maximum(np.abs(scales), TINY).astype(np.float32)
    turned = np.where(scales < 0, -1, 1).reshape(*scales.shape, *(1,) * (codes.ndim - 2))
    zeros = np.zeros(codes.shape[1], np.float32)
    if codes.all():
        positive = codes * turned > 0
        powers = (1 << np.arange(len(codes))).reshape(-1, *(1,) * (codes.ndim - 1))
        form = Binary(len(codes))
        return (positive * powers).sum(0).astype(form.dtype), form, Scale(sizes.T.copy(), zeros, 0)
    if len(codes) > 1:
        return None
    return (codes * turned)[0].astype(np.int8), TERNARY, Scale(sizes[0], zeros, 0)


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
