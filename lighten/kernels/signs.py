"""Floats as signs, 32 channels of a pixel to a word: what `binary` reads.

reference, for every pixel:
    bit k % 32 of word k / 32 = 1 where not (scale[k] · x[k] + shift[k] < 0), else 0

    x:  blocks of lanes, channel by channel     →     y:  words, side by side

A batch normalisation before a sign is its threshold and direction for each channel; the scale and
shift are applied as they are, so that both agree on every bit. Bits beyond the last channel are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import I8, POINTER, Function, Index, Isa, Tile, Value, bits
from lighten.formats.signs import WORD
from lighten.kernels import share
from lighten.kernels.finish import pixel
from lighten.kernels.layout import Blocked

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Packing:
    """Floats in blocks of channels, and where their signs go; `scaled` where b holds a scale and a
    shift of every channel.
    """

    source: Blocked
    target: Blocked
    scaled: bool = False


def pack(scale: Array, shift: Array, lanes: int) -> Array:
    """What the kernel reads: scales, then shifts, each in whole registers."""
    room = (0, -len(scale) % lanes)
    return np.concatenate([np.pad(part.astype(np.float32), room) for part in (scale, shift)])


def emit(name: str, op: Packing, isa: Isa) -> Function:
    """The kernel `name(x, b, y, …)`, b as from `pack`; not read where nothing is scaled."""
    f = Function(name, {**dict.fromkeys("xby", POINTER), **share.COUNT}, isa)
    share.each(f, (f["n"], op.source.height), lambda n, i: _row(f, op, n, i))
    return f


def _row(f: Function, op: Packing, n: Value, i: Index) -> None:
    octets = 4 * op.target.lanes * op.target.blocks
    whole, rest = divmod(op.source.channels, max(8, f.isa.lanes))

    def column(j: Value, _: Tile) -> None:
        x, y = pixel(f["x"], op.source, (n, 0, i, j)), pixel(f["y"], op.target, (n, 0, i, j))
        wide = max(8, f.isa.lanes) // 8  # bytes at a time

        def some(c: Value, _: Tile) -> None:
            f.store(_signs(f, op, x, c * (8 * wide // f.isa.lanes)), y + _place(op, c * wide))

        f.loop(0, whole, some)
        done = whole * wide
        if rest:
            found = _signs(f, op, x, whole * (8 * wide // f.isa.lanes), rest)
            mask = f.constant((1 << rest) - 1, found.type)
            f.store(bits.both(f, found, mask), y + _place(op, done))
            done += wide
        for octet in range(done, octets):
            f.store(f.zero(I8), y + _place(op, octet))

    f.loop(0, op.source.width, column)


def _place(op: Packing, octet: Index) -> Index:
    """Bytes from a pixel's first word to one of its bytes."""
    held = 4 * op.target.lanes
    if op.target.blocks == 1:
        return octet
    return octet + octet // held * (op.target.block - held)


def _signs(f: Function, op: Packing, x: Value, register: Index, channels: int = WORD) -> Value:
    """The signs of whole bytes of channels from a register on, as a number of so many bits; no
    register beyond the last of `channels` is read.
    """
    lanes, found = f.isa.lanes, []
    for o in range(max(1, 8 // lanes)):
        if o * lanes >= channels:
            found.append(f.zero(f.lane))
            continue
        number = f.load(x + (register + o) * op.source.block, f.lane)
        if op.scaled:
            at = f["b"] + (register + o) * f.lane.bytes
            width = f.lane.bytes * op.source.blocks
            number = f.fma(number, f.load(at, f.lane), f.load(at, f.lane, width))
        found.append(number)
    return bits.together(f, [bits.not_below(f, number) for number in found])


def reference(x: Array, scale: Array, shift: Array) -> Array:
    """`[n, c, h, w]` floats as 0 and 1."""
    return np.asarray(~(x * scale[:, None, None] + shift[:, None, None] < 0)).astype(np.uint8)
