"""F(m, r): m outputs of a correlation with r taps in m + r − 1 products, exact (rows G10 to G12).

    y = Aᵀ[(G w) ⊙ (Bᵀ x)],   x of n = m + r − 1 values, w of r, y of m

Transposed Cook–Toom (Winograd 1980; Lavin & Gray, CVPR 2016). Each of the n points may be scaled
freely as long as its three factors multiply to 1, and that freedom is used like this:

* G takes every division. It meets the weights once, offline, in float64.
* Bᵀ's rows and Aᵀ's columns are whole numbers without a common factor, times a power of two. With
  points whose denominators are powers of two, all their entries are exact in binary floating point.
* Bᵀ's power of two makes the highest coefficient of a row 1 where that can be, so that a row sums
  up in one multiply-add per further term.
* Aᵀ's centres a column around 1, so that what is added up in float16 is neither huge nor tiny, and
  so that the columns of x and 1/x have their 1 in different outputs.

On several axes the algorithms nest: transform along each axis, multiply, transform back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm, prod
from typing import Any

import numpy as np

from lighten.algebra.bilinear import Bilinear, Matrix, transpose
from lighten.algebra.cook_toom import Number, Point, cook_toom
from lighten.algebra.points import best_points
from lighten.algebra.straight_line import count, schedule
from lighten.errors import InputError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Winograd:
    """F(outputs, taps): product p is the one at `points[p]`; `winograd` makes them."""

    outputs: int
    taps: int
    points: tuple[Point, ...]
    bilinear: Bilinear

    @property
    def size(self) -> int:
        """n = outputs + taps − 1: the inputs of one tile, and its products."""
        return self.outputs + self.taps - 1

    @property
    def input_transform(self) -> Matrix:
        """Bᵀ, n × n."""
        return self.bilinear.left

    @property
    def kernel_transform(self) -> Matrix:
        """G, n × taps."""
        return self.bilinear.right

    @property
    def output_transform(self) -> Matrix:
        """Aᵀ, outputs × n."""
        return self.bilinear.out

    def as_float(self, dtype: Any = np.float64) -> tuple[Array, Array, Array]:
        """Bᵀ, G and Aᵀ as arrays of `dtype`, rounded by way of float64."""
        matrices = (self.input_transform, self.kernel_transform, self.output_transform)
        b, g, a = (np.array(matrix, np.float64).astype(dtype) for matrix in matrices)
        return b, g, a

    def error(self, axes: int = 2) -> float:
        """What float32 loses: max |y − y64| / max |y64| on one seeded case of 16 channels.

        Bᵀx, the products and Aᵀ in float32, G w in float64 and then rounded, as kernels do it.
        """
        rng = np.random.default_rng(0)
        side = round(2400 ** (1 / axes)) + self.taps - 1
        x = rng.standard_normal((2, 16, *[side] * axes)).astype(np.float32)
        w = rng.standard_normal((16, 16, *[self.taps] * axes)).astype(np.float32)
        y64 = direct(x.astype(np.float64), w.astype(np.float64))
        return float(np.abs(correlate(x, w, [self] * axes) - y64).max() / np.abs(y64).max())

    def __str__(self) -> str:
        return f"F({self.outputs},{self.taps}) at {', '.join(map(str, self.points))}"


def winograd(outputs: int, taps: int, points: Sequence[Number] | None = None) -> Winograd:
    """The algorithm for `outputs` values of a correlation with `taps` taps.

    Without `points`, those of `best_points`; infinity is `math.inf`. Raises `InputError` unless
    there are outputs + taps − 1 different ones. Lavin & Gray, "Fast algorithms for convolutional
    neural networks", CVPR 2016.

    >>> f23 = winograd(2, 3)
    >>> print(f23, "in", f23.bilinear.multiplications, "products instead of", 2 * 3)
    F(2,3) at 0, 1, -1, ∞ in 4 products instead of 6
    >>> [int(y) for y in f23.bilinear.apply([1, 2, 3, 4], [1, 0, -1])]
    [-2, -2]
    """
    chosen = best_points(outputs, taps) if points is None else tuple(points)
    bilinear = cook_toom(outputs, taps, chosen).transposed()
    left = [_input_factor(row) for row in bilinear.left]
    out = [_output_factor(column) for column in transpose(bilinear.out)]
    where = tuple(Point.of(x) for x in chosen)
    return Winograd(outputs, taps, where, bilinear.scaled(left, out))


def _input_factor(row: Sequence[Fraction]) -> Fraction:
    """What makes a row whole and primitive, then its highest coefficient positive and odd."""
    content = Fraction(gcd(*(c.numerator for c in row)), lcm(*(c.denominator for c in row)))
    highest = next(c / content for c in reversed(row) if c).numerator
    return Fraction(1 if highest > 0 else -1, highest & -highest) / content


def _output_factor(column: Sequence[Fraction]) -> Fraction:
    """The power of two that centres the sizes in a column of whole numbers around 1."""
    sizes = [abs(c.numerator) for c in column if c]
    return Fraction(1, 1 << ((max(sizes) * min(sizes)).bit_length() - 1) // 2)


def direct(x: Array, w: Array) -> Array:
    """Valid correlation by its definition, y[n, k, i] = Σ_cj x[n, c, i + j] w[k, c, j].

    Shapes [n, c, *spatial] and [k, c, *taps] → [n, k, *(spatial − taps + 1)].

    >>> direct(np.arange(5).reshape(1, 1, 5), np.array([[[1, 0, -1]]])).tolist()
    [[[-2, -2, -2]]]
    """
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axes)
    taps = tuple(range(x.ndim, windows.ndim))
    return np.moveaxis(np.tensordot(windows, w, ((1, *taps), (1, *axes))), -1, 1)


def correlate(x: Array, w: Array, algorithms: Sequence[Winograd]) -> Array:
    """Valid correlation by overlapping tiles, one algorithm per axis (Jia et al., PPoPP 2018).

    Shapes [n, c, *spatial] and [k, c, *taps] → [n, k, *(spatial − taps + 1)], of any size: edge
    tiles are padded with zeros and cut. Floats are computed in their own type, integers exactly
    (in fractions: slowly), giving int64. Raises `InputError` where shapes do not fit.

    >>> x, w = np.arange(7).reshape(1, 1, 7), np.array([[[1, 0, -1]]])
    >>> correlate(x, w, [winograd(4, 3)]).tolist()
    [[[-2, -2, -2, -2, -2]]]
    """
    _check(x, w, algorithms)
    first = 2 + len(algorithms)
    whole = x.dtype.kind in "iub" and w.dtype.kind in "iub"
    kind = np.dtype(object) if whole else np.result_type(x, w, np.float16)
    wide = kind if whole else np.result_type(kind, np.float64)
    kernels = [np.array(f.kernel_transform, wide) for f in algorithms]
    u = _along(w.astype(wide), kernels, 2).astype(kind)
    inputs = [np.array(f.input_transform, wide).astype(kind) for f in algorithms]
    v = _along(_tiles(x.astype(kind), algorithms), inputs, first)
    outputs = [np.array(f.output_transform, wide).astype(kind) for f in algorithms]
    y = _joined(_along(_products(v, u), outputs, first))
    cut = tuple(slice(n - f.taps + 1) for n, f in zip(x.shape[2:], algorithms, strict=True))
    y = y[:, :, *cut]
    return np.vectorize(int, otypes=[np.int64])(y) if whole else y


def _check(x: Array, w: Array, algorithms: Sequence[Winograd]) -> None:
    taps = tuple(f.taps for f in algorithms)
    fits = x.ndim == w.ndim == 2 + len(taps) and x.shape[1] == w.shape[1] and w.shape[2:] == taps
    if not taps or not fits or any(n < r for n, r in zip(x.shape[2:], taps, strict=True)):
        raise InputError(
            f"x must be [n, c, *spatial] and w [k, c, {', '.join(map(str, taps))}] with no axis of "
            f"x shorter than its taps, but got {x.shape} and {w.shape}."
        )


def _along(x: Array, matrices: Sequence[Array], first: int) -> Array:
    """Each matrix times the axis it is for: `first`, `first` + 1, …"""
    for axis, matrix in enumerate(matrices, first):
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def _tiles(x: Array, algorithms: Sequence[Winograd]) -> Array:
    """[n, c, *spatial] → [n, c, *tiles, *size]: windows of n values, m apart, zeros at the end."""
    spatial = zip(x.shape[2:], algorithms, strict=True)
    ends = [(0, -(length - f.taps + 1) % f.outputs) for length, f in spatial]
    x = np.pad(x, [(0, 0), (0, 0), *ends])
    axes, sizes = tuple(range(2, x.ndim)), tuple(f.size for f in algorithms)
    windows = np.lib.stride_tricks.sliding_window_view(x, sizes, axes)
    return windows[:, :, *(slice(None, None, f.outputs) for f in algorithms)]


def _products(v: Array, u: Array) -> Array:
    """[n, c, *tiles, *size] and [k, c, *size] → [n, k, *tiles, *size], summed over c: one matrix
    product per point.
    """
    batch, channels, *rest = v.shape
    points = prod(u.shape[2:])
    v = v.reshape(batch, channels, -1, points).transpose(3, 0, 2, 1)
    y = v.reshape(points, -1, channels) @ u.reshape(*u.shape[:2], points).transpose(2, 1, 0)
    y = y.reshape(points, batch, -1, len(u)).transpose(1, 3, 2, 0)
    return y.reshape(batch, len(u), *rest)


def _joined(y: Array) -> Array:
    """[n, k, *tiles, *outputs] → [n, k, *(tiles · outputs)]"""
    axes = (y.ndim - 2) // 2
    order = [axis for d in range(axes) for axis in (2 + d, 2 + axes + d)]
    lengths = [y.shape[2 + d] * y.shape[2 + axes + d] for d in range(axes)]
    return y.transpose(0, 1, *order).reshape(*y.shape[:2], *lengths)


def _shown(name: str, matrix: Matrix) -> str:
    width = max(len(str(c)) for row in matrix for c in row) + 2
    lines = ["".join(f"{c!s:>{width}}" for c in row) for row in matrix]
    return "\n".join(f"{name if not n else '':4}{line}" for n, line in enumerate(lines))


def main() -> None:
    """Print two algorithms, and what each m costs and loses with 3 taps."""
    for outputs in (2, 4):
        f = winograd(outputs, 3)
        print(f"{f}: {f.size} products for {outputs} outputs, not {3 * outputs}\n")
        named = zip(
            ("Bᵀ", "G", "Aᵀ"), (f.bilinear.left, f.bilinear.right, f.bilinear.out), strict=True
        )
        print("\n\n".join(_shown(name, matrix) for name, matrix in named), "\n")
    print("Bᵀ of F(4,3) in steps, v0 … v5 being the inputs:")
    steps = schedule(winograd(4, 3).input_transform)
    print(steps, "\n→", *(f"v{v}" for v in steps.outputs), "\n")
    print("Three taps. Products for a 2-D tile and for the sums they replace, operations of one")
    print("vector in each transform, and what float32 loses in 2-D over 16 channels:\n")
    print(f"{'':8}{'products':>10}{'direct':>8}{'saved':>8}{'Bᵀ':>5}{'Aᵀ':>5}{'error':>10}  points")
    for outputs in range(2, 9):
        f = winograd(outputs, 3)
        few, many = f.size**2, (3 * outputs) ** 2
        costs = [count(schedule(matrix)) for matrix in (f.input_transform, f.output_transform)]
        print(
            f"F({outputs},3)  {few:10}{many:8}{many / few:7.2f}x{costs[0]:5}{costs[1]:5}"
            f"{f.error():10.1e}  {', '.join(map(str, f.points))}"
        )


if __name__ == "__main__":
    main()
