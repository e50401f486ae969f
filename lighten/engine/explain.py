"""A compiled network told op by op: which kernel, how long, how near to what the core can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lighten.engine import tuning
from lighten.engine.executable import Array, Network
from lighten.engine.plan import Interpreted, Plan, Step
from lighten.kernels.shapes import Conv


@dataclass(frozen=True)
class Told:
    """One op: what runs it, in which schedule, milliseconds, and multiply-accumulates per sample.

    `gflops` counts the multiply-adds of the sum itself, whatever the algorithm saves: a Winograd
    convolution may exceed the core's peak. `error` is the kernel's measured one, `fastest` its
    milliseconds when it was timed alone and `tried` all that were timed for this convolution; none
    before `lighten tune`.
    """

    op: str
    kernel: str
    schedule: str
    milliseconds: float
    macs: int
    gflops: float
    error: float | None = None
    tried: tuple[tuning.Found, ...] = ()
    fastest: float | None = None


def explain(network: Network, inputs: Sequence[Array], runs: int = 50) -> list[Told]:
    """Every op of a network in its order, timed on these inputs."""
    times = network.profile(inputs, runs)
    count = len(inputs[0])
    told: dict[str, Told] = {}
    for step in network.plan.steps:
        name = _op(step)
        made = _told(step, times, count, network.plan)
        held = told.get(name)
        if held is None or held.kernel in ("move", "clear", "fill", "frame"):
            told[name] = made
    return list(told.values())


def _op(step: Step | Interpreted) -> str:
    return step.op.name if isinstance(step, Interpreted) else step.op


def _told(step: Step | Interpreted, times: Mapping[str, float], count: int, plan: Plan) -> Told:
    name = _op(step)
    milliseconds = times.get(name, 0.0)
    if isinstance(step, Interpreted):
        return Told(name, "interpreted", "", milliseconds, 0, 0.0)
    conv = next((part for part in step.key if isinstance(part, Conv)), None)
    macs = conv.macs if conv is not None else 0
    rate = 2e-6 * macs * count / milliseconds if milliseconds else 0.0
    told = Told(name, step.kernel, _schedule(step.key), milliseconds, macs, rate)
    choice = plan.chosen.get(name)
    if conv is None or choice is None:
        return told
    tried = tuple(tuning.recall(tuning.plainly(choice.conv), plan.isa) or ())
    mine = next((one for one in tried if one.name == choice.name), None)
    if mine is None:
        return replace(told, tried=tried)
    return replace(told, tried=tried, error=mine.error, fastest=mine.milliseconds)


def _schedule(key: tuple[Any, ...]) -> str:
    """A convolution's schedule in short: `F(4,3) 4×6, 2 rows`, `16×16 4×6, 2 rows` of an FFT."""
    conv = next((part for part in key if isinstance(part, Conv)), None)
    if conv is None:
        return ""
    schedule = key[-1]
    outputs, rows = getattr(schedule, "outputs", 0), getattr(schedule, "rows", 0)
    blocks = getattr(schedule, "blocks", 1)
    block = f"{blocks}×{schedule.columns}"
    size = getattr(schedule, "size", ())
    if size:
        return f"{'×'.join(map(str, size))} {block}, {rows} row(s)"
    if not outputs:
        return block
    return f"F({outputs},{max(conv.window.kernel)}) {block}, {rows} row(s)"
