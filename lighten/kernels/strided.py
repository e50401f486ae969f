"""Tensors of any rank that lie in rows: where each number is, by steps along each axis.

Reshaping, transposing, slicing and repeating are other steps over the same bytes; nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Strided:
    """Number `index` of sample n lies at `offset + n · sample + Σ index · strides`, in numbers.

    A step of 0 repeats what is there; a constant is the same for every sample, `sample` 0.

    >>> turned = rows((3, 4)).permuted((1, 0))
    >>> turned.shape, turned.strides
    ((4, 3), (1, 4))
    """

    shape: Shape
    strides: Shape
    offset: int = 0
    sample: int = 0

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    @property
    def whole(self) -> bool:
        """Whether the samples lie one after the other, each row by row, from the beginning."""
        plain = rows(self.shape)
        alike = all(
            s == t for n, s, t in zip(self.shape, self.strides, plain.strides, strict=True) if n > 1
        )
        return alike and self.offset == 0 and self.sample == plain.sample

    def permuted(self, order: Sequence[int]) -> Strided:
        """The same numbers with their axes in another order."""
        shape, strides = (tuple(x[i] for i in order) for x in (self.shape, self.strides))
        return replace(self, shape=shape, strides=strides)

    def sliced(self, axis: int, start: int, count: int, step: int) -> Strided:
        """`count` of the indices along an axis, from `start` in steps."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def expanded(self, shape: Sequence[int]) -> Strided:
        """Repeated along new axes in front, and along axes of one."""
        new = len(shape) - len(self.shape)
        strides = [0] * new + [
            0 if one == 1 and wanted != 1 else stride
            for one, wanted, stride in zip(self.shape, shape[new:], self.strides, strict=True)
        ]
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def reshaped(self, shape: Sequence[int]) -> Strided | None:
        """The same numbers, in the same order, as another shape; None where they must be moved."""
        if math.prod(shape) != self.size:
            return None
        held = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        merged = list(_merged(held))
        room, step = merged.pop() if merged else (1, 1)
        for extent in reversed(shape):
            if extent != 1 and room == 1 and merged:
                room, step = merged.pop()
            if room % extent:
                return None
            strides.append(step)
            room, step = room // extent, step * extent
        return replace(self, shape=tuple(shape), strides=tuple(reversed(strides)))


def _merged(axes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Neighbouring axes that one step runs through as one."""
    held: tuple[int, int] | None = None
    for extent, step in axes:
        if held is not None and held[1] == extent * step:
            held = (held[0] * extent, step)
            continue
        if held is not None:
            yield held
        held = (extent, step)
    if held is not None:
        yield held


def rows(shape: Sequence[int]) -> Strided:
    """Row by row, sample after sample."""
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Strided(tuple(shape), strides, 0, math.prod(shape))


def joined(views: Sequence[Strided]) -> tuple[Strided, ...]:
    """Tensors of one shape with as few axes as all of their steps allow, none of them 1."""
    axes = [
        (extent, [view.strides[axis] for view in views])
        for axis, extent in enumerate(views[0].shape)
        if extent != 1
    ]
    found: list[tuple[int, list[int]]] = []
    for extent, steps in axes:
        if found and found[-1][1] == [extent * step for step in steps]:
            found[-1] = (found[-1][0] * extent, steps)
        else:
            found.append((extent, steps))
    shape = tuple(extent for extent, _ in found)
    return tuple(
        replace(view, shape=shape, strides=tuple(steps[number] for _, steps in found))
        for number, view in enumerate(views)
    )
