"""Scaled dot-product attention without its matrix of scores in memory (Vaswani et al. 2017; tiled
as in Rabe & Staats 2021 and Dao et al. 2022).

reference, one sample, every head:
    for i:
        s[j] = scale · Σ_c q[i, c] · k[j, c] + mask[i, j]
        p = softmax(s)
        y[i, c] = Σ_j p[j] · v[j, c]

A tile of queries at a time: its scores over all keys stay in the near cache, are turned into
weights there, and multiply the values at once.

                  keys →
    queries   [ scores ]   →   [ weights ]  ·  v   →   y
      tile    [        ]       [         ]

The keys are turned first, once per head, so that a register holds one channel of many keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lighten.emit import F32, POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.block import Rows, even, multiply
from lighten.kernels.functions import decay2
from lighten.kernels.matmul import store
from lighten.kernels.softmax import exponentials
from lighten.kernels.strided import Strided
from lighten.kernels.walk import Pointers, walk

TALL = 12  # queries in a tile: their scores over 512 keys fill half of a near cache


@dataclass(frozen=True)
class Attention:
    """`query` `[…, queries, channels]`, `key` `[…, keys, channels]`, `value` `[…, keys, wide]`,
    `target` `[…, queries, wide]`, `mask` `[…, queries, keys]`; the last axis of value and target
    lies side by side, that of the mask does or repeats.
    """

    query: Strided
    key: Strided
    value: Strided
    target: Strided
    scale: float
    mask: Strided | None = None

    @property
    def tile(self) -> int:
        """Queries at a time."""
        return even(self.query.shape[-2], TALL)


def workspace(op: Attention, isa: Isa) -> int:
    """Bytes for turned keys, the scores of a tile, and one sum for each of its rows."""
    channels, wide = op.key.shape[-1], _whole(op.key.shape[-2], isa)
    return 4 * (channels * wide + op.tile * wide + _whole(op.tile, isa))


def emit(name: str, op: Attention, isa: Isa) -> Function:
    """The kernel `name(q, k, v, m, y, s, n)`; m is not read where there is no mask."""
    f = Function(name, {**dict.fromkeys("qkvmys", POINTER), **share.COUNT}, isa)
    mask = op.mask or op.query  # walked, but not read
    queries = op.query.shape[-2]

    def head(at: Pointers) -> None:
        _turn(f, op, at[1])
        full, left = divmod(queries, op.tile)
        f.loop(0, full, lambda t, _: _tile(f, op, at, (t * op.tile, op.tile)))
        if left:
            _tile(f, op, at, (full * op.tile, left))

    views = (op.query, op.key, op.value, mask, op.target)
    walk(f, [f[x] for x in "qkvmy"], views, head, inner=2)
    return f


def _whole(count: int, isa: Isa) -> int:
    """Numbers in whole registers."""
    return -(-count // isa.lanes) * isa.lanes


def _turn(f: Function, op: Attention, key: Value) -> None:
    """Keys `[keys, channels]` into `[channels, keys]` at s, zeros in the lanes beyond."""
    count, channels = op.key.shape[-2:]
    down, step = (4 * stride for stride in op.key.strides[-2:])
    size, wide = f.isa.lanes, 4 * _whole(count, f.isa)

    def read(pointer: Value, number: int) -> Value:
        if step == 4:
            return lanes.load_first(f, pointer, f.lane, number)
        return lanes.load_apart(f, pointer, (f.lane, number), step)

    def square(j: Index, rows: int) -> None:
        def some(c: Index, number: int) -> None:
            start = key + j * down + c * step
            tile = [read(start + q * down, number) for q in range(rows)]
            tile += [f.zero(f.lane)] * (size - rows)
            target = f["s"] + c * wide + j * 4
            for channel, register in enumerate(lanes.turned(f, tile)[:number]):
                f.store(register, target, channel * wide)

        whole = channels - channels % size
        f.loop(0, whole // size, lambda c, _: some(c * size, size))
        if whole < channels:
            some(whole, channels - whole)

    whole = count - count % size
    f.loop(0, whole // size, lambda j, _: square(j * size, size))
    if whole < count:
        square(whole, count - whole)


def _tile(f: Function, op: Attention, at: Pointers, what: tuple[Index, int]) -> None:
    """Queries `what` (first, how many) of one head."""
    query, _, value, mask, target = at
    (first, rows), (count, channels) = what, op.key.shape[-2:]
    wide = _whole(count, f.isa)
    scores = f["s"] + 4 * channels * wide
    sums = scores + 4 * op.tile * wide
    down, step = (4 * stride for stride in op.query.strides[-2:])
    scale, two = (
        f.constant(x / math.log(2), f.lane) for x in (op.scale, 1.0)
    )  # 2^(x / ln 2) = e^x

    def scored(found: Tile, place: tuple[Index, Index], shape: tuple[int, int]) -> None:
        blocks, (row, column) = len(found) // shape[0], place
        for number, total in enumerate(found):
            q, o = divmod(number, blocks)
            score = total * scale
            if op.mask is not None:
                there = mask + (row + first) * (4 * op.mask.strides[-2])
                there = there + column * (4 * op.mask.strides[-1])
                part = min(f.isa.lanes, shape[1] - o * f.isa.lanes)
                score = f.fma(_added(f, op.mask, there, (q, o, part)), two, score)
            f.store(
                score, scores + row * (4 * wide) + column * 4, 4 * (q * wide) + o * f.lane.bytes
            )

    multiply(
        f,
        (rows, channels, count),
        Rows(query + first * down, down, step),
        (f["s"], 4 * wide),
        scored,
    )

    def weighted(q: Value, _: Tile) -> None:
        row = scores + q * (4 * wide)
        f.store(exponentials(f, count, row, row, decay2), sums + q * 4)

    f.loop(0, rows, weighted)

    def finish(found: Tile, place: tuple[Index, Index], shape: tuple[int, int]) -> None:
        blocks, (row, column) = len(found) // shape[0], place
        one = f.constant(1.0, F32)
        scales = [
            f.spread(one / f.load(sums + row * 4, F32, 4 * q), f.isa.lanes) for q in range(shape[0])
        ]
        scaled = [total * scales[number // blocks] for number, total in enumerate(found)]
        y = target + (row + first) * (4 * op.target.strides[-2]) + column * 4
        store(f, scaled, (y, 4 * op.target.strides[-2]), shape)

    multiply(
        f,
        (rows, count, op.value.shape[-1]),
        Rows(scores, 4 * wide),
        (value, 4 * op.value.strides[-2]),
        finish,
    )


def _added(f: Function, mask: Strided, start: Value, which: tuple[int, int, int]) -> Value:
    """Register o of row q of the mask, `part` lanes of it."""
    q, o, part = which
    down, step = mask.strides[-2:]
    if not step:
        return f.load_spread(start, f.lane, 4 * q * down)
    return lanes.load_first(f, start + 4 * (q * down + o * f.isa.lanes), f.lane, part)
