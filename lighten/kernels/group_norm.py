"""Groups of channels brought to mean 0 and variance 1, then scaled and shifted per channel.

    reference, one sample, over the channels c and pixels of each group:
        mean = Σ x / count        variance = Σ (x − mean)² / count
        y[c, i, j] = (x[c, i, j] − mean) · w[c] / √(variance + epsilon) + b[c]

(Wu & He 2018.) Three passes over a group: sums per channel, one register of channels at a time;
sums of squares, with the mean known; the results. Between them the channels' sums meet one by one.
Rows are summed before they are added up, so that a large image loses little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lighten.emit import F32, POINTER, Function, Index, Isa, Tile, Type, Value, vector
from lighten.kernels import share
from lighten.kernels.finish import pixel
from lighten.kernels.layout import Blocked

Step = Callable[[Value, Value], Value | None]  # of a register of x and where y lies


@dataclass(frozen=True)
class GroupNorm:
    """Between two layouts, both blocked by the registers' lanes or both planar."""

    source: Blocked
    target: Blocked
    groups: int
    epsilon: float


def workspace(op: GroupNorm) -> int:
    """Bytes of three numbers per channel: its sums, its mean, its scale."""
    return 3 * _row(op)


def _row(op: GroupNorm) -> int:
    return 4 * op.source.blocks * op.source.lanes


def emit(name: str, op: GroupNorm, isa: Isa) -> Function:
    """The kernel `name(x, w, b, y, s, …)`; w and b are whole blocks, s is its workspace."""
    f = Function(name, {**dict.fromkeys("xwbys", POINTER), **share.COUNT}, isa)
    source = op.source
    count = source.channels // op.groups * source.height * source.width

    def sample(n: Value, scratch: Value, team: share.Team) -> None:
        sums, means, scales = (scratch + part * _row(op) for part in range(3))

        def blocks(body: Callable[[Index], None]) -> None:
            share.each(f, (source.blocks,), body, team)
            share.meet(f, team)

        def groups(to: Value, made: Callable[[Value], Value]) -> None:
            share.each(f, (op.groups,), lambda g: _of_group(f, op, (sums, to), g, made), team)
            share.meet(f, team)

        blocks(lambda c: _total(f, op, (n, c), sums, None))
        groups(means, lambda total: total * f.constant(1 / count, F32))
        blocks(lambda c: _total(f, op, (n, c), sums, means))
        groups(scales, lambda total: _inverse(f, op, total, count))
        blocks(lambda c: _result(f, op, (n, c), (means, scales)))

    share.together(f, (f["n"],), workspace(op), sample)
    return f


def _inverse(f: Function, op: GroupNorm, total: Value, count: int) -> Value:
    """1 / √(variance + epsilon)"""
    variance = total * f.constant(1 / count, F32) + f.constant(op.epsilon, F32)
    return f.constant(1.0, F32) / f.call("sqrt", variance)


def _of_group(
    f: Function,
    op: GroupNorm,
    places: tuple[Value, Value],
    g: Index,
    made: Callable[[Value], Value],
) -> None:
    """What is made of a group's sum, written down for each of its channels."""
    (sums, to), each = places, op.source.channels // op.groups
    first = g * (4 * each)

    def add(c: Value, total: Tile) -> Tile:
        return [total[0] + f.load(sums + first + c * 4, F32)]

    (total,) = f.loop(0, each, add, [f.zero(F32)])
    result = made(total)

    def put(c: Value, _: Tile) -> None:
        f.store(result, to + first + c * 4)

    f.loop(0, each, put)


def _total(
    f: Function, op: GroupNorm, place: tuple[Value, Index], sums: Value, means: Value | None
) -> None:
    """The sum of a block of channels; of squares about the mean where it is known."""
    at = place[1] * op.source.pixel

    def added(x: Value, _: Value) -> Value:
        if means is None:
            return x
        centred = x - _of_channel(f, op, means + at, x.type)
        return centred * centred

    total = _pixels(f, op, place, added)
    f.store(total if op.source.lanes > 1 else across(f, total), sums + at)


def _of_channel(f: Function, op: GroupNorm, at: Value, kind: Type) -> Value:
    """A number of each channel of a block, as a register of its pixels meets it."""
    if op.source.lanes > 1:
        return f.load(at, kind)
    return f.load_spread(at, kind) if kind.lanes > 1 else f.load(at, F32)


def across(f: Function, value: Value) -> Value:
    """The sum of a register's lanes."""
    lanes = value.type.lanes
    while lanes > 1:
        lanes //= 2
        low, high = (f.permute(value, range(at, at + lanes)) for at in (0, lanes))
        value = low + high
    return value


def _pixels(f: Function, op: GroupNorm, place: tuple[Value, Index], step: Step) -> Value:
    """The sum of what `step` makes of each register of a block of channels, row by row."""
    (n, c), source, target = place, op.source, op.target
    planar, lanes = source.lanes == 1, f.isa.lanes
    whole = source.width - source.width % lanes if planar else source.width

    def row(i: Value, totals: Tile) -> Tile:
        x, y = pixel(f["x"], source, (n, c, i, 0)), pixel(f["y"], target, (n, c, i, 0))

        def one(j: Index, kind: Type, sums: Tile) -> Tile:
            made = step(f.load(x + j * source.pixel, kind), y + j * target.pixel)
            return sums if made is None else [sums[0] + padded(f, made)]

        sums = [f.zero(f.lane)]
        sums = f.loop(0, whole, lambda j, sums: one(j, f.lane, sums), sums, lanes if planar else 1)
        if whole < source.width:
            sums = one(whole, vector(F32, source.width - whole), sums)
        return [totals[0] + sums[0]]

    (total,) = f.loop(0, source.height, row, [f.zero(f.lane)])
    return total


def padded(f: Function, value: Value) -> Value:
    """A register with zeros after what it holds."""
    held, lanes = value.type.lanes, f.isa.lanes
    if held == lanes:
        return value
    if held == 1:
        value, zero = f.spread(value, lanes), f.zero(f.lane)
        return f.permute(value, [0, *[lanes] * (lanes - 1)], zero)
    return f.permute(value, [min(lane, held) for lane in range(lanes)], f.zero(value.type))


def _result(
    f: Function, op: GroupNorm, place: tuple[Value, Index], held: tuple[Value, Value]
) -> None:
    """(x − mean) · scale · w + b"""
    at = place[1] * op.source.pixel
    means, scales = (base + at for base in held)

    def write(x: Value, y: Value) -> None:
        mean, scale, w, b = (
            _of_channel(f, op, base, x.type) for base in (means, scales, f["w"] + at, f["b"] + at)
        )
        f.store(f.fma((x - mean) * scale, w, b), y)

    _pixels(f, op, place, write)
