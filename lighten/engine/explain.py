"""A compiled network told op by op: which kernel, how long, how near to what the core can do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.engine import ceiling, tuning
from lighten.engine.executable import Array, Network
from lighten.engine.steps import Interpreted, Plan, Step
from lighten.engine.writer import value_in_tiles
from lighten.kernels import sparse_linear
from lighten.kernels.shapes import Conv
from lighten.kernels.tile_schedule import Schedule as TileSchedule
from lighten.program.cost import op_macs
from lighten.program.interpret import interpret
from lighten.program.ir import Program


@dataclass(frozen=True)
class Told:
    """One op: what runs it, in which schedule, milliseconds, and multiply-accumulates per sample.

    `format` is what is multiplied, "int8" or "float32". `gflops` counts the multiply-adds of the
    sum itself, whatever the algorithm saves, and `ceiling` is its share of what the cores in use
    can do in that format: a Winograd convolution may exceed 1. `error` is the kernel's measured
    one, `fastest` its milliseconds when it was timed alone, `chosen` its name among `tried`, all
    that were timed for this convolution; none before `lighten tune`. `layout` is how its result
    lies: in blocks of channels, or in rows.
    """

    op: str
    kernel: str
    schedule: str
    milliseconds: float
    macs: int
    gflops: float
    ceiling: float = 0.0
    error: float | None = None
    tried: tuple[tuning.Found, ...] = ()
    fastest: float | None = None
    chosen: str = ""
    layout: str = ""
    format: str = "float32"


def explain(network: Network, inputs: Sequence[Array], runs: int = 50) -> list[Told]:
    """Every op of a network in its order, timed on these inputs."""
    times = network.profile(inputs, runs)
    count = len(inputs[0])
    told: dict[str, Told] = {}
    for step in network.plan.steps:
        name = _op(step)
        made = _told(step, times, (count, network.threads), network.plan)
        held = told.get(name)
        if held is None or held.kernel in ("move", "clear", "fill", "frame", "round", "tile"):
            told[name] = made
    return list(told.values())


def _op(step: Step | Interpreted) -> str:
    return step.op.name if isinstance(step, Interpreted) else step.op


def _told(
    step: Step | Interpreted, times: Mapping[str, float], use: tuple[int, int], plan: Plan
) -> Told:
    (count, threads), name = use, _op(step)
    milliseconds, macs = times.get(name, 0.0), _macs(plan.program, name)
    rate = 2e-6 * macs * count / milliseconds if milliseconds else 0.0
    form = "float32" if isinstance(step, Interpreted) else _format(step.kernel)
    share = rate / (threads * CEILINGS[form](plan.isa))
    if isinstance(step, Interpreted):
        return Told(name, "interpreted", "", milliseconds, macs, rate, share)
    told = Told(name, step.kernel, _schedule(step.key), milliseconds, macs, rate, share)
    told = replace(told, layout=_layout(plan, step.arguments), format=form)
    choice = plan.chosen.get(name)
    if choice is None:
        return told
    told = replace(told, chosen=choice.name)
    tried = tuple(tuning.recall(tuning.plainly(choice.conv), plan.isa) or ())
    mine = next((one for one in tried if one.name == choice.name), None)
    if mine is None:
        return replace(told, tried=tried)
    return replace(told, tried=tried, error=mine.error, fastest=mine.milliseconds)


CEILINGS = {"float32": ceiling.gflops, "int8": ceiling.gops, "signs": ceiling.signs}


def _format(kernel: str) -> str:
    """What a kernel multiplies."""
    if kernel == "binary":
        return "signs"
    return "int8" if kernel.endswith("_codes") or kernel == "block_sparse" else "float32"


def _layout(plan: Plan, places: Sequence[str]) -> str:
    """How the last of a kernel's values lies: the one that it writes."""
    held = [place for place in places if place in plan.layouts]
    cut = plan.tiling.values.get(value_in_tiles(held[-1])) if held else None
    if cut is not None:
        return f"tiles of {cut.tile[0]}×{cut.tile[1]}"
    lanes = [plan.layouts[place].lanes for place in places if place in plan.layouts]
    return f"blocks of {lanes[-1]}" if lanes and lanes[-1] > 1 else "rows"


def _macs(program: Program, name: str) -> int:
    """Multiply-accumulates of the op of that name; none of an input's."""
    op = next((op for op in program.ops if op.name == name), None)
    if op is not None and op.kind == "attention":  # q · kᵀ, then · v
        q, _, v = (program.values[value].shape for value in op.inputs[:3])
        return math.prod(q[:-1]) * v[-2] * (q[-1] + v[-1])
    return op_macs(op, program) if op is not None else 0


def error(network: Network, program: Program, inputs: Sequence[Array]) -> float:
    """How far the outputs for the first of these samples are from the program's in float64: the
    largest difference, in parts of the largest number.
    """
    first = [np.asarray(x)[:1] for x in inputs]
    pairs = zip(network(*first), interpret(program, *first), strict=True)
    return max(
        float(np.abs(y - right).max(initial=0.0) / max(np.abs(right).max(initial=0.0), 1e-30))
        for y, right in pairs
    )


def _schedule(key: tuple[Any, ...]) -> str:
    """A convolution's schedule in short: `F(4×2,3) 4×6, 2 rows`, `16×16 4×6, 2 rows` of an FFT."""
    schedule = key[-1]
    if isinstance(schedule, TileSchedule):
        return f"{schedule.rows}×{schedule.columns} cells"
    conv = next((part for part in key if isinstance(part, Conv)), None)
    if conv is None or isinstance(schedule, sparse_linear.Schedule):
        return ""
    outputs, rows = getattr(schedule, "outputs", 0), getattr(schedule, "rows", 0)
    blocks = getattr(schedule, "blocks", 1)
    block = f"{blocks}×{schedule.columns}"
    size = getattr(schedule, "size", ())
    if size:
        return f"{'×'.join(map(str, size))} {block}, {rows} row(s)"
    if not outputs:
        return f"{block}, {rows} rows" if rows > 1 else block
    return f"F({_short(outputs)},{_short(conv.window.kernel)}) {block}, {rows} row(s)"


def _short(size: int | tuple[int, int]) -> str:
    """Down and along, once where they are the same; along one axis, its own."""
    sizes = (size,) if isinstance(size, int) else tuple(dict.fromkeys(size))
    return "×".join(map(str, sizes))
