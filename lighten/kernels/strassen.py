"""Strassen's product for 1 × 1 convolutions: seven products of quarters instead of eight (row G22).

    reference, of some rows of the image: A their pixels by channels, B the weights, in quarters
    (first or last half of the rows; first or last half of the channels, of the filters)
        S = U A     T = V B     P_p = S_p · T_p     C = W P

T is made of the weights once, in float64. A step takes an even number of rows of the image:

    1  A, pixel by pixel   → S[sum][channel block][pixel][lane]: four sums; three are parts of A
    2  for every group of filters, product after product: in registers as in `direct`, beginning
       with what they are added to, so that no sum of products takes a pass of its own (`quarters`)

p and q hold a group of filters of half the pixels. Bias, residual and activation join on the way to
y. Threads take steps; those that do not come out even they do together, pixels of 1, groups of 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value
from lighten.kernels import costs, framed, share
from lighten.kernels.block import LINE, even, tallest
from lighten.kernels.finish import finish, pixel
from lighten.kernels.products import blocked
from lighten.kernels.quarters import PIPELINE, algorithm, combine, packed, sums_of
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.share import Team

Array = np.ndarray[Any, Any]
FILTERS = (4, 3, 2, 1)
CACHES = (3 << 17, 1 << 21)  # bytes of A and S that one step may take


@dataclass(frozen=True)
class Schedule:
    """The register block, registers of filters by pixels of a row; pairs of rows in a step."""

    blocks: int
    columns: int
    rows: int


def accepts(conv: Conv, isa: Isa) -> bool:
    """1 × 1 in steps of one, without groups, whose rows, channels and filters fall into halves."""
    source, target = conv.source, conv.target
    same = source.lanes == target.lanes == isa.lanes and conv.groups == 1
    halves = source.channels % (2 * isa.lanes) == target.blocks % 2 == target.height % 2 == 0
    return same and halves and conv.window == Window((1, 1))


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit, with as many rows in a step as the second cache holds, or the
    third: each step reads all filters.
    """
    found = []
    pairs = conv.target.height // 2
    row = 2 * 2 * conv.source.blocks * conv.source.width * conv.source.pixel
    divisors = [d for d in range(1, pairs + 1) if pairs % d == 0]
    fitting = {max((d for d in divisors if d * row <= size), default=1) for size in CACHES}
    for blocks in FILTERS:
        if conv.target.blocks // 2 % blocks == 0:
            columns = even(conv.target.width, tallest(blocks, isa))
            found += [Schedule(blocks, columns, rows) for rows in sorted(fitting)]
    return found


halo = framed.halo


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of S, and of p and q."""
    return _sums_size(conv, schedule) + 2 * _held_size(conv, schedule)


def _pixels(conv: Conv, schedule: Schedule) -> int:
    """In half a step."""
    return schedule.rows * conv.target.width


def _part(conv: Conv, schedule: Schedule) -> int:
    """Bytes of one sum of quarters of A."""
    return conv.source.blocks // 2 * _pixels(conv, schedule) * conv.source.pixel


def _sums_size(conv: Conv, schedule: Schedule) -> int:
    return len(algorithm()[1].steps) * _part(conv, schedule)


def _held_size(conv: Conv, schedule: Schedule) -> int:
    return _pixels(conv, schedule) * schedule.blocks * conv.target.pixel


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: the products, the sums, and reading T."""
    source, target, (made, line) = conv.source, conv.target, algorithm()
    share_of = made.multiplications / 8
    pixels = target.height * target.width
    block = (schedule.blocks, schedule.columns)
    products = costs.products(share_of * conv.macs, conv, block, isa)
    sums = pixels / 2 * source.blocks / 2 * (4 + len(line.steps))
    held = pixels / 2 * target.blocks / 2 * 2 * made.multiplications
    weights = 2 * share_of * 4 * source.channels * target.blocks * target.lanes
    steps = target.height / 2 / schedule.rows
    return products + sums + held + steps * costs.far(weights)


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """T as `[group of filters, product, channel, filter]`: in the order in which it is read."""
    (filters, channels), n = weight.shape[:2], conv.target.blocks * conv.target.lanes
    wide = np.zeros((channels, n), np.float64)
    wide[:, :filters] = weight.reshape(filters, channels).T
    return packed(wide, schedule.blocks * conv.target.lanes)


@dataclass(frozen=True)
class Step:
    """Rows of one sample, from `row` on; S lies in `scratch`."""

    sample: Value
    row: Index
    scratch: Value
    team: Team


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`, as in `direct`; s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    groups = conv.target.blocks // 2 // schedule.blocks

    def step(n: Value, number: Index, scratch: Value, team: Team) -> None:
        place = Step(n, number * (2 * schedule.rows), scratch, team)
        _add(f, conv, schedule, place)
        share.meet(f, team)
        share.each(f, (groups,), partial(_multiply, f, conv, schedule, place), team)
        share.meet(f, team)

    steps = conv.target.height // 2 // schedule.rows
    share.together(f, (f["n"], steps), workspace(conv, schedule), step)
    return f


def _add(f: Function, conv: Conv, schedule: Schedule, step: Step) -> None:
    """1: the sums of quarters of A."""
    source, (_, line) = conv.source, algorithm()
    half, part = source.blocks // 2, _part(conv, schedule)
    down = schedule.rows * source.row

    def row(c: Value, i: Value) -> None:
        first = pixel(f["x"], source, (step.sample, c, step.row + i, 0))
        made = step.scratch + (c * schedule.rows + i) * (source.width * source.pixel)

        def one(j: Value, _: Tile) -> None:
            x, s = first + j * source.pixel, made + j * source.pixel
            quarters = [
                f.load(x, f.lane, a + b) for a in (0, down) for b in (0, half * source.block)
            ]
            for at, value in sums_of(f, line, quarters):
                f.store(value, s, at * part)

        f.loop(0, source.width, one)

    share.each(f, (half, schedule.rows), row, step.team)


def _multiply(f: Function, conv: Conv, schedule: Schedule, step: Step, g: Index) -> None:
    """2: a group of filters, product after product."""
    own = f["s"] + _sums_size(conv, schedule)
    places = {"p": own, "q": own + _held_size(conv, schedule)}

    def tile(number: int, i: Index, j: Index, width: int) -> None:
        at = (i * conv.target.width + j) * (schedule.blocks * conv.target.pixel)
        held = {name: place + at for name, place in places.items()}
        multiply = partial(_product, f, conv, schedule, (number, step, g), (i, j))

        def finish(lower: int, last: int, sums: Tile) -> None:
            _finish(f, conv, schedule, (lower, last, step, g), (i, j), sums)

        combine(f, number, held, multiply, finish, width * schedule.blocks)

    for number in range(len(PIPELINE)):
        _tiles(f, conv, schedule, partial(tile, number))


def _tiles(
    f: Function, conv: Conv, schedule: Schedule, tile: Callable[[Index, Index, int], None]
) -> None:
    """Every tile of half a step."""
    whole = (0, math.ceil(conv.target.width / schedule.columns))
    f.loop(
        0,
        schedule.rows,
        lambda i, _: share.along(
            f, whole, conv.target.width, schedule.columns, lambda j, width: tile(i, j, width)
        ),
    )


def _product(
    f: Function,
    conv: Conv,
    schedule: Schedule,
    which: tuple[int, Step, Index],
    place: tuple[Index, Index],
    sums: Tile,
) -> Tile:
    """A tile of a product, added to the sums."""
    (number, step, g), (i, j), source = which, place, conv.source
    made, line = algorithm()
    half, block = source.blocks // 2, source.block
    output = line.outputs[number]
    if output < line.inputs:  # a quarter of A as it lies
        lower, last = divmod(output, 2)
        at = (step.sample, last * half, step.row + lower * schedule.rows + i, j)
        x = pixel(f["x"], source, at)
    else:
        block = _pixels(conv, schedule) * source.pixel
        x = step.scratch + (output - line.inputs) * _part(conv, schedule)
        x = x + (i * source.width + j) * source.pixel
    x = f.settled(x)
    filters = schedule.blocks * conv.target.pixel
    size = half * source.lanes * filters
    w = f["w"] + (g * made.multiplications + number) * size
    lines, width = _ahead(conv, schedule), math.ceil(conv.target.width / schedule.columns)
    passed = i * width + (j // schedule.columns if width > 1 else 0)
    soon = w + size + passed * (lines * half * LINE) if lines else w

    def channels(c: Value, sums: Tile) -> Tile:
        for line in range(lines):
            f.prefetch(soon + (c * lines + line) * LINE)
        x_c, w_c = x + c * block, w + c * (source.lanes * filters)
        return blocked(f, (x_c, w_c), (schedule.blocks, source.pixel), source.lanes, sums)

    return f.loop(0, half, channels, sums)


def _ahead(conv: Conv, schedule: Schedule) -> int:
    """How many lines of the next product's filters are asked for with each block of channels."""
    lines = conv.source.lanes * schedule.blocks * conv.target.pixel // LINE
    passes = schedule.rows * math.ceil(conv.target.width / schedule.columns)
    return math.ceil(lines / passes) if conv.remote else 0


def _finish(
    f: Function,
    conv: Conv,
    schedule: Schedule,
    which: tuple[int, int, Step, Index],
    place: tuple[Index, Index],
    sums: Tile,
) -> None:
    """Bias and all that follows it, to a quarter of y."""
    (lower, last, step, g), (i, j) = which, place
    k = g * schedule.blocks + last * (conv.target.blocks // 2)
    b = f["b"] + k * conv.target.pixel
    bias = [f.load(b, f.lane, o * f.lane.bytes) for o in range(schedule.blocks)]
    total = [value + bias[o % schedule.blocks] for o, value in enumerate(sums)]
    at = (step.sample, k, step.row + lower * schedule.rows + i, j)
    finish(f, conv, total, at, (schedule.blocks, 0))
