"""Depthwise convolution: every channel has one filter, so registers of channels never meet.

    reference, one sample:
        for c, i, j:
            y[c, i, j] = b[c] + Σ_r Σ_s w[c, r, s] · x[c, i · stride + r, j · stride + s]

The register block is `columns` neighbouring pixels of one block of channels. A pixel of x is loaded
once for all the sums that it enters along its row:

    x[j] x[j+1] x[j+2] x[j+3] …
      \\___|____/  |            sum j   += w[0]·x[j]   + w[1]·x[j+1] + w[2]·x[j+2]
           \\______|____/       sum j+1 += w[0]·x[j+1] + w[1]·x[j+2] + w[2]·x[j+3]

Of a row of weights too wide for the registers one tap is taken after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import framed, share
from lighten.kernels.finish import finish, window
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
WIDE = 9  # a row of more taps does not stay in registers


@dataclass(frozen=True)
class Schedule:
    """The register block: `columns` pixels."""

    columns: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """One filter per channel, both sides blocked by the registers' lanes."""
    alone = conv.groups == conv.source.channels == conv.target.channels
    return alone and conv.source.lanes == conv.target.lanes == isa.lanes


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """The register block that fits beside a row of weights and a pixel, or beside one tap."""
    taps = conv.window.kernel[1]
    most = min(14, isa.registers - (taps if taps <= WIDE else 1) - 2)
    tiles = math.ceil(conv.target.width / most)
    return [Schedule(math.ceil(conv.target.width / tiles))]


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    return conv.macs / isa.lanes


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[channels, 1, rows, columns]` as `[block, row, column, lane]`."""
    channels, _, rows, columns = weight.shape
    wide = np.zeros((conv.source.blocks * conv.source.lanes, rows, columns), np.float32)
    wide[:channels] = weight[:, 0]
    split = wide.reshape(conv.source.blocks, conv.source.lanes, rows, columns)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 1))


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, as in `direct`."""
    f = Function(name, {**dict.fromkeys("xwbry", POINTER), **share.COUNT}, isa)
    source, target = conv.source, conv.target
    taps = conv.window.kernel[0] * conv.window.kernel[1] * source.pixel
    tiles = math.ceil(target.width / schedule.columns)

    def line(n: Value, c: Index, i: Index, run: tuple[Index, Index]) -> None:
        weights, bias = f["w"] + c * taps, f["b"] + c * target.pixel

        def tile(j: Index, width: int) -> None:
            start = f.settled(window(conv, f["x"], (n, c, i, j)))
            sums = _sums(f, conv, (start, weights, bias), width)
            finish(f, conv, sums, (n, c, i, j))

        share.along(f, run, target.width, schedule.columns, tile)

    share.rows(f, (f["n"], target.blocks), (target.height, tiles), line)
    return f


def _sums(f: Function, conv: Conv, places: tuple[Value, Value, Value], width: int) -> Tile:
    x, w, b = places
    source, lane, sliding = conv.source, f.lane, conv.window
    rows, columns = sliding.kernel

    def tap(x_row: Value, w_row: Value, s: Value, sums: Tile) -> Tile:
        weight = f.load(w_row + s * source.pixel, lane)
        seen, apart = x_row + s * (sliding.dilations[1] * source.pixel), sliding.strides[1]
        pixels = [f.load(seen, lane, q * apart * source.pixel) for q in range(width)]
        return [f.fma(pixel, weight, total) for pixel, total in zip(pixels, sums, strict=True)]

    def row(r: Value, sums: Tile) -> Tile:
        x_row = x + r * (sliding.dilations[0] * source.row)
        w_row = w + r * (columns * source.pixel)
        if columns > WIDE:
            return f.loop(0, columns, lambda s, sums: tap(x_row, w_row, s, sums), sums)
        taps = [f.load(w_row, lane, s * source.pixel) for s in range(columns)]
        pixels: dict[int, Value] = {}
        for q in range(width):
            for s in range(columns):
                at = q * sliding.strides[1] + s * sliding.dilations[1]
                if at not in pixels:
                    pixels[at] = f.load(x_row, lane, at * source.pixel)
                sums[q] = f.fma(pixels[at], taps[s], sums[q])
        return sums

    return f.loop(0, rows, row, [f.load(b, lane)] * width)
