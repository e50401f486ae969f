"""How a Winograd convolution is cut into steps and register blocks, and what each way costs."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from lighten.algebra.straight_line import StraightLine, schedule
from lighten.algebra.winograd import Winograd, winograd
from lighten.emit import Isa
from lighten.kernels import costs
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv

# taps → m; F(6, 5) errs by 1e-4, too much for float32
OUTPUTS = {3: (2, 3, 4, 5, 6), 5: (2, 3, 4)}
FILTERS = (6, 5, 4, 3, 2, 1)
CACHE = 1 << 19  # bytes that V and M of one step may take
NEAREST, FEW = 40 << 10, 8  # the same of the nearest cache, and tiles that are worth a step
ENOUGH = 32  # tiles in half of the rows that fill the register blocks as well as all do
MANY = 32  # tiles for which large weights are read once
OFFERED = 16  # schedules of one convolution, to be timed
AGAIN, BESIDE = 32, 0.3  # bytes a cycle from the second cache; the share of reading not hidden

Size = tuple[int, int]  # down and along


@dataclass(frozen=True)
class Schedule:
    """Results of a tile, down and along; registers of filters by tiles in a block; rows of tiles in
    one step, which may be those of several whole `samples`.
    """

    outputs: Size
    blocks: int
    columns: int
    rows: int
    samples: int = 1


@functools.cache
def algorithm(outputs: int, taps: int) -> tuple[Winograd, StraightLine, StraightLine]:
    """The transforms, and how those of the input and the output are computed."""
    made = winograd(outputs, taps)
    return made, schedule(made.input_transform), schedule(made.output_transform)


def grid(conv: Conv, outputs: Size) -> Size:
    """Pixels that a tile reads, n down and n along: so many are its products."""
    down, along = (m + taps - 1 for m, taps in zip(outputs, conv.window.kernel, strict=True))
    return down, along


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
            math.prod(grid(conv, schedule.outputs)),
            count,
            (source.blocks * count | 1) * source.pixel,
            (target.blocks * count | 1) * target.pixel,
            source.blocks * source.lanes * target.blocks * target.pixel,
        )


def tiles(conv: Conv, outputs: Size) -> Size:
    """Rows and columns of tiles."""
    (down, along), target = outputs, conv.target
    return math.ceil(target.height / down), math.ceil(target.width / along)


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the tiles read around the image."""
    (down, along), (top, left, *_) = tiles(conv, schedule.outputs), conv.window.pads
    (tall, wide), (rows, columns) = schedule.outputs, conv.window.kernel
    bottom = down * tall + rows - 1 - top - conv.source.height
    right = along * wide + columns - 1 - left - conv.source.width
    return Halo(top, max(bottom, 0), left, max(right, 0))


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Those predicted to be the fastest, the first of them first."""
    found = [way for outputs in _sizes(conv) for way in _cut(conv, outputs, isa)]
    return sorted(found, key=lambda way: cycles(conv, way, isa))[:OFFERED]


def _sizes(conv: Conv) -> Iterator[Size]:
    """All sizes of tiles, but of two that come to the same on a square image only the wide one."""
    (rows, columns), target = conv.window.kernel, conv.target
    for down, along in itertools.product(OUTPUTS[rows], OUTPUTS[columns]):
        alike = rows == columns and target.height == target.width
        if not alike or down <= along:
            yield down, along


def _cut(conv: Conv, outputs: Size, isa: Isa) -> Iterator[Schedule]:
    """As many rows in a step as the cache holds, or the nearest cache; all, so that large weights
    are read once; half of them where that is enough, so that two threads take a step each; those of
    several samples.
    """
    down, along = tiles(conv, outputs)
    row = math.prod(grid(conv, outputs)) * along * conv.target.pixel
    row *= conv.source.blocks + conv.target.blocks
    even = [d for d in range(1, down + 1) if down % d == 0]
    half = down // 2 if down % 2 == 0 and down // 2 * along >= ENOUGH else down
    near = [d for d in even if d * row <= NEAREST and d * along >= FEW]
    fitting = max((d for d in even if d * row <= CACHE), default=1)
    for rows in sorted({fitting, half, down, *near[-1:]}):
        for block in _blocks(conv, rows * along, isa):
            yield Schedule(outputs, *block, rows)
    if conv.batch > 1 and down * along <= MANY:
        samples = math.ceil(MANY / (down * along))
        for block in _blocks(conv, samples * down * along, isa):
            yield Schedule(outputs, *block, down, samples)


def _blocks(conv: Conv, count: int, isa: Isa) -> list[Size]:
    """Registers of filters by tiles for so many tiles: the block that feeds most multiply-adds per
    load, and one that passes over the filters less often.
    """
    found = []
    for blocks in FILTERS:
        if conv.target.blocks % blocks == 0:
            most = (isa.registers - blocks - 1) // blocks
            found.append((blocks, math.ceil(count / math.ceil(count / most))))
    least = min(found, key=lambda block: sum(block) / math.prod(block))
    fewer = [block for block in found if math.ceil(count / block[1]) < math.ceil(count / least[1])]
    return [least, *fewer[:1]]


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of V and M."""
    sizes = Sizes.of(conv, schedule)
    return sizes.products * (sizes.read + sizes.made)


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the transforms, and reading U, which takes
    no time of its own as far as it is done while multiplying.
    """
    sizes, (tall, wide) = Sizes.of(conv, schedule), grid(conv, schedule.outputs)
    (_, before, after), (_, across, back) = (
        algorithm(m, taps) for m, taps in zip(schedule.outputs, conv.window.kernel, strict=True)
    )
    down, along = tiles(conv, schedule.outputs)
    macs = sizes.products * down * along * conv.source.channels * conv.target.channels
    moved = 2 * sizes.products  # loads and stores of one tile
    read = len(before.steps) * wide + len(across.steps) * tall + moved
    written = len(after.steps) * wide + len(back.steps) * schedule.outputs[0] + moved
    changed = read * conv.source.blocks + written * conv.target.blocks
    steps = down / schedule.rows / schedule.samples
    passes = math.ceil(sizes.tiles / schedule.columns) - 1  # that find U in the cache
    weights = sizes.products * sizes.weights
    far = steps * (costs.far(weights) + passes * weights / AGAIN)
    far += 2 * costs.far(workspace(conv, schedule) / schedule.samples)
    near = costs.products(macs, conv, (schedule.blocks, schedule.columns), isa)
    hidden = max(near, far) + BESIDE * min(near, far)
    return hidden + down * along * changed * costs.TRANSFORM
