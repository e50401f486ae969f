"""Affine and symmetric integers: q = clip(round(x / scale) + zero_point)  (row A6, Jacob 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """The array functions for `x`: NumPy's, or those of the library it comes from."""
    if isinstance(x, np.ndarray):
        return np
    from array_api_compat import array_namespace

    return array_namespace(x)


Array = Any  # a NumPy array or a torch tensor: the same code rounds both


@dataclass(frozen=True)
class Scale:
    """What maps integers to reals: `x = (q − zero_point) · scale`.

    The zero point is a whole number held as float32, so that rounding float32 stays float32.
    Both are scalars (`axis` None) or one value per index along `axis` of the array.
    """

    scale: Any
    zero_point: Any
    axis: int | None = None

    def aligned(self, ndim: int) -> tuple[Any, Any]:
        """Scale and zero point, shaped to broadcast against an array of `ndim` dimensions."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = tuple(-1 if d == self.axis else 1 for d in range(ndim))
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


@dataclass(frozen=True)
class Float32:
    """The format of everything that has not been given another."""

    bits: float = 32.0


@dataclass(frozen=True)
class Integer:
    """Integers of `bits` bits. `symmetric` puts the zero point in the middle and leaves the most
    negative code unused, so that −x is as representable as x (weights); otherwise affine.
    """

    bits: float = 8.0
    signed: bool = False
    symmetric: bool = False

    @property
    def name(self) -> str:
        """In short: u8, i4."""
        return f"{'i' if self.signed else 'u'}{self.bits:g}"

    @property
    def low(self) -> int:
        """The smallest code used."""
        if not self.signed:
            return 0
        return -(1 << (int(self.bits) - 1)) + int(self.symmetric)

    @property
    def high(self) -> int:
        """The largest code."""
        return (1 << (int(self.bits) - int(self.signed))) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type that stores one code."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def scales(self, extent: int) -> tuple[int, ...]:
        """The shape of the scales along an axis."""
        return (extent,)

    def span(self, low: Any, high: Any, axis: int | None = None) -> Scale:
        """The scale that covers [low, high] (arrays or floats, widened to hold zero exactly)."""
        low = np.minimum(np.asarray(low, np.float32), 0)
        high = np.maximum(np.asarray(high, np.float32), 0)
        tiny = np.float32(np.finfo(np.float32).tiny)
        if self.symmetric:
            scale = np.maximum(np.maximum(-low, high) / self.high, tiny)
            middle = 0 if self.signed else (self.high + 1) // 2
            return Scale(scale, np.full(scale.shape, middle, np.float32), axis)
        scale = np.maximum((high - low) / (self.high - self.low), tiny)
        zero = np.clip(np.round(self.low - low / scale), self.low, self.high)
        return Scale(scale.astype(np.float32), zero.astype(np.float32), axis)

    def fit(self, x: Array, axis: int | None = None) -> Scale:
        """The scale that covers every value of `x` (per index along `axis`): saturates nothing."""
        xp = namespace(x)
        dims = tuple(d for d in range(x.ndim) if d != axis)
        return self.span(np.asarray(xp.min(x, axis=dims)), np.asarray(xp.max(x, axis=dims)), axis)

    def encode(self, x: Array, params: Scale) -> Array:
        """Codes of `x`, as values of x's own type: clamp after rounding half to even (row B3)."""
        xp = namespace(x)
        scale, zero = params.aligned(x.ndim)
        return xp.clip(xp.round(x / scale) + zero, self.low, self.high)

    def decode(self, codes: Array, params: Scale) -> Array:
        """Reals that the codes stand for."""
        scale, zero = params.aligned(codes.ndim)
        return (codes - zero) * scale


FLOAT32 = Float32()
UINT8 = Integer(8, signed=False)
INT8_WEIGHT = Integer(8, signed=True, symmetric=True)
