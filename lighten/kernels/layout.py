"""How the numbers of one tensor lie in memory while the network runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Halo:
    """Zeros kept around an image, so that a sliding kernel reads its padding as it reads pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def covering(self, other: Halo) -> Halo:
        """The least that holds both."""
        return Halo(
            max(self.top, other.top),
            max(self.bottom, other.bottom),
            max(self.left, other.left),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Blocked:
    """Images `[channels, height, width]` as `[block, row, column, lane]` (rows G23, G24: NCHWc).

        channel 0 … lanes−1 of pixel (0, 0), of pixel (0, 1), …       one block
        channel lanes … 2·lanes−1 of pixel (0, 0), …                  the next

    One load takes a register full of channels of one pixel. `lanes` of 1 is planar: NCHW. The last
    block's lanes beyond `channels` hold anything: no kernel mixes lanes. Around each block's image
    lies its `halo`. A number has `size` bytes: 4 for float32, 1 for codes (`program.integers`),
    whose halo holds the code of 0.

    >>> Blocked(20, 3, 5, 16, Halo(1, 1, 1, 1)).shape
    (2, 5, 7, 16)
    """

    channels: int
    height: int
    width: int
    lanes: int
    halo: Halo = Halo()
    size: int = 4

    @property
    def blocks(self) -> int:
        """How many blocks of channels there are."""
        return math.ceil(self.channels / self.lanes)

    @property
    def rows(self) -> int:
        """Rows in memory."""
        return self.halo.top + self.height + self.halo.bottom

    @property
    def columns(self) -> int:
        """Columns in memory."""
        return self.halo.left + self.width + self.halo.right

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What lies in memory for one sample."""
        return (self.blocks, self.rows, self.columns, self.lanes)

    @property
    def pixel(self) -> int:
        """Bytes from one pixel to the next."""
        return self.size * self.lanes

    @property
    def row(self) -> int:
        """Bytes from one row to the next."""
        return self.columns * self.pixel

    @property
    def block(self) -> int:
        """Bytes from one block of channels to the next."""
        return self.rows * self.row

    @property
    def sample(self) -> int:
        """Bytes of one sample."""
        return self.blocks * self.block

    @property
    def origin(self) -> int:
        """Bytes to the first pixel inside the halo."""
        return self.halo.top * self.row + self.halo.left * self.pixel

    def with_halo(self, halo: Halo) -> Blocked:
        """The same images in another frame."""
        return replace(self, halo=halo)

    def pack(self, x: Array, blank: int = 0) -> Array:
        """`[n, channels, height, width]` as it lies in memory, `blank` around it, zeros beyond."""
        kind = np.float32 if self.size == 4 else np.uint8
        wide = np.zeros((len(x), self.blocks * self.lanes, self.height, self.width), kind)
        wide[:, : self.channels] = x
        blocks = wide.reshape(len(x), self.blocks, self.lanes, self.height, self.width)
        held = np.full((len(x), *self.shape), blank, kind)
        self.inside(held)[...] = blocks.transpose(0, 1, 3, 4, 2)
        return held

    def unpack(self, held: Array) -> Array:
        """What `pack` was given."""
        blocks = self.inside(held).transpose(0, 1, 4, 2, 3)
        flat = blocks.reshape(len(held), -1, self.height, self.width)
        return np.ascontiguousarray(flat[:, : self.channels])

    def inside(self, held: Array) -> Array:
        """A view of memory without the halo."""
        top, left = self.halo.top, self.halo.left
        return held[:, :, top : top + self.height, left : left + self.width]
