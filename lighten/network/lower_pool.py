"""Lowering rules for pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lighten.network.lower_index import take
from lighten.network.lower_layers import spread
from lighten.network.lower_math import Rule
from lighten.network.lower_step import Flow, Step, Unsupported


def pool(name: str, dims: int) -> Rule:
    """Max or average over a sliding window."""

    def rule(step: Step) -> Flow:
        x = step.flow("self", leading=True)
        if x.rank != dims + 2:
            raise Unsupported("its input has no batch dimension")
        if step.arguments.get("divisor_override"):
            raise Unsupported("a divisor is not supported")
        kernel = stated = spread(step["kernel_size"], dims)
        strides, pads = spread(step["stride"], dims, kernel), spread(step["padding"], dims)
        if not any(pads) and math.prod(step.shape[1:]) == 1:  # one window: no wider than the input
            kernel = tuple(min(k, size) for k, size in zip(kernel, x.shape[1:], strict=True))
        y = _sliding(
            step,
            x,
            function=name,
            kernel=kernel,
            strides=strides,
            pads=pads * 2,
            dilations=spread(step.arguments.get("dilation", 1), dims),
            ceil=bool(step["ceil_mode"]),
            include_pad=bool(step.arguments.get("count_include_pad", False)),
        )
        covers = any(k == size for k, size in zip(kernel, x.shape[1:], strict=True))
        known = kernel == stated and (step.stated or any(pads) or not covers)
        return y if known else step.measured(x, y)

    return rule


def adaptive(name: str, dims: int) -> Rule:
    """Pooling to a size: a reduction, a sliding window where the size divides the input's, or one
    dimension after the other with windows of unequal sizes.
    """

    def rule(step: Step) -> Flow | list[Flow]:
        x = step.flow("self", leading=True)
        new, old = step.shape[1:], x.shape[1:]
        if new == old:
            return step.measured(x, x)
        if any(a % b for a, b in zip(old, new, strict=True)):
            for axis in range(1, dims + 1):
                x = uneven(step, x, axis, new[axis - 1], name)
            return step.measured(step.flow("self"), x)
        if math.prod(new) == 1:
            function_name = "mean" if name == "average" else name
            axes = range(len(x.shape) - dims, len(x.shape))
            return step.reduce(x, function_name, axes, keepdims=True)
        kernel = tuple(a // b for a, b in zip(old, new, strict=True))
        return step.measured(x, _sliding(step, x, function=name, kernel=kernel, strides=kernel))

    return rule


def _sliding(step: Step, x: Flow, *, kernel: tuple[int, ...], **more: Any) -> Flow:
    """One window size for all; by default without padding, dilation or half windows."""
    usual = {
        "pads": (0,) * (2 * len(kernel)),
        "dilations": (1,) * len(kernel),
        "ceil": False,
        "include_pad": False,
    }
    return step.emit("pool", [x.name], step.shape, kernel=kernel, **{**usual, **more})


def uneven(step: Step, x: Flow, axis: int, new: int, name: str) -> Flow:
    """One axis in `new` windows from ⌊i · old / new⌋ to ⌈(i + 1) · old / new⌉: gathered, each as
    wide as the widest by repeating its last place, and reduced.
    """
    old = x.shape[axis]
    if new == old:
        return x
    firsts = [i * old // new for i in range(new)]
    widths = [-(-(i + 1) * old // new) - first for i, first in enumerate(firsts)]
    inside = np.arange(max(widths)) < np.array(widths)[:, None]
    places = np.array(firsts)[:, None] + np.minimum(
        np.arange(max(widths)), inside.sum(1)[:, None] - 1
    )
    windows = take(step, x, axis, places)
    if name == "max":
        return step.reduce(windows, "max", [axis + 1], keepdims=False)
    shares = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
    shares = shares.reshape(*shares.shape, *[1] * (len(x.shape) - 1 - axis))
    weighed = step.binary(windows, step.store("shares", shares), "mul", windows.shape)
    return step.reduce(weighed, "sum", [axis + 1], keepdims=False)


def first_only(rule: Rule) -> Rule:
    """For ops that return indices too: those cannot be used."""

    def only(step: Step) -> list[Flow | None]:
        return [rule(step), None]

    return only
