"""Convolution as a matrix product: windows as columns, both sides packed (rows G1, G7).

    reference, one sample, c over the channels of the group of filter k, t over the taps:
        for k, p:
            y[k, p] = b[k] + Σ_c Σ_t w[k, c, t] · x[c, p · strides + t · dilations]

(Chellapilla et al. 2006; the blocking of Goto & van de Geijn 2008.) Values are planar and of any
number of axes. A panel holds the windows of a few hundred neighbouring pixels for as many channels
as leave a strip of it in the first cache; it is made once for all filters:

    panel           pixel 0 … 15   16 … 31   32 … 47    the register block: per row of the panel,
    (c, t) = 0    [ x            | x       | x       ]   `pixels` loads of neighbouring pixels
    (c, t) = 1    [ x            | x       | x       ]   and `filters` numbers spread from the
    …                                                    packed weights feed pixels × filters
    filter 0      [ sum 0        | sum 1   | sum 2   ]   multiply-adds
    …
    filter 7      [ sum 21       | sum 22  | sum 23  ]

Between two panels the sums wait in y. What remains at the ends of rows and filters is written as
kernels of its own size, so that there is no mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.emit import F32, I64, POINTER, Function, Index, Isa, Tile, Value, vector
from lighten.kernels import share
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.volumes import Conv, nested

Array = np.ndarray[Any, Any]
STRIP = 128  # rows of a panel that stay in the first cache
PIXELS = 384  # about so many in a panel


@dataclass(frozen=True)
class Schedule:
    """The register block, `filters` by `pixels` registers; a panel: `lines` rows of the result, or
    `columns` of one, by `channels`.
    """

    filters: int
    pixels: int
    lines: int
    columns: int
    channels: int


def schedule(conv: Conv, isa: Isa) -> Schedule:
    """What fits the registers and the first cache."""
    made, reads = conv.filters // conv.groups, conv.channels // conv.groups
    most = 8 if isa.registers > 16 else 6
    filters = math.ceil(made / math.ceil(made / most))
    pixels = min((isa.registers - 1) // (filters + 1), 8)
    width = conv.results[-1]
    columns = width if width <= PIXELS else PIXELS
    lines = max(1, PIXELS // width)
    channels = min(max(STRIP // conv.taps, 1), reads)
    return Schedule(filters, pixels, lines, columns, channels)


def _row(plan: Schedule, isa: Isa) -> int:
    """Bytes of one row of a panel."""
    return 4 * math.ceil(plan.lines * plan.columns / isa.lanes) * isa.lanes


def workspace(conv: Conv, plan: Schedule, isa: Isa) -> int:
    """Bytes of a panel, what its last row may overrun, and where its lines begin."""
    return plan.channels * conv.taps * _row(plan, isa) + 4 * isa.lanes + 8 * plan.lines


def pack(weight: Array, conv: Conv, plan: Schedule) -> Array:
    """`[filters, channels of a group, *taps]` as `[group, panel, strip of filters, channel, tap,
    filter]`, in one row: the last panel may hold fewer channels.
    """
    made, reads = conv.filters // conv.groups, conv.channels // conv.groups
    strips = math.ceil(made / plan.filters)
    wide = np.zeros((conv.groups, strips * plan.filters, reads, conv.taps), np.float32)
    wide[:, :made] = weight.reshape(conv.groups, made, reads, conv.taps)
    split = wide.reshape(conv.groups, strips, plan.filters, reads, conv.taps)
    order = split.transpose(0, 1, 3, 4, 2)
    parts = [
        part.reshape(-1)
        for group in order
        for part in np.split(group, range(plan.channels, reads, plan.channels), axis=1)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Panel:
    """One panel being multiplied: its first `line` and `column`, how many there are of each, its
    first channel and how many; whether it is the first of its sums, or the last.
    """

    group: Value
    line: Index
    column: Index
    lines: int
    columns: int
    channel: Index
    channels: int
    first: bool
    last: bool


def emit(name: str, conv: Conv, plan: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, y, s, n)`: framed x, packed weights, bias, results, workspace."""
    f = Function(name, {**dict.fromkeys("xwbys", POINTER), **share.COUNT}, isa)
    width, lines = conv.results[-1], math.prod(conv.results[:-1])
    reads = conv.channels // conv.groups

    def panels(n: Value, g: Value, place: tuple[Index, Index], size: tuple[int, int]) -> None:
        def panel(c: Index, count: int, *, first: bool = False, last: bool = False) -> None:
            made = _Panel(g, *place, *size, c, count, first, last)
            _collect(f, conv, plan, n, made)
            _multiply(f, conv, plan, n, made)

        _lines(f, conv, plan, place, size)
        each, whole = plan.channels, -(-reads // plan.channels) - 1
        rest = reads - whole * each
        if not whole:
            panel(0, rest, first=True, last=True)
            return
        panel(0, each, first=True)
        f.loop(1, whole, lambda c, _: panel(c * each, each))
        panel(whole * each, rest, last=True)

    def tiles(n: Value, g: Value, i: Value, j: Value) -> None:
        panels(n, g, (i * plan.lines, j * plan.columns), (plan.lines, plan.columns))

    (down, below), (along, beside) = divmod(lines, plan.lines), divmod(width, plan.columns)
    outer = (f["n"], conv.groups)
    share.each(f, (*outer, down, along), tiles)
    if below:  # then panels are as wide as the result
        last = down * plan.lines
        share.each(f, outer, lambda n, g: panels(n, g, (last, 0), (below, width)))
    if beside:  # then they have one line
        right = along * plan.columns
        share.each(f, (*outer, lines), lambda n, g, i: panels(n, g, (i, right), (1, beside)))
    return f


def _lines(
    f: Function, conv: Conv, plan: Schedule, place: tuple[Index, Index], size: tuple[int, int]
) -> None:
    """Write down where the first tap of each line of a panel lies in a channel of x."""
    source, window = conv.source, conv.window
    table = _table(f, conv, plan)

    def line(i: Value, _: Tile) -> None:
        left: Value = i + place[0]
        at = f.constant(0, I64) + place[1] * 4
        for a in reversed(range(len(conv.results) - 1)):
            turn = left // conv.results[a]
            at = at + (left - turn * conv.results[a]) * (window.strides[a] * source.bytes[a + 1])
            left = turn
        f.store(at, table + i * 8)

    f.loop(0, size[0], line)


def _table(f: Function, conv: Conv, plan: Schedule) -> Value:
    return f["s"] + (plan.channels * conv.taps * _row(plan, f.isa) + 4 * f.isa.lanes)


def _collect(f: Function, conv: Conv, plan: Schedule, n: Value, panel: _Panel) -> None:
    """The panel: for each channel and tap its pixels, line by line. A register that sticks out of a
    line is overwritten by the next line.
    """
    source, row, lanes = conv.source, _row(plan, f.isa), f.isa.lanes
    table, *outer = _table(f, conv, plan), *conv.window.kernel
    first = panel.group * (conv.channels // conv.groups) + panel.channel
    x = f["x"] + n * (4 * source.floats) + first * source.bytes[0]

    def tap(c: Value, *at: Value) -> None:
        place, number = x + c * source.bytes[0], c
        for a, t in enumerate(at[:-1]):
            place = place + t * (conv.window.dilations[a] * source.bytes[a + 1])
            number = number * conv.window.kernel[a] + t
        place = place + source.column(at[-1] * conv.window.dilations[-1])
        number = number * conv.window.kernel[-1] + at[-1]
        begin = f["s"] + number * row

        def line(i: Value, _: Tile) -> None:
            seen, made = place + f.load(table + i * 8, I64), begin + i * (4 * panel.columns)

            def register(j: Value, _: Tile) -> None:
                f.store(f.load(seen + j * 4, f.lane), made + j * 4)

            f.loop(0, panel.columns, register, step=lanes)

        f.loop(0, panel.lines, line)

    nested(f, (panel.channels, *outer), tap)


def _multiply(f: Function, conv: Conv, plan: Schedule, n: Value, panel: _Panel) -> None:
    """All filters of the group on the panel."""
    lanes, made = f.isa.lanes, conv.filters // conv.groups
    reads, (strips, rest) = conv.channels // conv.groups, divmod(made, plan.filters)
    padded = (strips + bool(rest)) * plan.filters
    strip = 4 * panel.channels * conv.taps * plan.filters
    w = f["w"] + (panel.group * reads + panel.channel) * (4 * conv.taps * padded)
    plane, width = 4 * math.prod(conv.results), conv.results[-1]
    y = f["y"] + (n * conv.filters + panel.group * made) * plane
    y = y + (panel.line * width + panel.column) * 4
    b = f["b"] + panel.group * (4 * made)
    pixels = panel.lines * panel.columns

    def block(t: Index, count: int) -> None:
        def filters(s: Index, number: int) -> None:
            places = (f["s"] + t * 4, w + s * strip, b + s * (4 * plan.filters))
            result = y + s * (plan.filters * plane) + t * 4
            _block(f, conv, plan, (*places, result), panel, (number, count))

        f.loop(0, strips, lambda s, _: filters(s, plan.filters))
        if rest:
            filters(strips, rest)

    full = pixels // (plan.pixels * lanes)
    f.loop(0, full, lambda t, _: block(t * (plan.pixels * lanes), plan.pixels * lanes))
    if pixels % (plan.pixels * lanes):
        block(full * plan.pixels * lanes, pixels % (plan.pixels * lanes))


def _block(
    f: Function,
    conv: Conv,
    plan: Schedule,
    places: tuple[Value, Value, Value, Value],
    panel: _Panel,
    size: tuple[int, int],
) -> None:
    """The register block: `size` is (filters, pixels)."""
    (seen, w, b, y), (filters, count) = places, size
    lanes, row, plane = f.isa.lanes, _row(plan, f.isa), 4 * math.prod(conv.results)
    held = [min(lanes, count - at) for at in range(0, count, lanes)]  # lanes that are pixels

    def pixel(k: int, r: int) -> Value:
        return y + (k * plane + 4 * lanes * r)

    def start(k: int, r: int) -> Value:
        if panel.first:
            return f.load_spread(b, f.lane, 4 * k)
        return widened(f, f.load(pixel(k, r), vector(F32, held[r])))

    def step(d: Value, sums: Tile) -> Tile:
        x, weights = seen + d * row, w + d * (4 * plan.filters)
        loaded = [f.load(x, f.lane, 4 * lanes * r) for r in range(len(held))]
        for k in range(filters):
            one = f.load_spread(weights, f.lane, 4 * k)
            for r, pixels in enumerate(loaded):
                at = k * len(held) + r
                sums[at] = f.fma(one, pixels, sums[at])
        return sums

    sums = [start(k, r) for k in range(filters) for r in range(len(held))]
    sums = f.loop(0, panel.channels * conv.taps, step, sums)
    for at, total in enumerate(sums):
        k, r = divmod(at, len(held))
        value = FUNCTIONS[conv.activation](f, total) if panel.last else total
        f.store(narrowed(f, value, held[r]), pixel(k, r))


def widened(f: Function, value: Value) -> Value:
    """A register whose first lanes hold these; what the others hold does not matter."""
    lanes = value.type.lanes
    if lanes == f.isa.lanes:
        return value
    if lanes == 1:
        return f.spread(value, f.isa.lanes)
    return f.permute(value, [min(lane, lanes - 1) for lane in range(f.isa.lanes)])


def narrowed(f: Function, value: Value, lanes: int) -> Value:
    """The first lanes of a register."""
    return value if lanes == value.type.lanes else f.permute(value, range(lanes))


def reference(conv: Conv, x: Array, weight: Array, bias: Array) -> Array:
    """The same, tap by tap, `[n, c, *size]` → `[n, k, *results]`, in x's precision."""
    window, groups = conv.window, conv.groups
    padded = np.pad(x, ((0, 0), (0, 0), *zip(window.before, window.after, strict=True)))
    parts = padded.reshape(len(x), groups, -1, *padded.shape[2:])
    filters = weight.reshape(groups, -1, *weight.shape[1:]).astype(x.dtype)
    y = np.zeros((len(x), groups, filters.shape[1], *conv.results), x.dtype)
    for tap in np.ndindex(*window.kernel):
        starts = [t * step for t, step in zip(tap, window.dilations, strict=True)]
        ends = zip(starts, window.strides, conv.results, strict=True)
        steps: list[Any] = [slice(s, s + by * count, by) for s, by, count in ends]
        y += np.einsum("gkc,ngc...->ngk...", filters[..., *tap], parts[..., *steps])
    y = y.reshape(len(x), conv.filters, *conv.results)
    return np.asarray(y + bias.reshape(-1, *(1,) * len(conv.results)))
