"""How a Winograd convolution is cut into steps and register blocks, and what each way costs."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from lighten.algebra.straight_line import StraightLine, schedule
from lighten.algebra.winograd import Winograd, winograd
from lighten.emit import Isa
from lighten.kernels import costs
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv

OUTPUTS = {3: (2, 4, 6), 5: (2, 4)}  # taps → m; F(6, 5) errs by 1e-4, too much for float32
FILTERS = (6, 5, 4, 3, 2, 1)
CACHE = 1 << 19  # bytes that V and M of one step may take
ENOUGH = 32  # tiles in half of the rows that fill the register blocks as well as all do
MANY = 32  # tiles for which large weights are read once


@dataclass(frozen=True)
class Schedule:
    """F(outputs, r); registers of filters by tiles in a block; rows of tiles in one step, which may
    be those of several whole `samples`.
    """

    outputs: int
    blocks: int
    columns: int
    rows: int
    samples: int = 1


@functools.cache
def algorithm(outputs: int, taps: int) -> tuple[Winograd, StraightLine, StraightLine]:
    """The transforms, and how those of the input and the output are computed."""
    made = winograd(outputs, taps)
    return made, schedule(made.input_transform), schedule(made.output_transform)


@dataclass(frozen=True)
class Sizes:
    """Bytes: of one product's part of V (`read`), of M (`made`), of U (`weights`).

    V and M have an odd number of registers per product: a power of two would put all products of
    one tile into the same few sets of the cache.
    """

    products: int
    tiles: int
    read: int
    made: int
    weights: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> Sizes:
        count = schedule.rows * tiles(conv, schedule.outputs)[1]
        if schedule.samples > 1:  # in whole blocks: what is beyond is multiplied, but never read
            count = math.ceil(schedule.samples * count / schedule.columns) * schedule.columns
        source, target = conv.source, conv.target
        return cls(
            (schedule.outputs + conv.window.kernel[0] - 1) ** 2,
            count,
            (source.blocks * count | 1) * source.pixel,
            (target.blocks * count | 1) * target.pixel,
            source.blocks * source.lanes * target.blocks * target.pixel,
        )


def tiles(conv: Conv, outputs: int) -> tuple[int, int]:
    """Rows and columns of tiles."""
    return math.ceil(conv.target.height / outputs), math.ceil(conv.target.width / outputs)


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the tiles read around the image."""
    outputs = schedule.outputs
    (down, along), (top, left, *_) = tiles(conv, outputs), conv.window.pads
    more = conv.window.kernel[0] - 1
    bottom = down * outputs + more - top - conv.source.height
    right = along * outputs + more - left - conv.source.width
    return Halo(top, max(bottom, 0), left, max(right, 0))


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """For each m the register block that feeds most multiply-adds per load; with as many rows in a
    step as the cache holds; with all, so that large weights are read once; and with half of them
    where that is enough, so that two threads take a step each.
    """
    found = []
    for outputs in OUTPUTS[conv.window.kernel[0]]:
        down, along = tiles(conv, outputs)
        products = (outputs + conv.window.kernel[0] - 1) ** 2
        row = products * along * (conv.source.blocks + conv.target.blocks) * conv.target.pixel
        fitting = [d for d in range(1, down + 1) if down % d == 0 and d * row <= CACHE]
        half = down // 2 if down % 2 == 0 and down // 2 * along >= ENOUGH else down
        for rows in sorted({max(fitting, default=1), half, down}):
            best = min(_blocks(conv, rows * along, isa), key=_loads)
            found.append(Schedule(outputs, *best, rows))
        if conv.batch > 1 and down * along <= MANY:
            samples = math.ceil(MANY / (down * along))
            best = min(_blocks(conv, samples * down * along, isa), key=_loads)
            found.append(Schedule(outputs, *best, down, samples))
    return found


def _blocks(conv: Conv, count: int, isa: Isa) -> list[tuple[int, int]]:
    """Registers of filters by tiles that fit, for so many tiles."""
    found = []
    for blocks in FILTERS:
        if conv.target.blocks % blocks == 0:
            most = (isa.registers - blocks - 1) // blocks
            found.append((blocks, math.ceil(count / math.ceil(count / most))))
    return found


def _loads(block: tuple[int, int]) -> float:
    """Loads per multiply-add."""
    return sum(block) / (block[0] * block[1])


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of V and M."""
    sizes = Sizes.of(conv, schedule)
    return sizes.products * (sizes.read + sizes.made)


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the transforms, and reading U."""
    sizes, (made, before, after) = (
        Sizes.of(conv, schedule),
        algorithm(schedule.outputs, conv.window.kernel[0]),
    )
    count = math.prod(tiles(conv, schedule.outputs))
    macs = sizes.products * count * conv.source.channels * conv.target.channels
    moved = 2 * made.size**2  # loads and stores of one tile
    changed = (len(before.steps) * 2 * made.size + moved) * conv.source.blocks
    written = len(after.steps) * (made.size + schedule.outputs) + moved
    transforms = count * (changed + written * conv.target.blocks) * costs.TRANSFORM
    block, steps = (schedule.blocks, schedule.columns), tiles(conv, schedule.outputs)[0]
    weights = sizes.products * sizes.weights
    read = costs.far(weights) * steps / schedule.rows / schedule.samples
    read += 2 * costs.far(workspace(conv, schedule) / schedule.samples)
    return costs.products(macs, conv, block, isa) + transforms + read
