"""Planar values of any number of axes, windows that slide over them, and the frame of zeros around.

    reference of `frame`, one sample, with s the last axis' stride:
        y[c, before + i, (before + j) mod s, (before + j) // s] = x[c, i, j]        zeros elsewhere

The columns are dealt out by their remainder, so that a window's taps read numbers that lie side by
side whatever the stride.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lighten.emit import F32, I64, POINTER, Function, Index, Isa, Tile, Value, vector
from lighten.kernels import share
from lighten.program.ir import Op

Size = tuple[int, ...]
SPARE = 16  # numbers that may be read beyond the last, whatever they hold


@dataclass(frozen=True)
class Slide:
    """A window over any number of axes: one number for each, padding before and after it."""

    kernel: Size
    strides: Size
    dilations: Size
    before: Size
    after: Size

    def results(self, size: Size) -> Size:
        """How many windows fit along each axis."""
        return tuple(
            (extent + self.before[a] + self.after[a] - self.reach[a]) // self.strides[a] + 1
            for a, extent in enumerate(size)
        )

    @property
    def reach(self) -> Size:
        """What one window spans along each axis."""
        pairs = zip(self.kernel, self.dilations, strict=True)
        return tuple((taps - 1) * step + 1 for taps, step in pairs)


def slide(op: Op, kernel: Sequence[int]) -> Slide:
    """The window of a conv or pool."""
    rank, pads = len(kernel), tuple(op["pads"])
    steps = tuple(op["strides"]), tuple(op["dilations"])
    return Slide(tuple(kernel), *steps, pads[:rank], pads[rank:])


@dataclass(frozen=True)
class Framed:
    """Channels of `size`, in the frame of zeros that a window reads."""

    channels: int
    size: Size
    window: Slide

    @property
    def bare(self) -> bool:
        """Whether the frame is nothing and the columns stay in their order."""
        return not any((*self.window.before, *self.window.after)) and self.window.strides[-1] == 1

    @property
    def extents(self) -> Size:
        """Numbers along each axis in memory, the last cut in (remainders, columns)."""
        window, step = self.window, self.window.strides[-1]
        whole = [extent + window.before[a] + window.after[a] for a, extent in enumerate(self.size)]
        return (*whole[:-1], step, math.ceil(whole[-1] / step))

    @property
    def bytes(self) -> Size:
        """From one number to the next along each of these axes, a channel's before them."""
        extents = self.extents
        return tuple(4 * math.prod(extents[a:]) for a in range(len(extents) + 1))

    @property
    def floats(self) -> int:
        """Numbers of one sample; a register may begin at any of them."""
        return self.channels * math.prod(self.extents) + (0 if self.bare else SPARE)

    def column(self, at: Index) -> Index:
        """Bytes to a column of the frame, counted from its left end."""
        step, (*_, apart, near) = self.window.strides[-1], self.bytes
        if step == 1:
            return at * near
        turn = at // step
        return (at - turn * step) * apart + turn * near


@dataclass(frozen=True)
class Conv:
    """`[channels, *size]` to `[filters, *results]`: `y = activation(w ∗ x + b)`."""

    channels: int
    filters: int
    size: Size
    window: Slide
    groups: int = 1
    activation: str = ""

    @property
    def results(self) -> Size:
        """Of one filter."""
        return self.window.results(self.size)

    @property
    def source(self) -> Framed:
        """What is read."""
        return Framed(self.channels, self.size, self.window)

    @property
    def taps(self) -> int:
        """Of one channel."""
        return math.prod(self.window.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.filters * math.prod(self.results) * self.channels // self.groups * self.taps


def nested(f: Function, extents: Sequence[int], body: Callable[..., None]) -> None:
    """`body(i, j, …)` for all indices below `extents`, here and now."""

    def inner(found: tuple[Value, ...]) -> None:
        if len(found) == len(extents):
            body(*found)
            return

        def step(i: Value, _: Tile) -> None:
            inner((*found, i))

        f.loop(0, extents[len(found)], step)

    inner(())


def runs(f: Function, count: int, body: Callable[[Index, int], None]) -> None:
    """`body(first, lanes)` for a row of `count` numbers: whole registers, then what is left."""
    lanes = f.isa.lanes
    whole = count - count % lanes
    f.loop(0, whole, lambda i, _: body(i, lanes), step=lanes)
    if count % lanes:
        body(whole, count % lanes)


def frame(name: str, to: Framed, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)
    window, step = to.window, to.window.strides[-1]
    width, lines = to.size[-1], to.size[:-1]

    def channel(n: Value, c: Value) -> None:
        y = f["y"] + n * (4 * to.floats) + c * to.bytes[0]
        x = f["x"] + (n * to.channels + c) * (4 * math.prod(to.size))
        fill(f, y, to.bytes[0] // 4)

        def line(*at: Value) -> None:
            begin, source = y, x
            for a, index in enumerate(at):
                begin = begin + (index + window.before[a]) * to.bytes[a + 1]
                source = source + index * (4 * math.prod(to.size[a + 1 :]))

            def run(j: Index, count: int) -> None:
                kind = vector(F32, count)
                target = begin + to.column(j + window.before[-1])
                f.store(f.load(source + j * 4, kind), target)

            if step == 1:
                runs(f, width, run)
            else:
                f.loop(0, width, lambda j, _: run(j, 1))

        nested(f, lines, line)

    share.each(f, (f["n"], to.channels), channel)
    return f


def fill(f: Function, start: Value, count: int) -> None:
    """So many zeros."""
    runs(f, count, lambda i, lanes: f.store(f.zero(vector(F32, lanes)), start + i * 4))


@dataclass(frozen=True)
class Interleaved:
    """Results `[group, phase, filter, *size]` that belong to `[group, filter, *results]`, a
    phase's in steps of `strides`; all phases are as large as the largest.
    """

    groups: int
    filters: int
    size: Size
    results: Size
    strides: Size


def interleave(name: str, of: Interleaved, isa: Isa) -> Function:
    """The kernel `name(x, y, n)`: phases to their places, along the last axis one by one."""
    f = Function(name, {**dict.fromkeys("xy", POINTER), **share.COUNT}, isa)
    phases, width, step = math.prod(of.strides), of.results[-1], of.strides[-1]
    plane, plane_made = 4 * math.prod(of.size), 4 * math.prod(of.results)

    def filter_(n: Value, g: Value, k: Value) -> None:
        y = f["y"] + ((n * of.groups + g) * of.filters + k) * plane_made
        x = f["x"] + (n * of.groups + g) * (phases * of.filters * plane) + k * plane

        def line(*at: Value) -> None:
            phase, source, target = f.constant(0, I64), x, y
            for a, index in enumerate(at):
                place = index // of.strides[a]
                phase = phase * of.strides[a] + (index - place * of.strides[a])
                source = source + place * (4 * math.prod(of.size[a + 1 :]))
                target = target + index * (4 * math.prod(of.results[a + 1 :]))
            source = source + phase * (step * of.filters * plane)
            for first in range(min(step, width)):
                seen = source + first * of.filters * plane

                def one(q: Value, _: Tile, seen: Value = seen, first: int = first) -> None:
                    f.store(f.load(seen + q * 4, F32), target + q * (4 * step), 4 * first)

                f.loop(0, math.ceil((width - first) / step), one)

        nested(f, of.results[:-1], line)

    share.each(f, (f["n"], of.groups, of.filters), filter_)
    return f
