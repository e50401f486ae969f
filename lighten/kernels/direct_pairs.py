"""Direct convolution over pairs of channels in bfloat16 (A1): half the steps, half the weights.

    reference, one sample, x and w rounded to bfloat16, sums in float32:
        for k, i, j:
            y[k, i, j] = b[k] + Σ_c Σ_r Σ_s w[k, c, r, s] · x[c, i · stride + r, j · stride + s]

The images are rounded into the kernel's scratch, as many as are planned for at a time; then the
register block is that of `direct`, whose channels are pairs:

                 filters 0…15   16…31            per pair of channels, one load of each filter
    pixel j    [  sum  0    |  sum  1  ]         register and one broadcast of each pixel feed
    pixel j+1  [  sum  2    |  sum  3  ]         columns × blocks products of pairs
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Isa, Tile, Value, bfloat16
from lighten.kernels import direct, rounding, share
from lighten.kernels.direct import Schedule
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
ROUNDED = 3  # cycles to round two registers: loads, the rounding, a store


def accepts(conv: Conv, isa: Isa) -> bool:
    """Where there are products of pairs, what `direct` does of an even number of channels: what
    lies beyond the last would be multiplied, and may be anything.
    """
    known = bfloat16.has_pairs(isa) and direct.accepts(conv, isa)
    return known and conv.source.lanes == isa.lanes and conv.source.channels % 2 == 0


def in_pairs(conv: Conv) -> Conv:
    """The convolution whose channels are pairs."""
    return replace(conv, source=rounding.words(conv.source))


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Register blocks that fit."""
    return direct.schedules(in_pairs(conv), isa)


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What is read around the image."""
    return direct.halo(conv, schedule)


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of the rounded images."""
    return conv.batch * in_pairs(conv).source.sample


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample."""
    rounded = ROUNDED * conv.source.sample / (2 * 4 * isa.lanes)
    return direct.cycles(in_pairs(conv), schedule, isa) + rounded


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """`[filters, channels, rows, columns]` as `direct` packs words of two channels."""
    held = bfloat16.words(np.moveaxis(weight, 1, -1))
    return direct.pack(np.moveaxis(held, -1, 1), in_pairs(conv), schedule)


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`: sources, packed weights, bias, what is added,
    results, scratch; r is not read where nothing is added.
    """
    f = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa)
    round_ = rounding.emit_blocked(f"{name}_rounding", conv.source, isa)
    multiply = direct.emit(
        f"{name}_products", in_pairs(conv), schedule, isa, direct.Arithmetic(bfloat16.dot)
    )
    everyone, (*_, part, parts, team) = share.everyone(f), share.given(f)
    words = f["s"] - part * workspace(conv, schedule)  # the first part's are everyone's
    added = conv.residual.sample if conv.residual else 0

    def some(c: Value, _: Tile) -> None:
        first = c * conv.batch
        count = f["n"] - first
        count = f.select(f.less(count, conv.batch), count, f.constant(conv.batch, count.type))
        share.meet(f, everyone)  # the last ones are read
        f.run(round_, f["x"] + first * conv.source.sample, words, count, part, parts, team)
        share.meet(f, everyone)
        r, y = f["r"] + first * added, f["y"] + first * conv.target.sample
        f.run(multiply, words, f["w"], f["b"], r, y, count, part, parts, team)

    f.loop(0, (f["n"] + (conv.batch - 1)) // conv.batch, some)
    return f
