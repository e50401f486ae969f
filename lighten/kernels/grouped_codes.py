"""Convolution of codes in groups: each register block of filters reads the channels that it needs.

    reference, one sample, c over the channels of the group of filter k:
        for k, i, j:
            sum = b[k] + Σ_c Σ_r Σ_s w[k, c, r, s] · x[c, i · stride + r, j · stride + s]
            y[k, i, j] = as `requantize` ends it

The register block is that of `direct_codes`; it begins at the block of channels in which its first
filter's group lies, and runs through as many as the longest run needs. With 24 channels and filters
a group, and registers of 16:

    channels          0 … 15   16 … 31   32 … 47
    filters  0 … 15  [ w     |  w 0    |         ]    from block 0
            16 … 31  [ w / 0 |  w / w  | 0 / w   ]    from block 0
            32 … 47  [       |  0 w    | w       ]    from block 1

Weights are zeros for what a filter does not read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lighten.emit import Function, Index, Isa
from lighten.kernels import direct, direct_codes, framed, requantize
from lighten.kernels.direct import Schedule
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]


def accepts(conv: Conv, isa: Isa) -> bool:
    """Any groups of codes whose results are blocked by the registers' lanes."""
    lanes = conv.source.lanes == conv.target.lanes == isa.lanes
    return conv.source.size == 1 and conv.groups > 1 and lanes


def begins(conv: Conv, schedule: Schedule) -> list[int]:
    """The block of channels from which each register block of filters reads."""
    return [_begin(conv, schedule, g) for g in range(conv.target.blocks // schedule.blocks)]


def _begin(conv: Conv, schedule: Schedule, g: int) -> int:
    """The block in which the group of its first filter begins."""
    reads, made = conv.source.channels // conv.groups, conv.target.channels // conv.groups
    return g * schedule.blocks * conv.target.lanes // made * reads // conv.source.lanes


def span(conv: Conv, schedule: Schedule) -> int:
    """The channels that every register block of filters reads."""
    reads, made = conv.source.channels // conv.groups, conv.target.channels // conv.groups
    width, longest = schedule.blocks * conv.target.lanes, 0
    for g, begin in enumerate(begins(conv, schedule)):
        last = min((g + 1) * width, conv.target.channels) - 1
        longest = max(longest, (last // made + 1) * reads - begin * conv.source.lanes)
    return longest


def whole(conv: Conv, schedule: Schedule) -> Conv:
    """The convolution of one register block of filters, without groups."""
    return replace(conv, source=replace(conv.source, channels=span(conv, schedule)), groups=1)


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit."""
    return direct_codes.schedules(replace(conv, groups=1), isa)


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    return direct_codes.cycles(whole(conv, schedule), schedule, isa)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels of a group, rows, columns]` as `direct_codes` packs what each register
    block of filters reads.
    """
    filters, reads, *taps = weight.shape
    width, made = schedule.blocks * conv.target.lanes, conv.target.channels // conv.groups
    held = np.zeros((filters, span(conv, schedule), *taps), np.int8)
    for k in range(filters):
        first = k // made * reads - _begin(conv, schedule, k // width) * conv.source.lanes
        held[k, first : first + reads] = weight[k]
    return direct_codes.pack(held, whole(conv, schedule), schedule)


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, …)`, as in `direct_codes`."""
    reads, made = conv.source.channels // conv.groups, conv.target.channels // conv.groups
    width = schedule.blocks * conv.target.lanes

    def begin(g: Index) -> Index:
        return g * width // made * reads // conv.source.lanes

    channels = -(-span(conv, schedule) // 4)
    how = direct.Arithmetic(direct_codes.multiply, requantize.finish, begin, channels)
    return direct.emit(name, direct_codes.in_words(replace(conv, groups=1)), schedule, isa, how)
