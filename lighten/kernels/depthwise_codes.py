"""Depthwise convolution of codes: four neighbouring taps of a channel in one dot product (B1, B8).

    reference, one sample:
        for c, i, j:
            sum = b[c] + Σ_r Σ_s w[c, r, s] · x[c, i · stride + r, j · stride + s]
            y[c, i, j] = as `requantize` ends it

Four neighbouring pixels of a block of channels are one register of bytes. Turned, each word holds
the four pixels of one channel, and a dot product with four taps is a part of its sum:

    x[j]    c0 c1 c2 …                c0: x[j] x[j+1] x[j+2] x[j+3]
    x[j+1]  c0 c1 c2 …       →        c1: x[j] x[j+1] x[j+2] x[j+3]
    …

Where the taps leave bytes free, the same words serve the next sums too, whose weights are shifted:

    sum j    w0 w1 w2 0
    sum j+1  0 w0 w1 w2

The register block is `columns` neighbouring pixels of one block of channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I8, I32, POINTER, Function, Index, Isa, Tile, Value, integers, vector
from lighten.kernels import framed, requantize, share
from lighten.kernels.finish import window
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
FOUR = 4  # taps in a word
READ = 2.5  # cycles to load and turn a register


@dataclass(frozen=True)
class Schedule:
    """The register block: `columns` pixels."""

    columns: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """One filter per channel of codes, taps side by side."""
    alone = 1 < conv.groups == conv.source.channels == conv.target.channels
    lanes = conv.source.lanes == conv.target.lanes == isa.lanes
    return alone and lanes and conv.source.size == 1 and conv.window.dilations[1] == 1


def words(conv: Conv) -> int:
    """Words that a row of taps fills."""
    return math.ceil(conv.window.kernel[1] / FOUR)


def shifts(conv: Conv) -> int:
    """Neighbouring sums, counted in pixels, that the same words serve."""
    return words(conv) * FOUR - conv.window.kernel[1] + 1


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """The register blocks that fit beside a row of weights and what is being turned."""
    free = 0 if integers.has_dot(isa) else 3
    most = max(2, isa.registers - words(conv) * shifts(conv) - 5 - free)
    tiles = math.ceil(conv.target.width / most)
    widths = {math.ceil(conv.target.width / tiles), math.ceil(conv.target.width / (tiles + 1))}
    return [Schedule(width) for width in sorted(widths, reverse=True)]


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What is read around the image: whole words, the last of which may reach beyond the taps."""
    read = framed.halo(conv, schedule)
    return Halo(read.top, read.bottom, read.left, read.right + shifts(conv) - 1)


workspace = framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    sums = conv.target.channels * conv.target.height * conv.target.width / isa.lanes
    loads = conv.window.strides[1] / shifts(conv)
    row = words(conv) * (0.5 + READ * min(1.0, loads))
    return sums * conv.window.kernel[0] * (row if integers.has_dot(isa) else 4 * row)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[channels, 1, rows, columns]` as `[block, row, shift, word, lane, tap]`."""
    channels, _, rows, columns = weight.shape
    lanes, count = conv.source.lanes, shifts(conv)
    held = np.zeros((conv.source.blocks * lanes, rows, count, words(conv) * FOUR), np.int8)
    for shift in range(count):
        held[:channels, :, shift, shift : shift + columns] = weight[:, 0]
    split = held.reshape(conv.source.blocks, lanes, rows, count, words(conv), FOUR)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1, 5))


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, as in `direct_codes`."""
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    target = conv.target
    taps = conv.window.kernel[0] * shifts(conv) * words(conv) * f.lane.bytes
    tiles = math.ceil(target.width / schedule.columns)

    def line(n: Value, c: Index, i: Index, run: tuple[Index, Index]) -> None:
        weights, bias = f["w"] + c * taps, f["b"] + c * f.lane.bytes

        def tile(j: Index, width: int) -> None:
            start = f.settled(window(conv, f["x"], (n, c, i, j)))
            sums = _sums(f, conv, (start, weights, bias), width)
            requantize.finish(f, conv, sums, (n, c, i, j), (1, width))

        share.along(f, run, target.width, schedule.columns, tile)

    share.rows(f, (f["n"], target.blocks), (target.height, tiles), line)
    return f


def _sums(f: Function, conv: Conv, places: tuple[Value, Value, Value], width: int) -> Tile:
    (x, w, b), kind = places, vector(I32, f.isa.lanes)
    rows, along = conv.window.kernel[0], conv.window.strides[1]
    count, several = words(conv), shifts(conv)
    pixels = [divmod(q * along, several) for q in range(width)]

    def row(r: Value, sums: Tile) -> Tile:
        x_row = x + r * (conv.window.dilations[0] * conv.source.row)
        w_row = w + r * (several * count * f.lane.bytes)
        used = sorted({shift for _, shift in pixels})
        taps = {
            (shift, t): f.load(w_row, kind, (shift * count + t) * f.lane.bytes)
            for shift in used
            for t in range(count)
        }
        read: dict[int, Value] = {}
        for q, (base, shift) in enumerate(pixels):
            for t in range(count):
                at = base * several + FOUR * t
                if at not in read:
                    read[at] = _turned(f, x_row + at * conv.source.pixel)
                sums[q] = integers.dot(f, sums[q], read[at], taps[shift, t])
        return sums

    return f.loop(0, rows, row, [f.load(b, kind)] * width)


def _turned(f: Function, x: Value) -> Value:
    """Four pixels of a block of channels as words of one channel each: words of neighbouring
    channels are brought together, then their bytes turned.
    """
    lanes = f.isa.lanes
    groups = lanes // FOUR
    near = [k * groups + m for m in range(groups) for k in range(FOUR)]
    held = f.permute(f.load(x, vector(I32, lanes)), near)
    bytes_ = [
        lane * FOUR * FOUR + k * FOUR + i
        for lane in range(groups)
        for i in range(FOUR)
        for k in range(FOUR)
    ]
    turned = f.permute(integers.cast(f, held, vector(I8, FOUR * lanes)), bytes_)
    return integers.cast(f, turned, vector(I32, lanes))
