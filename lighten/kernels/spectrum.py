"""What a tile's Fourier transform is kept as: planes, their sizes, the factors of products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schedule:
    """The size of a tile, (rows, columns); registers of filters by tiles; rows of tiles a step."""

    size: tuple[int, int]
    blocks: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Spectrum:
    """The planes of a tile's transform: where those of a column begin."""

    size: tuple[int, int]

    @property
    def real(self) -> int:
        """Columns that are real before the rows are transformed."""
        return min(self.size[1], 2)

    @property
    def edge(self) -> int:
        """Planes of such a column."""
        rows = self.size[0]
        return 1 if rows == 1 else 2 + 3 * (rows // 2 - 1)

    @property
    def planes(self) -> int:
        """Of all columns."""
        return self.real * self.edge + 3 * self.size[0] * self.complex

    @property
    def complex(self) -> int:
        """Columns that are complex."""
        return max(self.size[1] // 2 - 1, 0)

    def starts(self) -> Iterator[tuple[int, bool]]:
        """The first plane of each row of a real column, and whether it is real."""
        at = 0
        for row in range(self.size[0] // 2 + 1):
            single = row in (0, self.size[0] // 2)
            yield at, single
            at += 1 if single else 3


def alone(conv: Conv) -> bool:
    """Whether every channel has one filter of its own."""
    return conv.groups == conv.source.channels == conv.target.channels > 1


def outputs(conv: Conv, schedule: Schedule) -> tuple[int, int]:
    """Results of one tile along each axis."""
    (rows, columns), (down, along) = schedule.size, conv.window.kernel
    return rows - down + 1, columns - along + 1


def tiles(conv: Conv, schedule: Schedule) -> tuple[int, int]:
    """Rows and columns of tiles."""
    down, along = outputs(conv, schedule)
    return math.ceil(conv.target.height / down), math.ceil(conv.target.width / along)


@dataclass(frozen=True)
class Sizes:
    """Tiles of one step, and bytes of one plane of V (`read`), of M (`made`), of U (`weights`): an
    odd number of registers, so that planes do not meet in the cache.
    """

    tiles: int
    read: int
    made: int
    weights: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> Sizes:
        source, target = conv.source, conv.target
        if alone(conv):
            return cls(1, source.pixel, source.pixel, source.blocks * source.pixel)
        count = schedule.rows * tiles(conv, schedule)[1]
        read, made = ((layout.blocks * count | 1) * layout.pixel for layout in (source, target))
        weights = source.blocks * source.lanes * target.blocks * target.pixel
        return cls(count, read, made, weights)


def factors(spectrum: Array, size: tuple[int, int]) -> Iterator[Array]:
    """The factors of each product, in the order of the planes."""
    held, (rows, columns) = Spectrum(size), size
    for column in (0, columns // 2)[: held.real]:
        for row, (_, single) in enumerate(held.starts()):
            z = spectrum[..., row, column]
            yield from [z.real] if single else [z.real, z.imag - z.real, z.real + z.imag]
    for column in range(1, held.complex + 1):
        for row in range(rows):
            z = spectrum[..., row, column]
            yield from [z.real, z.imag - z.real, z.real + z.imag]
