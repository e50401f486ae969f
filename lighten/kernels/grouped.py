"""Convolution in groups: each register of filters reads the channels of the groups it spans.

    reference, one sample, c over the channels of the group of filter k:
        for k, i, j:
            y[k, i, j] = b[k] + Σ_c Σ_r Σ_s w[k, c, r, s] · x[c, i · stride + r, j · stride + s]

The register block is that of `direct`; what differs is which channels it runs through. With 24
channels and filters a group and registers of 16:

    channels          0 … 23   24 … 47
    filters  0 … 15  [ w     |         ]    a span of 24 channels
            16 … 31  [ w / 0 | 0 / w   ]    48: the register lies in two groups
            32 … 47  [       |   w     ]    24

Weights are zeros for what a filter does not read, and have room for the longest span. Any number of
groups will do; where a group is much smaller than a register, `permuted` wastes less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, depthwise, direct, framed, share
from lighten.kernels.block import even
from lighten.kernels.direct import FILTERS
from lighten.kernels.finish import finish, window
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schedule:
    """The register block: `blocks` registers of filters by `columns` pixels."""

    blocks: int
    columns: int


@dataclass(frozen=True)
class Span:
    """What register blocks of `filters` read: at most so many `channels`, `unit` of which always
    lie in one block of the source; `total` is the sum of all spans.
    """

    filters: int
    channels: int
    unit: int
    total: int

    @classmethod
    def of(cls, conv: Conv, schedule: Schedule) -> Span:
        """The spans of all register blocks."""
        reads, made = _per_group(conv)
        size = schedule.blocks * conv.target.lanes
        starts = range(0, conv.target.channels, size)
        ends = (min(k + size, conv.target.channels) - 1 for k in starts)
        found = [(end // made - k // made + 1) * reads for k, end in zip(starts, ends, strict=True)]
        return cls(size, max(found), math.gcd(reads, conv.source.lanes), sum(found))


def accepts(conv: Conv, isa: Isa) -> bool:
    """Any number of groups beyond one whose results are blocked by the registers' lanes."""
    blocked = conv.target.lanes == isa.lanes
    return conv.groups > 1 and blocked and not depthwise.accepts(conv, isa)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit; several registers only where one group fills them."""
    found = []
    for blocks in FILTERS:
        whole = _per_group(conv)[1] % (blocks * isa.lanes) == 0
        if conv.target.blocks % blocks == 0 and (blocks == 1 or whole):
            most = (isa.registers - blocks - 1) // blocks
            found.append(Schedule(blocks, even(conv.target.width, most)))
    return found


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products by zero count like the others."""
    span = Span.of(conv, schedule)
    once = math.prod(conv.window.kernel) * span.filters * span.total
    macs = once * conv.target.height * conv.target.width
    macs = macs * conv.target.channels // (conv.target.blocks * conv.target.lanes)
    block = (schedule.blocks, schedule.columns)
    return costs.products(macs, conv, block, isa) + costs.far(4 * once)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels of a group, rows, columns]` as
    `[register block, unit, row, column, channel, filter]`.
    """
    span, (reads, made) = Span.of(conv, schedule), _per_group(conv)
    filters, _, rows, columns = weight.shape
    groups = conv.target.blocks // schedule.blocks
    wide = np.zeros((groups, span.channels, rows, columns, span.filters), np.float32)
    for k in range(filters):
        group, lane = divmod(k, span.filters)
        first = (k // made - group * span.filters // made) * reads
        wide[group, first : first + reads, :, :, lane] = weight[k]
    split = wide.reshape(groups, -1, span.unit, rows, columns, span.filters)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 4, 2, 5))


def _per_group(conv: Conv) -> tuple[int, int]:
    """Channels and filters of one group."""
    return conv.source.channels // conv.groups, conv.target.channels // conv.groups


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, n)`, as in `direct`."""
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    target, span, (reads, made) = conv.target, Span.of(conv, schedule), _per_group(conv)
    rows, columns = conv.window.kernel
    weights = 4 * span.channels * rows * columns * span.filters
    width = even(target.width, schedule.columns)
    full, rest = divmod(target.width, width)

    def line(n: Value, g: Value, i: Value) -> None:
        begin = (g * span.filters) // made
        last = f.least(g * span.filters + (span.filters - 1), target.channels - 1) // made
        read = begin * reads, (last - begin + 1) * reads
        w, b = f["w"] + g * weights, f["b"] + g * (4 * span.filters)

        def tile(j: Index, width: int) -> None:
            start = window(conv, f["x"], (n, 0, i, j))
            block = (schedule.blocks, width)
            sums = _sums(f, conv, (start, w, b), (*read, span), block)
            finish(f, conv, sums, (n, g * schedule.blocks, i, j), (schedule.blocks, 0))

        f.loop(0, full, lambda t, _: tile(t * width, width))
        if rest:
            tile(full * width, rest)

    share.each(f, (f["n"], target.blocks // schedule.blocks, target.height), line)
    return f


def _sums(
    f: Function,
    conv: Conv,
    places: tuple[Value, Value, Value],
    read: tuple[Index, Index, Span],
    block: tuple[int, int],
) -> Tile:
    """The register block: bias, then every channel and tap added; `read` is the first channel, how
    many, and the span.
    """
    (x, w, b), (first, channels, span), (blocks, width) = places, read, block
    source, lane = conv.source, f.lane
    rows, columns = conv.window.kernel
    row_step = conv.window.dilations[0] * source.row
    column_step = conv.window.dilations[1] * source.pixel
    filters, stride = 4 * span.filters, conv.window.strides[1] * source.pixel
    tap = span.unit * filters

    def unit(t: Value, sums: Tile) -> Tile:
        channel = first + t * span.unit
        at = channel // source.lanes
        seen = x + at * source.block + (channel - at * source.lanes) * 4
        held = w + t * (rows * columns * tap)

        def row(r: Value, sums: Tile) -> Tile:
            def column(s: Value, sums: Tile) -> Tile:
                pixels = seen + r * row_step + s * column_step
                weights = held + (r * columns + s) * tap
                for c in range(span.unit):
                    loaded = [
                        f.load(weights, lane, c * filters + o * lane.bytes) for o in range(blocks)
                    ]
                    for q in range(width):
                        pixel = f.load_spread(pixels, lane, q * stride + 4 * c)
                        for o in range(blocks):
                            to = q * blocks + o
                            sums[to] = f.fma(pixel, loaded[o], sums[to])
                return sums

            return f.loop(0, columns, column, sums)

        return f.loop(0, rows, row, sums)

    start = [f.load(b, lane, o * lane.bytes) for o in range(blocks)]
    sums = [start[o] for _ in range(width) for o in range(blocks)]
    return f.loop(0, channels // span.unit, unit, sums)


def reference(conv: Conv, x: Array, weight: Array, bias: Sequence[float]) -> Array:
    """The same, group by group, by `direct.reference`."""
    reads, made = _per_group(conv)
    parts = []
    for first, k in zip(
        range(0, conv.source.channels, reads), range(0, len(weight), made), strict=False
    ):
        seen = x[:, first : first + reads]
        parts.append(direct.reference(conv, seen, weight[k : k + made], bias[k : k + made]))
    return np.concatenate(parts, axis=1)
