"""Convolution in groups of whole registers: one group after the other, by kernels that know none.

    reference, one sample:
        for g: y[filters of g] = kernel(x[channels of g], w[filters of g])

So what saves products for all channels (Winograd, Fourier) saves them for groups too; for the plain
sum `grouped` needs no calls. Threads take whole groups.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.emit import I64, POINTER, Function, Index, Isa, Value
from lighten.kernels import costs, fft, share, winograd, winograd_line
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv

Array = np.ndarray[Any, Any]
KERNELS: Mapping[str, Any] = {"winograd": winograd, "winograd_line": winograd_line, "fft": fft}


@dataclass(frozen=True)
class Schedule:
    """Which kernel runs a group, and its schedule."""

    kernel: str
    group: Any

    @property
    def columns(self) -> int:
        """Tiles in a register block."""
        return int(self.group.columns)


def one(conv: Conv) -> Conv:
    """The convolution of a single group of a single sample."""
    source, target = (
        replace(layout, channels=layout.channels // conv.groups)
        for layout in (conv.source, conv.target)
    )
    added = conv.residual
    residual = None if added is None else replace(added, channels=target.channels)
    return replace(conv, source=source, target=target, residual=residual, groups=1, batch=1)


def accepts(conv: Conv, isa: Isa) -> bool:
    """Groups whose channels and filters fill registers, where one of the kernels takes them."""
    group = one(conv)
    whole = not group.source.channels % isa.lanes and not group.target.channels % isa.lanes
    return conv.groups > 1 and whole and any(k.accepts(group, isa) for k in KERNELS.values())


def schedules(conv: Conv, isa: Isa) -> list[Schedule]:
    """Every kernel with every schedule."""
    group = one(conv)
    return [
        Schedule(name, schedule)
        for name, kernel in KERNELS.items()
        if kernel.accepts(group, isa)
        for schedule in kernel.schedules(group, isa)
    ]


def halo(conv: Conv, schedule: Schedule) -> Halo:
    """What the kernel reads around the image."""
    found = KERNELS[schedule.kernel].halo(one(conv), schedule.group)
    assert isinstance(found, Halo)
    return found


def workspace(conv: Conv, schedule: Schedule) -> int:
    """Bytes of one group's."""
    return int(KERNELS[schedule.kernel].workspace(one(conv), schedule.group))


def cycles(conv: Conv, schedule: Schedule, isa: Isa) -> float:
    """A rough prediction for one sample: every group's, and reading the weights of all, which are
    small pieces and come half as fast.
    """
    group = one(conv)
    each = float(KERNELS[schedule.kernel].cycles(group, schedule.group, isa))
    return conv.groups * each + costs.far(2 * conv.groups * _bytes(group, schedule))


def pack(weight: Array, conv: Conv, schedule: Schedule) -> Array:
    """Each group's weights as its kernel wants them."""
    kernel, group = KERNELS[schedule.kernel], one(conv)
    parts = np.split(weight, conv.groups)
    return np.stack([kernel.pack(part, group, schedule.group) for part in parts])


@functools.cache
def _bytes(group: Conv, schedule: Schedule) -> int:
    """Of one group's packed weights."""
    shape = (group.target.channels, group.source.channels, *group.window.kernel)
    packed = KERNELS[schedule.kernel].pack(np.zeros(shape, np.float32), group, schedule.group)
    return int(packed.nbytes)


def emit(name: str, conv: Conv, schedule: Schedule, isa: Isa) -> Function:
    """The kernel `name(x, w, b, r, y, s, …)`, as in `direct`; s is the group's workspace."""
    f, group = Function(name, {**dict.fromkeys("xwbrys", POINTER), **share.COUNT}, isa), one(conv)
    kernel = KERNELS[schedule.kernel].emit(f"{name}_group", group, schedule.group, isa)
    alone = [f.constant(number, I64) for number in (1, 0, 1)]  # one sample, by one part
    weights, filters = _bytes(group, schedule), 4 * group.target.channels

    def call(n: Value, g: Index) -> None:
        layouts = [(conv.source, group.source), (conv.target, group.target)]
        if conv.residual is not None and group.residual is not None:
            layouts.append((conv.residual, group.residual))
        x, y, *added = (
            f[which] + n * whole.sample + g * (part.blocks * whole.block)
            for which, (whole, part) in zip("xyr", layouts, strict=False)
        )
        stored = f["w"] + g * weights, f["b"] + g * filters
        f.run(kernel, x, *stored, *(added or [f["r"]]), y, f["s"], *alone, f["team"])

    share.each(f, (f["n"], conv.groups), call)
    return f
