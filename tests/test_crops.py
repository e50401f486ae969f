"""Shortcuts that are cut and padded: one move, and an addition that waits for them."""

from __future__ import annotations

import numpy as np
import pytest

from lighten.emit import host
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.engine.steps import Step
from lighten.program import Builder, Program, interpret
from tests.test_engine import error

SLIDING = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}
SHIFTS = (8, 4, 3)  # channels padded in front: half a register, a quarter, no part of one


def conv(b: Builder, x: str, name: str, size: tuple[int, int], step: int = 1) -> str:
    filters, channels = size
    draw = np.random.default_rng(len(name)).normal(size=(filters, channels, 3, 3)) / 12
    w = b.store(f"{name}.w", draw.astype(np.float32))
    return b.op("conv", x, w, name=name, **{**SLIDING, "strides": (step, step)})


def cut(b: Builder, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    return b.op("slice", x, axis=axis, start=start, stop=stop, step=step)


def block(shift: int, shared: bool = False, shown: bool = False, value: float = 0.0) -> Program:
    """A strided block whose shortcut begins in its second row and is cut twice along the columns;
    the first cut may be read by another op, or be a result.
    """
    b = Builder()
    x = conv(b, b.input("x", (16, 12, 12)), "first", (16, 16))
    y = conv(b, x, "second", (16 + 2 * shift, 16), step=2)
    rows = cut(b, x, 1, 1, 12, 2)
    columns = cut(b, cut(b, cut(b, x, 1, 1, 12, 2), 2, 0, 12, 2), 2, 1, 6)
    last = cut(b, y, 2, 0, 5)
    padded = b.op("pad", columns, pads=(shift, 0, 0, shift, 0, 0), value=value)
    results = [b.op("binary", last, padded, function="add", activation="relu")]
    whole = b.op("pad", cut(b, rows, 2, 0, 12, 2), pads=(shift, 0, 0, shift, 0, 0), value=0.0)
    results.append(b.op("binary", y, whole, function="add", activation="relu"))
    if shared:
        results.append(b.op("unary", rows, function="tanh"))
    return b.finish(*results, *([rows] if shown else []))


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("more", [{}, {"shared": True}, {"shown": True}, {"value": 0.5}])
def test_it_means_the_same(shift: int, more: dict[str, bool]) -> None:
    program = block(shift, **more)
    x = np.random.default_rng(0).normal(size=(2, 16, 12, 12)).astype(np.float32)
    network = Network(plan(program, host()))
    for _ in range(2):
        for found, exact in zip(network(x), interpret(program, x), strict=True):
            assert error(found, exact) < 1e-5


def test_a_shortcut_is_one_move_and_its_addition_no_step() -> None:
    b = Builder()
    x = conv(b, b.input("x", (16, 12, 12)), "first", (16, 16))
    y = conv(b, x, "second", (32, 16), step=2)
    cropped = cut(b, cut(b, x, 1, 0, 12, 2), 2, 0, 12, 2)
    padded = b.op("pad", cropped, name="shortcut", pads=(8, 0, 0, 8, 0, 0), value=0.0)
    program = b.finish(b.op("binary", y, padded, function="add", activation="relu"))
    steps = plan(program, host()).steps
    kinds = [(step.op, step.key[0]) for step in steps if isinstance(step, Step)]
    assert sum(kind == ("shortcut", "move") for kind in kinds) == 1
    assert not any(kind == "binary" for _, kind in kinds)
    assert not any("slice" in op for op, _ in kinds)
