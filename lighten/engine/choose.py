"""Which kernel computes each convolution: the fastest measured here, else predicted to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.emit import Isa
from lighten.engine.images import image
from lighten.kernels import depthwise, direct, winograd
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window, window
from lighten.program.ir import Op, Program

Array = np.ndarray[Any, Any]

KERNELS: Sequence[Any] = (depthwise, direct, winograd)


@dataclass(frozen=True)
class Choice:
    """A kernel (a module of `kernels`), how it is run, and the halo that it reads."""

    kernel: Any
    schedule: Any
    halo: Halo
    cycles: float


def convolutions(
    program: Program, isa: Isa, measured: Callable[[Conv, Isa], Choice | None]
) -> dict[str, Choice]:
    """Op name → the kernel for it: the fastest that was measured, else the one predicted to be.

    Ops that no kernel can run are left out.
    """
    found = {}
    for op in program.ops:
        conv = convolution(program, op, isa)
        options = candidates(conv, isa) if conv is not None else []
        if conv is not None and options:
            known = measured(conv, isa)
            found[op.name] = known or min(options, key=lambda choice: choice.cycles)
    return found


def candidates(conv: Conv, isa: Isa) -> list[Choice]:
    """Every kernel with every schedule that it offers."""
    return [
        Choice(kernel, schedule, kernel.halo(conv, schedule), kernel.cycles(conv, schedule, isa))
        for kernel in KERNELS
        if kernel.accepts(conv, isa)
        for schedule in kernel.schedules(conv, isa)
    ]


def convolution(program: Program, op: Op, isa: Isa) -> Conv | None:
    """What a `conv` (or a `linear` on one vector) asks of a kernel, its layouts still bare; None
    for other ops, and for convolutions over three dimensions. The program's own input is read as it
    comes, planar, where its channels would leave most lanes empty.
    """
    if op.kind == "conv_transpose":
        return _apart(program, op, isa)
    if op.kind not in ("conv", "linear") or op.inputs[0] not in program.values:
        return None
    value = program.values[op.inputs[0]]
    source, target = image(value.shape), image(program.values[op.output].shape)
    weight = program.arrays[op.inputs[1]].shape
    if source is None or target is None or (op.kind == "linear" and len(value.shape) > 1):
        return None
    sliding = Window((1, 1)) if op.kind == "linear" else window(op, weight[2:])
    first = op.inputs[0] in program.inputs and op.kind == "conv" and 2 * source[0] <= isa.lanes
    x, y = Blocked(*source, 1 if first else isa.lanes), Blocked(*target, isa.lanes)
    added = y if op.get("residual") else None
    return Conv(x, y, sliding, op.get("groups", 1), op.get("activation", ""), added)


def _apart(program: Program, op: Op, isa: Isa) -> Conv | None:
    """A transposed convolution whose windows do not overlap, as a 1 × 1 convolution to all of its
    taps, each in whole blocks.
    """
    source = image(program.values[op.inputs[0]].shape) if op.inputs[0] in program.values else None
    weight = program.arrays[op.inputs[1]].shape
    bare = not any(op["pads"]) and not any(op["output_padding"]) and op["groups"] == 1
    if source is None or len(weight) != 4 or tuple(op["strides"]) != weight[2:] or not bare:
        return None
    channels = -(-weight[1] // isa.lanes) * isa.lanes * weight[2] * weight[3]
    x, y = Blocked(*source, isa.lanes), Blocked(channels, *source[1:], isa.lanes)
    return Conv(x, y, Window((1, 1)), 1, op.get("activation", ""))


def halos(program: Program, chosen: Mapping[str, Choice]) -> dict[str, Halo]:
    """The frame of zeros that the chosen kernels read around each value."""
    found: dict[str, Halo] = {}
    for op in program.ops:
        if op.name in chosen:
            held = found.get(op.inputs[0], Halo())
            found[op.inputs[0]] = held.covering(chosen[op.name].halo)
    return found


def settled(conv: Conv, source: Blocked, target: Blocked, residual: Blocked | None) -> Conv:
    """The convolution between these layouts."""
    return replace(conv, source=source, target=target, residual=residual)
