"""Convolution in groups smaller than a register: the pixel's lanes are permuted, not spread.

    reference: `grouped.reference`

A register of filters lies over the channels of its own groups, all in one register of the source.
For channel c of every group at once, each lane fetches what its filter reads; with 2 channels and 2
filters a group:

    pixel x        x0 x1 | x2 x3 | x4 x5 | …        lanes
    for c = 0      x0 x0 | x2 x2 | x4 x4 | …        · w[k, 0]
    for c = 1      x1 x1 | x3 x3 | x5 x5 | …        · w[k, 1]    one permutation feeds all the sums
                                                                 that the pixel enters along its row

The register block is `columns` neighbouring pixels, as in `depthwise`, which is the case of one
channel and one filter. Channels that are not there only meet filters that are not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import depthwise, framed, share
from lighten.kernels.finish import finish, window
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schedule:
    """The register block: `columns` pixels."""

    columns: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """Groups of at most half a register, with once or several times as many filters as channels."""
    if conv.groups == 1 or not conv.source.lanes == conv.target.lanes == isa.lanes:
        return False
    reads, made = _per_group(conv)
    fits = isa.lanes % made == 0 and made % reads == 0 and 2 * reads <= isa.lanes
    return fits and not depthwise.accepts(conv, isa)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit beside a row of weights and a pixel, the likely best first."""
    most = max(min(16, isa.registers - conv.window.kernel[1] - 3), 1)
    tiles = math.ceil(conv.target.width / most)
    return [Schedule(math.ceil(conv.target.width / tiles))]


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: multiply-adds, or one permutation a cycle."""
    taps = conv.window.kernel[1]
    moved = schedule.columns * conv.window.strides[1] + taps - 1
    products = schedule.columns * taps
    return conv.macs / isa.lanes * max(0.5, moved / products)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels of a group, rows, columns]` as `[block, row, channel, column, lane]`."""
    filters, channels, rows, columns = weight.shape
    lanes = conv.target.lanes
    wide = np.zeros((conv.target.blocks * lanes, channels, rows, columns), np.float32)
    wide[:filters] = weight
    split = wide.reshape(conv.target.blocks, lanes, channels, rows, columns)
    return np.ascontiguousarray(split.transpose(0, 3, 2, 4, 1))


def _per_group(conv: Conv) -> tuple[int, int]:
    return conv.source.channels // conv.groups, conv.target.channels // conv.groups


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, n)`, as in `direct`."""
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    target, (reads, made) = conv.target, _per_group(conv)
    parts = made // reads  # registers of filters over one register of channels
    for part in range(min(parts, target.blocks)):
        _part(f, conv, schedule, part)
    return f


def _part(f: Function, conv: Conv, schedule: Schedule, part: int) -> None:
    """Every register of filters that lies over this part of a register of channels."""
    target, (reads, made) = conv.target, _per_group(conv)
    parts = made // reads
    weights = reads * math.prod(conv.window.kernel) * target.pixel
    full, rest = divmod(target.width, schedule.columns)

    def line(n: Value, c: Value, i: Value) -> None:
        o = c * parts + part
        w, b = f["w"] + o * weights, f["b"] + o * target.pixel

        def tile(j: Index, width: int) -> None:
            start = window(conv, f["x"], (n, c, i, j))
            sums = _sums(f, conv, (start, w, b), part, width)
            finish(f, conv, sums, (n, o, i, j))

        f.loop(0, full, lambda t, _: tile(t * schedule.columns, schedule.columns))
        if rest:
            tile(full * schedule.columns, rest)

    count = math.ceil((target.blocks - part) / parts)
    share.each(f, (f["n"], count, target.height), line)


def _sums(
    f: Function, conv: Conv, places: tuple[Value, Value, Value], part: int, width: int
) -> Tile:
    x, w, b = places
    source, lane, (reads, made) = conv.source, f.lane, _per_group(conv)
    rows, columns = conv.window.kernel
    lanes = source.lanes
    first = part * (lanes * reads // made)

    def row(r: Value, sums: Tile) -> Tile:
        x_row = x + r * (conv.window.dilations[0] * source.row)
        w_row = w + r * (reads * columns * source.pixel)
        for c in range(reads):
            wanted = [first + k // made * reads + c for k in range(lanes)]
            taps = [f.load(w_row, lane, (c * columns + s) * source.pixel) for s in range(columns)]
            pixels: dict[int, Value] = {}
            for q in range(width):
                for s in range(columns):
                    at = q * conv.window.strides[1] + s * conv.window.dilations[1]
                    if at not in pixels:
                        pixels[at] = f.permute(f.load(x_row, lane, at * source.pixel), wanted)
                    sums[q] = f.fma(pixels[at], taps[s], sums[q])
        return sums

    return f.loop(0, rows, row, [f.load(b, lane)] * width)
