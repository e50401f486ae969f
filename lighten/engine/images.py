"""Values of a Program seen as images: channels, rows, columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lighten.kernels.layout import Blocked


def image(shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Channels, height and width of a value of one to three dimensions; of two it is a row."""
    match tuple(shape):
        case (channels, height, width):
            return channels, height, width
        case (channels, width):
            return channels, 1, width
        case (channels,):
            return channels, 1, 1
    return None


def plain(shape: Sequence[int]) -> Blocked:
    """Row-major: planar, where it is an image; a row of numbers where it has more dimensions."""
    return Blocked(*(image(shape) or (1, 1, math.prod(shape))), 1)
