"""What a convolution of signs is made of: its weights and ends as `binary` reads them, and the
register blocks that fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.emit import Isa
from lighten.emit import bits as instructions
from lighten.formats.signs import packed, words
from lighten.kernels import costs, direct, framed
from lighten.kernels.block import even
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
DEEPEST = 8  # words of a pixel that lie side by side
AROUND = 4  # counts on either side of where a result should be zero
SPARE = 3  # registers that hold a pixel and what is counted
ISSUED = 4.0  # instructions a cycle


@dataclass(frozen=True)
class Kind:
    """What a weight is: a sum of so many signs, or one that a mask may leave out."""

    planes: int = 1
    masked: bool = False

    @property
    def words(self) -> int:
        """Words of a filter for each word of a pixel, in each plane."""
        return 1 + self.masked


@dataclass(frozen=True)
class Schedule:
    """The register block: `blocks` registers of sums, all planes of some registers of filters, by
    `columns` pixels of `rows` rows; for a kind of weights.
    """

    blocks: int
    columns: int
    rows: int = 1
    kind: Kind = Kind()

    @property
    def filters(self) -> int:
        """Registers of filters."""
        return self.blocks // self.kind.planes


@dataclass(frozen=True)
class Layer:
    """What is computed: `conv` reads words and makes floats; where `signs` lies an image of words,
    their signs go there instead. Where filters do not fill the last word, these are of sums alone:
    nothing is added or activated.
    """

    conv: Conv
    schedule: Schedule
    signs: Blocked | None = None

    @property
    def compares(self) -> bool:
        """Whether a sign follows from the count of what differs alone."""
        bare = self.conv.residual is None and not self.conv.activation
        return self.signs is not None and bare and self.schedule.kind.planes == 1

    @property
    def bordered(self) -> bool:
        """Whether some windows reach over the border."""
        return any(self.conv.window.pads)


def layout(channels: int, height: int, width: int) -> Blocked:
    """How an image of signs lies: words for channels."""
    count = words(channels)
    lanes = next(n for n in range(min(count, DEEPEST), 0, -1) if count % n == 0)
    return Blocked(count, height, width, lanes)


def schedules(conv: Conv, isa: Isa, kind: Kind, packs: bool = False) -> list[Schedule]:
    """Register blocks that fit; whole bytes of signs where results are packed."""
    conv, found = direct.flat(conv), []
    # where bytes are counted, each sum is a register of bytes and one of words
    each = 1 if instructions.has_counts(isa) else 2
    height, width = conv.target.height, conv.target.width
    for filters in direct.FILTERS:
        blocks = filters * kind.planes
        if conv.target.blocks % filters or (filters > 1 and blocks > max(direct.FILTERS)):
            continue
        if packs and filters * isa.lanes % 8:
            continue
        free = isa.registers - blocks * kind.words - each * SPARE
        most = max(1, free // (each * blocks))
        found.append(Schedule(blocks, even(width, most), 1, kind))
        high = even(height, max(1, most // width))
        if high > 1 and width <= most:
            found.append(Schedule(blocks, width, high, kind))
    return found


halo, workspace = framed.halo, framed.workspace


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    conv, kind = direct.flat(conv), schedule.kind
    steps = math.prod(conv.window.kernel) * conv.source.channels
    tiles = math.ceil(conv.target.width / schedule.columns)
    tiles *= math.ceil(conv.target.height / schedule.rows)
    tiles *= math.ceil(conv.target.blocks / schedule.filters)
    pixels = schedule.columns * schedule.rows
    sums = schedule.blocks * pixels
    counted = 3 if instructions.has_counts(isa) else 3 * ISSUED
    each = (counted + kind.masked) * sums + schedule.blocks * kind.words + pixels
    weights = 4 * steps * conv.target.blocks * isa.lanes * kind.planes * kind.words
    return tiles * (steps * each + 8 * sums) / ISSUED + costs.far(weights)


def flat(layer: Layer) -> Layer:
    """As `direct.flat`, where the packed result has no frame either."""
    conv, signs = direct.flat(layer.conv), layer.signs
    if signs is None or conv == layer.conv:
        return replace(layer, conv=conv)
    if signs != signs.with_halo(Halo()):
        return layer
    return replace(layer, conv=conv, signs=replace(signs, height=1, width=conv.target.width))


# ── what is kept ──────────────────────────────────────────────────────────────────────────────


def pack(weight: Array, layer: Layer, isa: Isa) -> Array:
    """`[filters, channels, rows, columns, planes]` of −1, 0 and 1 as `[group, block of words, row,
    column, word, register, sign and mask, filter]`.
    """
    schedule, lanes = layer.schedule, isa.lanes
    kind, blocks = schedule.kind, layer.conv.source.blocks
    wide = math.ceil(len(weight) / (schedule.filters * lanes)) * schedule.filters * lanes
    wide = max(wide, layer.conv.target.blocks * lanes)
    held = np.zeros((wide, *weight.shape[1:]), np.int8)
    held[: len(weight)] = weight
    channels_last = np.moveaxis(held, 1, -1)  # filter, row, column, plane, channel
    parts = [packed(channels_last > 0), packed(channels_last != 0)][: kind.words]
    stacked = np.stack(parts, 4)  # filter, row, column, plane, sign and mask, word
    rows, columns = weight.shape[2:4]
    split = stacked.reshape(
        *(-1, schedule.filters, lanes, rows, columns, kind.planes, kind.words, blocks),
        layer.conv.source.lanes,
    )
    # group, block of words, row, column, word, register of filters, plane, sign and mask, filter
    return np.ascontiguousarray(split.transpose(0, 7, 3, 4, 8, 1, 5, 6, 2))


def pack_ends(weight: Array, scale: Array, shift: Array, layer: Layer, isa: Isa) -> Array:
    """What sums begin with and are multiplied with, and what is added, as bytes: `[filters,
    planes]` scales, `[filters]` shifts.
    """
    conv, planes = flat(layer).conv, layer.schedule.kind.planes
    wide = conv.target.blocks * isa.lanes
    sums = weight.sum(1, dtype=np.int64)  # of each tap's channels
    count = np.abs(weight).sum((1, 2, 3), dtype=np.int64)
    rows, columns = outside(conv)
    kinds = [np.unique(seen, axis=0, return_inverse=True) for seen in (rows, columns)]
    starts = np.zeros((len(kinds[0][0]), len(kinds[1][0]), wide, planes), np.int32)
    for i, down in enumerate(kinds[0][0]):
        for j, along in enumerate(kinds[1][0]):
            beyond = ~np.logical_and.outer(down, along)
            starts[i, j, : len(weight)] = count + np.einsum("krsp,rs->kp", sums, beyond)
    line = 4 * wide * planes
    offsets = [
        kinds[0][1].ravel() * len(kinds[1][0]) * line,
        kinds[1][1].ravel() * line,
    ]
    shifts = np.full(wide, -1.0, np.float32)  # signs beyond the last filter are zeros
    shifts[: len(shift)] = shift
    scales = np.zeros((wide, planes), np.float32)
    scales[: len(scale)] = scale
    if layer.compares:
        starts = _bounds(starts[..., 0], (scales[:, 0], shifts), int(count.max()))[..., None]
    parts: list[Array] = [np.concatenate(offsets).astype(np.int32)]
    parts += [_in_registers(starts, isa), _in_registers(scales, isa), shifts]
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8).ravel() for part in parts])


def _bounds(starts: Array, ends: tuple[Array, Array], most: int) -> Array:
    """The largest count of each filter, of at most `most`, whose result, rounded as it is, is not
    below zero: the more bits differ, the smaller is the result.
    """
    scale, shift = ends
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        middle = np.nan_to_num((starts + shift.astype(np.float64) / scale) / 2, nan=-AROUND)
    middle = np.floor(np.clip(middle, -AROUND, most + AROUND)).astype(np.int64)
    around = middle[..., None] + np.arange(-AROUND, AROUND + 1)
    number = (starts[..., None] - 2 * around).astype(np.float32)
    positive = ~(number * scale[:, None] + shift[:, None] < 0)
    return np.asarray(middle - AROUND - 1 + positive.sum(-1), np.int32)


def _in_registers(x: Array, isa: Isa) -> Array:
    """`[…, filter, plane]` as `[…, register of filters, plane, filter]`."""
    split = x.reshape(*x.shape[:-2], -1, isa.lanes, x.shape[-1])
    return np.ascontiguousarray(np.moveaxis(split, -1, -2))


def outside(conv: Conv) -> tuple[Array, Array]:
    """For every row and every column of the result, which taps are inside the image."""
    (top, left, *_), sliding = conv.window.pads, conv.window
    found = []
    for axis, (size, before) in enumerate([(conv.source.height, top), (conv.source.width, left)]):
        results = (conv.target.height, conv.target.width)[axis]
        begin = np.arange(results) * sliding.strides[axis] - before
        at = begin[:, None] + np.arange(sliding.kernel[axis]) * sliding.dilations[axis]
        found.append((at >= 0) & (at < size))
    return found[0], found[1]
