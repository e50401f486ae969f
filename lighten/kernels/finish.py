"""What is done to sums in registers before they are stored: residual and activation."""

from __future__ import annotations

from lighten.emit import F32, I8, Function, Index, Tile, Type, Value, vector
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv

Place = tuple[Value, Index, Index, Index]  # sample, block of channels, row, column


def number_of(size: int) -> Type:
    """The type of numbers of so many bytes."""
    return F32 if size == 4 else I8


def lanes_of(layout: Blocked) -> Type:
    """The channels of a pixel in one block."""
    element = number_of(layout.size)
    return vector(element, layout.lanes) if layout.lanes > 1 else element


def pixel(base: Value, layout: Blocked, place: Place) -> Value:
    """Where a pixel lies in a blocked tensor."""
    n, block, row, column = place
    moved = base + n * layout.sample + block * layout.block + row * layout.row
    return moved + (column * layout.pixel + layout.origin)


def window(conv: Conv, x: Value, place: Place) -> Value:
    """Where the window of a result's pixel begins: in the halo, at the border."""
    n, block, row, column = place
    source, (top, left, *_) = conv.source, conv.window.pads
    down, along = conv.window.strides
    moved = x + n * source.sample + block * source.block
    moved = moved + row * (down * source.row) + column * (along * source.pixel)
    return moved + ((source.halo.top - top) * source.row + (source.halo.left - left) * source.pixel)


def finish(
    f: Function, conv: Conv, sums: Tile, place: Place, shape: tuple[int, int] = (1, 0)
) -> None:
    """Store neighbouring pixels at `y`, `shape` (registers of each, how many in a row; 0 for all),
    as they are in `sums[pixel * registers + register]`: with what lies at `r` added where the
    convolution has a residual, and activated.
    """
    y = pixel(f["y"], conv.target, place)
    added = None if conv.residual is None else pixel(f["r"], conv.residual, place)
    blocks, width = shape[0], shape[1] or len(sums)
    for at, total in enumerate(sums):
        (q, o), value = divmod(at, blocks), total
        i, j = divmod(q, width)

        def within(layout: Blocked, o: int = o, i: int = i, j: int = j) -> int:
            return o * layout.block + i * layout.row + j * layout.pixel

        if added is not None and conv.residual is not None:
            value = value + f.load(added, f.lane, within(conv.residual))
        stored = FUNCTIONS[conv.activation](f, value)
        f.store(stored, y, within(conv.target))
