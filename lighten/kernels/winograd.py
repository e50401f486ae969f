"""Winograd convolution F(m × m', r × r'): fewer products than the sum itself has (rows G10, G11).

    reference, one tile of m × m' results from n × n' pixels, n = m + r − 1, transforms down and
    along the tile:
        y[k] = b[k] + Aᵀ [ Σ_c (G w[k, c] G'ᵀ) ⊙ (Bᵀ x[c] B') ] A'

The sum over channels stands inside, so that for each of the n n' products it is a matrix product of
its own, over the tiles of a few rows of tiles that stay in the cache:

    1  x, tile by tile      → V[product][channel block][tile][lane]      Bᵀ x B in registers
    2  for every product:     M = V · U     columns × blocks sums stay in registers, as in `direct`
    3  M, tile by tile      → y             Aᵀ M A, bias, residual, activation

U is made of the weights once, in float64. Transforms are straight-line programs from `algebra`;
tiles that stick out of the image read the halo's zeros and store only what lies inside.

Threads take whole steps, each with a V and M of its own. Those that do not come out even they do
together, sharing out the tiles of 1 and 3 and the products of 2, and meet in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.algebra.straight_line import StraightLine, parts, run
from lighten.algebra.winograd import Winograd
from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, products, share
from lighten.kernels.finish import pixel, window
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.shapes import Conv
from lighten.kernels.share import Team
from lighten.kernels.winograd_schedule import (
    OUTPUTS,
    Schedule,
    Sizes,
    algorithm,
    cycles,
    grid,
    halo,
    schedules,
    tiles,
    workspace,
)

__all__ = ("accepts", "cycles", "emit", "halo", "pack", "schedules", "workspace")  # a kernel
Array = np.ndarray[Any, Any]


def accepts(conv: Conv, isa: Isa) -> bool:
    """Kernels of 3 or 5 taps each way in steps of one, without groups or dilation."""
    sliding, same = conv.window, conv.source.lanes == conv.target.lanes == isa.lanes
    plain = sliding.strides == sliding.dilations == (1, 1) and conv.groups == 1
    return same and plain and all(taps in OUTPUTS for taps in sliding.kernel)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """U = G w G'ᵀ as `[product, group of filters, channel, filter]`, made group by group: all of it
    in float64 would take many times the memory of the weights. Channels are multiplied one by one:
    NumPy would share larger products among threads, and wait for them.
    """
    down, along = (made.as_float()[1] for made, *_ in _algorithms(conv, schedule))
    both = np.kron(down, along)  # of a channel's taps in a row
    group, channels = schedule.blocks * conv.target.lanes, weight.shape[1]
    deep, groups = conv.source.blocks * conv.source.lanes, math.ceil(len(weight) / group)
    packed = np.zeros((len(both), groups, deep, group), np.float32)
    for g in range(groups):
        part = weight[g * group : (g + 1) * group]
        taps = np.ascontiguousarray(part.reshape(len(part), -1).T)
        u = both @ taps.reshape(channels, -1, len(part)).astype(np.float64)
        packed[:, g, :channels, : len(part)] = u.transpose(1, 0, 2)
    return packed


@dataclass(frozen=True)
class Step:
    """Some rows of tiles of one sample, from the `first`, or all of several `samples`; V and M lie
    in `scratch`.
    """

    sample: Value
    samples: Index
    first: Index
    scratch: Value
    team: Team


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`, as in `direct`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    down = tiles(conv, schedule.outputs)[0]

    several = schedule.samples

    def step(n: Value, number: Index, scratch: Value, team: Team) -> None:
        many = f.least(f["n"] - n * several, several) if several > 1 else 1
        place = Step(n * several, many, number * schedule.rows, scratch, team)
        _read(f, conv, schedule, place)
        share.meet(f, team)
        _multiply(f, conv, schedule, place)
        share.meet(f, team)
        _write(f, conv, schedule, place)

    count = (f["n"] + (several - 1)) // several
    extents = (count, down // schedule.rows)
    share.together(f, extents, workspace(conv, schedule), step)
    return f


def _transformed(
    f: Function, lines: Sequence[StraightLine], load: Callable[[int, int], Value], columns: int
) -> Iterator[tuple[int, Tile]]:
    """Of a grid of registers, the one straight-line program along the columns, then the other along
    the rows; rows come a few at a time, those that share steps: all would not fit the registers.
    """
    down, along = lines
    for part in parts(down):
        made = [_run(f, part.program, [load(a, b) for a in part.reads]) for b in range(columns)]
        for at, a in enumerate(part.outputs):
            yield a, _run(f, along, [column[at] for column in made])


def _run(f: Function, line: StraightLine, values: Sequence[Value]) -> Tile:
    return list(run(line, values, lambda factor: f.constant(float(factor), f.lane), f.fma))


def _read(f: Function, conv: Conv, schedule: Schedule, step: Step) -> None:
    """1: the pixels of every tile of this step, transformed, to V."""
    sizes, source, wide = Sizes.of(conv, schedule), conv.source, grid(conv, schedule.outputs)[1]
    lines = [before for _, before, _ in _algorithms(conv, schedule)]
    (tall, broad), along = schedule.outputs, tiles(conv, schedule.outputs)[1]

    def row(c: Index, i: Index) -> None:
        n, first = _row(conv, schedule, step, i)

        def tile(j: Value, _: Tile) -> None:
            at = (n, c, first * tall, j * broad)
            x = window(conv, f["x"], at)

            def load(a: int, b: int) -> Value:
                return f.load(x, f.lane, a * source.row + b * source.pixel)

            v = step.scratch + c * (sizes.tiles * source.pixel) + (i * along + j) * source.pixel
            for a, values in _transformed(f, lines, load, wide):
                for b, value in enumerate(values):
                    f.store(value, v, (a * wide + b) * sizes.read)

        f.loop(0, along, tile)

    share.each(f, (source.blocks, step.samples * schedule.rows), row, step.team)


def _algorithms(
    conv: Conv, schedule: Schedule
) -> list[tuple[Winograd, StraightLine, StraightLine]]:
    """Those down and along a tile."""
    return [algorithm(m, r) for m, r in zip(schedule.outputs, conv.window.kernel, strict=True)]


def _row(conv: Conv, schedule: Schedule, step: Step, i: Index) -> tuple[Value, Index]:
    """The sample of row of tiles number i of a step, and the row's number in it."""
    if schedule.samples == 1:
        return step.sample, step.first + i
    down = schedule.rows
    number = i // down
    return step.sample + number, i - number * down


def _multiply(f: Function, conv: Conv, schedule: Schedule, step: Step) -> None:
    """2: the matrices of every product, M = V · U."""
    sizes = Sizes.of(conv, schedule)
    far = conv.remote and sizes.products * sizes.weights > costs.FEW
    block = products.Block(schedule.blocks, schedule.columns, sizes.tiles, far)
    count = None
    if schedule.samples > 1:
        count = step.samples * (schedule.rows * tiles(conv, schedule.outputs)[1])

    def group(p: Index, g: Index) -> None:
        v = step.scratch + p * sizes.read
        m = step.scratch + p * sizes.made + sizes.products * sizes.read
        products.multiply(f, conv, block, (v, f["w"] + p * sizes.weights, m), g, count)

    share.each(f, (sizes.products, products.groups(conv, block)), group, step.team)


def _write(f: Function, conv: Conv, schedule: Schedule, step: Step) -> None:
    """3: the results of every tile of this step; the image's last row of tiles may stick out."""
    sizes, target, wide = Sizes.of(conv, schedule), conv.target, grid(conv, schedule.outputs)[1]
    lines = [after for *_, after in _algorithms(conv, schedule)]
    (down, along), (tall, broad) = tiles(conv, schedule.outputs), schedule.outputs
    low, right = target.height - (down - 1) * tall, target.width - (along - 1) * broad

    def block(k: Index, begin: Index, end: Index) -> None:
        bias = f.load(f["b"] + k * target.pixel, f.lane)
        sums = step.scratch + k * (sizes.tiles * target.pixel) + sizes.products * sizes.read

        def tile(place: tuple[Index, Value, Index], j: Index, height: int, width: int) -> None:
            i, n, number = place
            held = sums + (i * along + j) * target.pixel

            def load(a: int, b: int) -> Value:
                return f.load(held, f.lane, (a * wide + b) * sizes.made)

            at = (n, k, number * tall, j * broad)
            y = pixel(f["y"], target, at)
            for a, values in _transformed(f, lines, load, wide):
                for b, value in enumerate(values[: width if a < height else 0]):
                    total = value + bias
                    if conv.residual is not None:
                        other = pixel(f["r"], conv.residual, at)
                        offset = a * conv.residual.row + b * conv.residual.pixel
                        total = total + f.load(other, f.lane, offset)
                    stored = FUNCTIONS[conv.activation](f, total)
                    f.store(stored, y, a * target.row + b * target.pixel)

        def row(i: Index, height: int) -> None:
            place = (i, *_row(conv, schedule, step, i))
            f.loop(0, along - 1, lambda j, _: tile(place, j, height, broad))
            tile(place, along - 1, height, right)

        def either(i: Value) -> None:
            """Whole, or the last row of its image."""
            number = _row(conv, schedule, step, i)[1]
            last = i - number + (down - 1)
            f.loop(i, f.least(i + 1, last), lambda i, _: row(i, tall))
            f.loop(f.most(i, last), i + 1, lambda i, _: row(i, low))

        if low == tall or down == 1:
            f.loop(begin, end, lambda i, _: row(i, low))
        elif schedule.samples == 1:
            inside = down - 1 - step.first  # rows of this step that do not stick out
            f.loop(begin, f.least(end, inside), lambda i, _: row(i, tall))
            f.loop(f.most(begin, inside), end, lambda i, _: row(i, low))
        else:
            f.loop(begin, end, lambda i, _: either(i))

    share.spans(f, (target.blocks, step.samples * schedule.rows), block, step.team)
