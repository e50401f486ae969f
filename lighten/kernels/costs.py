"""How long a register block takes, roughly: what the planner goes by where nothing was measured.

Cycles of a core that issues two multiply-adds and two loads of a register at a time, each
multiply-add being ready after four: fewer than eight independent sums leave it waiting.
"""

from __future__ import annotations

from lighten.emit import Isa
from lighten.kernels.shapes import Conv

PORTS, WAIT = 2, 8
TRANSFORM = 0.6  # cycles per operation of a transform: some spill, many load and store
# weights of more bytes come from a further cache, then from memory, in so many bytes a cycle
NEAR, CACHE_SPEED = 3 << 18, 16
FEW = 1 << 16  # bytes of weights that may still be near from the last time
MIDDLE, MEMORY_SPEED = 16 << 20, 8


def far(weights: float) -> float:
    """Cycles to read so many bytes, where they do not stay near."""
    if weights <= NEAR:
        return 0.0
    return weights / (CACHE_SPEED if weights <= MIDDLE else MEMORY_SPEED)


def products(macs: float, conv: Conv, block: tuple[int, int], isa: Isa) -> float:
    """Cycles for so many multiply-accumulates in blocks of (registers of filters, pixels)."""
    filters, pixels = block
    sums = filters * pixels
    filled = conv.target.channels / (conv.target.blocks * conv.target.lanes)
    issued = max(sums, filters + pixels, WAIT) / sums / PORTS
    return macs / isa.lanes / filled * issued
