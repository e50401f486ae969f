"""What the rarer ops on images become, and the call of a convolution's kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from lighten.engine.choose import Array, Choice, apart, in_phases, settled
from lighten.engine.plan import Writer
from lighten.kernels import moves, transposed
from lighten.kernels.shapes import Conv
from lighten.program.ir import Op


def call(
    w: Writer,
    op: Op,
    chosen: tuple[Conv, Choice],
    stored: tuple[Array, Array],
    names: tuple[str, str, str],
) -> None:
    """Call a convolution's kernel on its weight and bias; names of x, of what is added, of y."""
    (conv, choice), (weight, bias), (x, added, y) = chosen, stored, names
    kernel, schedule, isa = choice.kernel, choice.schedule, w.plan.isa
    held = f"{op.name} weight"
    w.plan.packed[held] = kernel.pack(weight, conv, schedule)
    bias_name = w.per_channel(f"{op.name} bias", bias)
    given = [x, held, bias_name, added or bias_name, y]
    if kernel.workspace(conv, schedule):
        scratch = f"{op.name} scratch"
        w.plan.scratch[scratch] = kernel.workspace(conv, schedule)
        given.append(scratch)
    name = kernel.__name__.rsplit(".", 1)[-1]
    w.step(
        (op.name, name),
        (conv, schedule),
        partial(kernel.emit, conv=conv, schedule=schedule, isa=isa),
        *given,
    )


def _conv_transpose(w: Writer, op: Op) -> bool:
    """A convolution to all phases, whose results are then put in their places."""
    choice = w.plan.chosen.get(op.name)
    if choice is None:
        return False
    made, groups = in_phases(w.plan.program, op), op["groups"]
    weight = w.array(op.inputs[1])
    bias = w.array(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else 0.0
    filters = weight.shape[1]
    wide = apart(filters, groups, w.plan.isa.lanes)
    held = np.zeros(
        (groups, made.count, wide, weight.shape[0] // groups, *choice.conv.window.kernel),
        np.float32,
    )
    turned = made.weights(weight, groups)
    held[:, :, :filters] = turned.reshape(*turned.shape[:4], *choice.conv.window.kernel)
    shift = np.zeros((groups, made.count, wide), np.float32)
    shift[:, :, :filters] = np.broadcast_to(bias, groups * filters).reshape(groups, 1, filters)
    name, source = w.read(op.inputs[0])
    phases, target = f"{op.name} phases", w.make(op.output)
    w.plan.layouts[phases] = choice.conv.target
    conv = settled(choice.conv, source, choice.conv.target, None)
    stored = held.reshape(-1, *held.shape[3:]), shift.reshape(-1)
    call(w, op, (conv, choice), stored, (name, "", phases))
    for box in _places(made, conv, target, (groups, filters, wide)):
        w.box(op.name, box, phases, op.output)
    return True


def _places(
    made: transposed.Phases, conv: Conv, target: moves.Blocked, sizes: tuple[int, int, int]
) -> list[moves.Move]:
    """Where each phase of each group goes; groups of few filters are taken filter by filter."""
    groups, filters, wide = sizes
    boxes = []
    for phase in range(made.count):
        corner, size = ((0, *made.corner(phase))[-2:], (1, *made.size(phase))[-2:])
        steps = (1, *made.strides)[-2:]
        if not all(size):
            continue
        per_filter = groups > filters
        for part in range(filters if per_filter else groups):
            first = phase * wide + part if per_filter else (part * made.count + phase) * wide
            boxes.append(
                moves.Move(
                    conv.target,
                    target,
                    (groups if per_filter else filters, *size),
                    (first, 0, 0),
                    (made.count * wide if per_filter else 1, 1, 1),
                    (part if per_filter else part * filters, *corner),
                    (filters if per_filter else 1, *steps),
                )
            )
    return boxes


IMAGES: Mapping[str, Callable[[Writer, Op], bool]] = {
    "conv_transpose": _conv_transpose,
}
