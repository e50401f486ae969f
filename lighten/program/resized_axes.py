"""What a program is at other input shapes, while it is walked through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from lighten.program.ir import Program
from lighten.program.shapes import Shape

Extent = tuple[int, int]  # in the program, and now
Axis = tuple[Extent, ...]  # the extents whose product it is, in row-major order


@dataclass(frozen=True)
class Sized:
    """The shape of a value or of a stored array, in the program and now."""

    axes: tuple[Axis, ...]
    stored: bool = False

    @property
    def was(self) -> Shape:
        """In the program."""
        return tuple(product(axis)[0] for axis in self.axes)

    @property
    def now(self) -> Shape:
        """At the other input shapes."""
        return tuple(product(axis)[1] for axis in self.axes)

    @property
    def changed(self) -> bool:
        """Whether any axis has another extent."""
        return self.was != self.now


@dataclass
class Resizing:
    """A program being resized: what is `known` of its values so far, by name, and the `parts` of
    which the axes of a reshaped one are made.
    """

    program: Program
    known: dict[str, Sized] = field(default_factory=dict)
    parts: dict[str, tuple[Axis, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers, self.readers = self.program.producers(), self.program.consumers()

    def of(self, name: str) -> Sized:
        """A value or a stored array; no axes where an input is absent."""
        if name in self.known or not name:
            return self.known.get(name, Sized(()))
        shape = self.program.arrays[name].shape
        return Sized(plainly(shape, shape), stored=True)

    @property
    def extents(self) -> frozenset[int]:
        """What the axes that changed were in the program."""
        return frozenset(
            before
            for x in self.known.values()
            for before, now in zip(x.was, x.now, strict=True)
            if before != now
        )


def product(axis: Axis) -> Extent:
    """An axis as one extent."""
    return prod(before for before, _ in axis), prod(now for _, now in axis)


def plainly(before: Sequence[int], now: Sequence[int]) -> tuple[Axis, ...]:
    """Axes that are made of nothing smaller."""
    return tuple(((a, b),) for a, b in zip(before, now, strict=True))


def regrouped(axes: Sequence[Axis], target: Shape) -> tuple[Axis, ...] | None:
    """The same extents in the same order as the axes of `target`; None where that could be done in
    two ways: where a changed extent would be split, or be joined with a part of another, or where
    changed ones have the product they had.

    >>> regrouped((((8, 8),), ((4, 6), (4, 5))), (2, 4, 16))
    (((2, 2),), ((4, 4),), ((4, 6), (4, 5)))
    >>> regrouped((((16, 30),), ((8, 8),)), (4, 4, 8)) is None
    True
    """
    left = [Part(*extent) for axis in axes for extent in axis if extent != (1, 1)]
    if any(part.before == 1 for part in left):
        return None
    found: list[Axis] = []
    for size in target:
        taken = _taken(left, size)
        axis = tuple((part.before, part.now) for part in taken) or ((1, 1),)
        before, now = product(axis)
        moved = any(a != b for a, b in axis)
        if before != size or (moved and (before == now or any(part.split for part in taken))):
            return None
        found.append(axis)
    return None if left else tuple(found)


@dataclass(frozen=True)
class Part:
    """An extent, or what was `split` off one that did not change."""

    before: int
    now: int
    split: bool = False


def _taken(left: list[Part], size: int) -> list[Part]:
    """Parts from the front that make up `size`; of one that is split, the rest stays."""
    taken: list[Part] = []
    while left and size > 1:
        first = left[0]
        fixed = first.before == first.now
        if size % first.before == 0:
            taken.append(left.pop(0))
            size //= first.before
        elif fixed and first.before % size == 0:
            rest = first.before // size
            left[0] = Part(rest, rest, split=True)
            taken.append(Part(size, size, split=True))
            size = 1
        elif fixed and len(left) > 1 and left[1].before == left[1].now:
            joined = first.before * left[1].before
            left[:2] = [Part(joined, joined, split=True)]
        else:
            break
    return taken
