"""Which weights stay: the nearest point of a set of sparse arrays, as a mask (rows C1, C6).

    unstructured   the k largest entries
    block          the k blocks with the largest sums; 1×4: `block=(1, 4, 1, 1)`
    n:m            in every m consecutive input channels (axis 1) the n largest

An array projected onto such a set is the array times the mask; scores other than |w| give the
same sets another order. Ties go to what comes first, so that a mask follows from the scores alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lighten.errors import RecipeError
from lighten.formats.integer import namespace

Array = Any  # a NumPy array or a torch tensor


@dataclass(frozen=True)
class Pattern:
    """A shape of sparsity: `kind` is a row of `MASKS`; `block` the extents of one block along
    each axis (missing ones count as 1), `of` the m of n:m.
    """

    kind: str = "unstructured"
    block: tuple[int, ...] = ()
    of: int = 4

    def __post_init__(self) -> None:
        if self.kind not in MASKS:
            raise RecipeError(
                f"The pattern must be one of {', '.join(MASKS)}, but got {self.kind!r}."
            )
        if min((*self.block, self.of)) < 1:
            raise RecipeError(f"The sizes of a pattern must be at least 1, but got {self}.")

    def extents(self, ndim: int) -> tuple[int, ...]:
        """The extents of one block of an array of `ndim` dimensions."""
        own = {"block": self.block, "n:m": (1, self.of)}.get(self.kind, ())
        if len(own) > ndim:
            raise RecipeError(f"A block of {len(own)} extents must lie in {ndim} dimensions.")
        return own + (1,) * (ndim - len(own))


def mask(scores: Array, pattern: Pattern, density: float) -> Array:
    """Ones where a weight stays, of the shape and type of `scores`, which are never negative.

    The number of blocks (entries; per m channels) that stay is `density` of them, rounded.

    >>> import numpy as np
    >>> mask(np.array([[3.0, 1.0, 2.0, 2.0]]), Pattern("n:m"), 0.5).tolist()
    [[1.0, 0.0, 1.0, 0.0]]
    """
    if not 0 <= density <= 1:
        raise RecipeError(f"The density must lie between 0 and 1, but got {density}.")
    return MASKS[pattern.kind](scores, pattern, density)


def largest(scores: Array, count: int) -> Array:
    """Ones at the `count` largest entries along the last axis, the first of equal ones first."""
    xp = namespace(scores)
    size = scores.shape[-1]
    if count >= size:
        return xp.ones_like(scores)
    if count <= 0:
        return xp.zeros_like(scores)
    limit = xp.sort(scores)[..., size - count, None]
    above, equal = scores > limit, scores == limit
    left = count - above.sum(-1)[..., None]
    return xp.where(above | (equal & (equal.cumsum(-1) <= left)), 1.0, 0.0 * scores)


def _blocks(scores: Array, pattern: Pattern, density: float) -> Array:
    """Whole blocks by their sum. A block that reaches over the edge counts what it has."""
    extents = pattern.extents(scores.ndim)
    sums = scores
    for axis, extent in enumerate(extents):
        sums = _summed(sums, axis, extent)
    flat = sums.reshape(-1)
    chosen = largest(flat, round(density * flat.shape[0])).reshape(sums.shape)
    for axis, extent in enumerate(extents):
        chosen = _spread(chosen, axis, extent, scores.shape[axis])
    return chosen


def _summed(x: Array, axis: int, extent: int) -> Array:
    """Sums of `extent` neighbours along an axis; the last may have fewer."""
    if extent == 1:
        return x
    total = _every(x, axis, 0, extent) + 0
    for first in range(1, extent):
        part = _every(x, axis, first, extent)
        total[_along(axis, slice(part.shape[axis]))] += part
    return total


def _spread(x: Array, axis: int, extent: int, size: int) -> Array:
    """Each entry `extent` times along an axis, cut to `size`."""
    if extent == 1:
        return x
    number = namespace(x).arange(size) // extent
    return x[_along(axis, number)]


def _every(x: Array, axis: int, first: int, extent: int) -> Array:
    return x[_along(axis, slice(first, None, extent))]


def _along(axis: int, what: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, what)


def _of_each(scores: Array, pattern: Pattern, density: float) -> Array:
    """n of every m consecutive input channels; the last may be fewer than m, and keep n of them."""
    if scores.ndim < 2:
        raise RecipeError("The pattern n:m must lie along the second axis, but there is none.")
    xp = namespace(scores)
    count = round(density * pattern.of)
    turned = xp.moveaxis(scores, 1, -1)
    found = xp.zeros_like(turned)
    for first in range(0, turned.shape[-1], pattern.of):
        part = slice(first, first + pattern.of)
        found[..., part] = largest(turned[..., part], count)
    return xp.moveaxis(found, -1, 1)


MASKS: Mapping[str, Callable[[Array, Pattern, float], Array]] = {
    "unstructured": _blocks,  # of one entry
    "block": _blocks,
    "n:m": _of_each,
}
