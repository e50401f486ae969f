"""Values in rows as pairs of bfloat16, beside themselves in float32."""

from __future__ import annotations

from functools import partial

from lighten.engine.images import plain
from lighten.engine.steps import View
from lighten.engine.writer import Writer
from lighten.kernels import rounding
from lighten.program.ir import Op


def in_pairs(w: Writer, op: Op, found: View) -> View:
    """The first input of an op, rounded for it; whatever else reads the value there reads the same.

    `found` is how it lies, `[rows, channels]`.
    """
    made, place = rounding.Rounding(found.steps), f"{op.inputs[0]} (bf16)"
    if place not in w.plan.layouts:
        w.plan.layouts[place] = plain(made.target.shape)
        emit = partial(rounding.emit, op=made, isa=w.plan.isa)
        w.step((op.name, "round"), (made,), emit, found.place, place)
    return View(place, made.target)
