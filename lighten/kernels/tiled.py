"""Images cut into as many tiles as a register has lanes: pixel (i, j) of every tile side by side.

    a grid of 2 × 2 tiles of 2 × 3 pixels        row 0 of one channel in memory
      a0 a1 a2 | b0 b1 b2                        [a0 b0 c0 d0] [a1 b1 c1 d1] [a2 b2 c2 d2]
      a3 a4 a5 | b3 b4 b5
      ---------+---------                        the pixel right of a2 is b0: it lies in the
      c0 c1 c2 | d0 d1 d2                        halo of the tiles, [b0 .. d0 ..], after them
      …

One load takes the same pixel of all tiles, so a weight that is the same for every pixel, and its
place the same in every tile, needs no vector of its own: what is skipped is skipped whole. A step
of two reads every other pixel of the same tile. Where the grid reaches beyond the image, and in the
halo beyond it, lies what padding reads as.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Window

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]
BARE = Halo()
WORD = 4  # bytes of a lane: one float32, or four channels of a byte each


@dataclass(frozen=True)
class Tiled:
    """Images `[channels, height, width]` as `[group, cell, lane, channel of the group]`.

    A cell is a pixel of a tile or of its `halo`; a group is one channel of float32, or `together`
    = 4 of bytes. Cells are odd in number: with a power of two, all channels' neighbouring cells
    would fall into the same few sets of a cache.

    >>> Tiled(20, 30, 32, (4, 4), (8, 8), Halo(1, 1, 1, 1)).shape
    (20, 101, 16, 1)
    """

    channels: int
    height: int
    width: int
    grid: Pair
    tile: Pair
    halo: Halo = BARE
    together: int = 1

    @property
    def lanes(self) -> int:
        """Tiles, which are the lanes of a register."""
        return self.grid[0] * self.grid[1]

    @property
    def groups(self) -> int:
        """Channels, or fours of them."""
        return math.ceil(self.channels / self.together)

    @property
    def vector(self) -> int:
        """Bytes from one cell to the next."""
        return WORD * self.lanes

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return self.halo.left + self.tile[1] + self.halo.right

    @property
    def row(self) -> int:
        """Bytes from one row of cells to the next."""
        return self.columns * self.vector

    @property
    def cells(self) -> int:
        """Cells of one group in memory."""
        return (self.halo.top + self.tile[0] + self.halo.bottom) * self.columns | 1

    @property
    def group(self) -> int:
        """Bytes from one group to the next."""
        return self.cells * self.vector

    @property
    def sample(self) -> int:
        """Bytes of one sample."""
        return self.groups * self.group

    @property
    def origin(self) -> int:
        """Bytes to the first cell inside the halo."""
        return self.halo.top * self.row + self.halo.left * self.vector

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What lies in memory for one sample."""
        return (self.groups, self.cells, self.lanes, self.together)

    def with_halo(self, halo: Halo) -> Tiled:
        """The same images in other frames."""
        return replace(self, halo=halo)

    def pack(self, x: Array, fill: int = 0) -> Array:
        """`[n, channels, height, width]` as it lies in memory; `fill` where there is no pixel."""
        held = np.full((len(x), *self.shape), fill, x.dtype)
        wide = np.full((len(x), self.groups * self.together, *x.shape[2:]), fill, x.dtype)
        wide[:, : self.channels] = x
        parts = wide.reshape(len(x), self.groups, self.together, *x.shape[2:])
        for i, j, lane, place in self._places(self.halo):
            held[:, :, place, lane] = parts[:, :, :, i, j]
        return held

    def unpack(self, held: Array) -> Array:
        """What `pack` was given."""
        shape = (len(held), self.groups, self.together, self.height, self.width)
        made = np.zeros(shape, held.dtype)
        for i, j, lane, place in self._places(BARE):
            made[:, :, :, i, j] = held[:, :, place, lane]
        return made.reshape(len(held), -1, self.height, self.width)[:, : self.channels].copy()

    def _places(self, halo: Halo) -> list[tuple[int, int, int, int]]:
        """Every pixel (i, j) in each cell that shows it: its lane, and the cell's number."""
        found = []
        (high, wide), across = self.tile, self.grid[1]
        for lane in range(self.lanes):
            top, left = lane // across * high, lane % across * wide
            for a in range(-halo.top, high + halo.bottom):
                for b in range(-halo.left, wide + halo.right):
                    cell = (self.halo.top + a) * self.columns + self.halo.left + b
                    if 0 <= top + a < self.height and 0 <= left + b < self.width:
                        found.append((top + a, left + b, lane, cell))
        return found


def halo(window: Window) -> Halo:
    """The cells around a tile that a window reads, whose steps are those from tile to tile."""
    (rows, columns), (top, left, _, _) = window.extent, window.pads
    (down, along) = window.strides
    return Halo(top, max(rows - top - down, 0), left, max(columns - left - along, 0))


def fits(source: Tiled, target: Tiled, window: Window) -> bool:
    """Whether every window of a tile lies in the source's same tile and its halo."""
    steps = (target.tile[0] * window.strides[0], target.tile[1] * window.strides[1])
    needed = halo(window)
    framed = source.halo.covering(needed) == source.halo
    return source.grid == target.grid and source.tile == steps and framed


def grids(lanes: int) -> list[Pair]:
    """The grids of so many tiles, the squarest first."""
    found = [(n, lanes // n) for n in range(1, lanes + 1) if lanes % n == 0]
    return sorted(found, key=lambda grid: (abs(grid[0] - grid[1]), grid))


def tile(size: Pair, grid: Pair, step: Pair = (1, 1)) -> Pair:
    """The least tile that covers an image, in whole steps."""
    rows, columns = (
        math.ceil(extent / (count * each)) * each
        for extent, count, each in zip(size, grid, step, strict=True)
    )
    return rows, columns


def best_grid(sizes: Sequence[Pair], lanes: int) -> Pair:
    """The grid that wastes the fewest cells on images of these sizes, the squarest of those."""

    def cells(grid: Pair) -> int:
        return sum(math.prod(tile(size, grid)) for size in sizes)

    return min(grids(lanes), key=cells)
