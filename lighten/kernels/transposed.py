"""A transposed convolution as a convolution in steps of one, to all of its phases at once.

    reference, one axis of stride s:
        for t, i:  y[i · s + t · dilation − before] += w[t] · x[i]

Seen from the results: those at o = q · s + a, for one phase a of s, read x at q + (a + before −
t · dilation) / s, for the taps t where that is whole. So every phase is a convolution of x in steps
of one (sub-pixel decomposition: Shi et al. 2016), and all have one window between them, with zeros
where a phase does not read:

    stride 2, 3 taps       y  0   1   2   3   4        phase 0: w[0] · x[q] + w[2] · x[q − 1]
                              a0  a1  a0  a1  a0       phase 1: w[1] · x[q] + 0 · x[q − 1]

The results are filters of that convolution, phase by phase, to be put in their places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from lighten.kernels.volumes import Size, Slide
from lighten.program.ir import Op

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Axis:
    """One axis: the first position read, how many in which steps; (phase, tap of w, tap here)."""

    begin: int
    count: int
    step: int
    taps: tuple[tuple[int, int, int], ...]


def axis(kernel: int, stride: int, dilation: int, before: int) -> Axis:
    """How the taps of a transposed convolution's axis fall into phases.

    >>> axis(3, 2, 1, 0)
    Axis(begin=-1, count=2, step=1, taps=((0, 0, 1), (0, 2, 0), (1, 1, 1)))
    """
    read = {}
    for phase in range(stride):
        for tap in range(kernel):
            place, over = divmod(phase + before - tap * dilation, stride)
            if not over:
                read[phase, tap] = place
    begin, end = min(0, *read.values()), max(read.values())
    step = reduce(math.gcd, (place - begin for place in read.values())) or 1
    taps = tuple((*key, (place - begin) // step) for key, place in read.items())
    return Axis(begin, (end - begin) // step + 1, step, taps)


@dataclass(frozen=True)
class Phases:
    """A transposed convolution taken apart: its axes, the steps between one phase's results, and
    how many results there are.
    """

    axes: tuple[Axis, ...]
    strides: Size
    results: Size
    window: Slide

    @property
    def count(self) -> int:
        """How many phases."""
        return math.prod(self.strides)

    def corner(self, phase: int) -> Size:
        """Where a phase's first result lies."""
        return tuple(int(at) for at in np.unravel_index(phase, self.strides))

    def size(self, phase: int) -> Size:
        """How many results a phase has along each axis."""
        at = zip(self.results, self.corner(phase), self.strides, strict=True)
        return tuple(max(math.ceil((count - first) / step), 0) for count, first, step in at)

    def weights(self, weight: Array, groups: int) -> Array:
        """`[channels, filters of a group, *taps]` as `[group, phase, filter, channel, *taps]`."""
        channels, filters, *kernel = weight.shape
        given = weight.reshape(groups, channels // groups, filters, *kernel)
        taps = [axis.count for axis in self.axes]
        made = np.zeros((groups, self.count, filters, channels // groups, *taps), np.float32)
        for picked in np.ndindex(*(len(axis.taps) for axis in self.axes)):
            rows = [axis.taps[at] for axis, at in zip(self.axes, picked, strict=True)]
            phases, old, new = zip(*rows, strict=True)
            phase = int(np.ravel_multi_index(phases, self.strides))
            made[(slice(None), phase, slice(None), slice(None), *new)] = given[
                (..., *old)
            ].swapaxes(1, 2)
        return made


def phases(op: Op, kernel: Sequence[int], size: Size, results: Size) -> Phases:
    """A `conv_transpose` of these taps between images of these sizes."""
    given = zip(kernel, op["strides"], op["dilations"], op["pads"], strict=False)
    axes = tuple(axis(*row) for row in given)
    ends = []
    for a, row in enumerate(axes):
        last = math.ceil(results[a] / op["strides"][a]) - 1
        reached = last + row.begin + (row.count - 1) * row.step
        ends.append(max(reached - size[a] + 1, 0))
    window = Slide(
        tuple(row.count for row in axes),
        (1,) * len(axes),
        tuple(row.step for row in axes),
        tuple(-row.begin for row in axes),
        tuple(ends),
    )
    return Phases(axes, tuple(op["strides"]), results, window)
