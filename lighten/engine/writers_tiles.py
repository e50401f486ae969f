"""What ops over images in tiles become: convolutions that skip zeros, crops between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lighten.engine.tiles import Choice, weight_of
from lighten.engine.writer import Writer
from lighten.kernels import quads, requantize, tile_moves
from lighten.program import integers
from lighten.program.ir import Op

Array = np.ndarray[Any, Any]


def _conv(w: Writer, op: Op) -> bool:
    choice, isa = w.plan.tiling.convs[op.name], w.plan.isa
    residual = op.get("residual")
    x = w.in_tiles(op.inputs[0])
    added = w.in_tiles(residual) if residual else ""
    choice, ends = _ends(w, op, choice)
    kernel, conv, schedule = choice.kernel, choice.conv, choice.schedule
    weight = kernel.pack(weight_of(op, w.plan.program), conv, schedule)
    held = w.packed(f"{op.name} weight", weight)
    b = w.packed(f"{op.name} bias", ends)
    given = [x, held, b, added or b, w.make_tiles(op.output)]
    if kernel.workspace(conv, schedule):
        given.append(f"{op.name} scratch")
        w.plan.scratch[given[-1]] = kernel.workspace(conv, schedule)
    emit = partial(kernel.emit, conv=conv, schedule=schedule, isa=isa)
    name = kernel.__name__.rsplit(".", 1)[-1]
    w.step((op.name, name), (conv, schedule), emit, *given)
    return True


def _ends(w: Writer, op: Op, choice: Choice) -> tuple[Choice, Array]:
    """The convolution with what is left of its activation, and what is read with its sums."""
    conv, program = choice.conv, w.plan.program
    width = conv.target.groups * conv.target.together
    if conv.source.together == quads.CODES:
        made = integers.layer(op, program)
        conv = replace(conv, activation=made.activation)
        ends = requantize.pack(made.bias, made.multiplier, made.ends, width)
        return replace(choice, conv=conv), ends
    stored = len(op.inputs) > 2 and op.inputs[2]
    bias = w.array(op.inputs[2]) if stored else np.zeros(width, np.float32)
    return choice, bias


def _crop(w: Writer, op: Op) -> bool:
    made, blank = w.plan.tiling.crops[op.name], w.blank_word(op.output)
    x = w.in_tiles(op.inputs[0])
    emit = partial(tile_moves.crop, op=made, blank=blank, isa=w.plan.isa)
    w.step((op.name, "crop"), (made, blank), emit, x, w.make_tiles(op.output))
    return True


TILES: Mapping[str, Callable[[Writer, Op], bool]] = {"conv": _conv, "crop": _crop}
