"""Whole networks in int8, ours beside the runtimes, in alternation: time and error.

python benchmarks/int8.py [--only NAME …]       about half an hour
python benchmarks/int8.py --quick               four networks, batch 1

The networks and their seeded noise are those of `engine.py`. Each is quantized by our own
post-training quantization, calibrated on its input. OpenVINO runs it from an ONNX file of QDQ in
two forms, with sums rounded before additions and not, and onnxruntime the form that it has kernels
for; the faster counts. Errors are max |y − f| / max |f|, ours and OpenVINO's, where f is what our
engine answers in float: weights are noise, so they say how coarse 8 bits are, not what a trained
network loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import common
import engine_cases
import numpy as np
import torch
from engine_cases import CASES

from lighten import backends
from lighten.backends.eager import activations
from lighten.backends.native import Native
from lighten.emit import integers
from lighten.engine import tuning
from lighten.measure import latency
from lighten.network import lower
from lighten.program import Program
from lighten.program.fuse import fuse
from lighten.program.quantize import quantization

OURS, FLOAT = "native int8", "native float"
SECONDS, ROUNDS, TUNE = 1.5, 10, 60.0


def contestants(
    program: Program, x: tuple[Any, ...], threads: int, *, quick: bool
) -> Mapping[str, Any]:
    """What is timed, by name: the fused program and its quantized forms, compiled."""
    forms = {
        joins: quantization(program, [x], run=activations, joins=joins) for joins in (True, False)
    }
    tuning.tune(forms[True], integers.instructions(), TUNE)
    held: dict[str, Any] = {OURS: Native().compile(forms[True], threads)}
    held[FLOAT] = Native().compile(program, threads)
    there = backends.available()
    if "openvino" in there:
        peer = backends.get("openvino")
        held["openvino int8, joined"] = peer.compile(forms[True], threads)
        held["openvino int8"] = peer.compile(forms[False], threads)
    if "onnxruntime" in there and not quick:
        held["onnxruntime int8"] = backends.get("onnxruntime").compile(forms[False], threads)
    return held


def measured(name: str, batch: int, threads: int, *, quick: bool) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table; kernels are timed first, at most `TUNE` seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    case = CASES[name]
    net, x = case.make().eval(), case.inputs(batch)
    example = tuple(torch.from_numpy(given[:1].repeat(2, 0)) for given in x)
    program = fuse(lower(net, example if len(example) > 1 else example[0]))
    held = contestants(program, case.inputs(1), threads, quick=quick)
    timings = latency.interleave(held, x, SECONDS, ROUNDS, apart=True)
    found = {who: timings.latency(who) for who in held}
    exact = held[FLOAT](*x)[0]
    errors = {
        who: float(np.abs(held[who](*x)[0] - exact).max() / np.abs(exact).max()) for who in held
    }
    peers = {who: one.median_ms for who, one in found.items() if who not in (OURS, FLOAT)}
    what = f"{name}, batch {batch}" + (f", {threads} threads" if threads > 1 else "")
    row = common.row(what, "ms", found[OURS].median_ms, peers, spread=found[OURS].spread_ms)
    against = timings.ratio(str(row["best"]), to=OURS)
    row |= {"threads": threads, "error": errors[OURS], "float_ms": found[FLOAT].median_ms}
    row |= {"interval": [against.interval.low, against.interval.high]}
    cells = [f"{found[who].median_ms:.3f}" for who in (OURS, FLOAT, *peers)]
    ratio = f"**{against.value:.2f}** [{against.interval.low:.2f}, {against.interval.high:.2f}]"
    return row, [what, *cells, ratio, f"{errors[OURS]:.1e}", f"{errors[str(row['best'])]:.1e}"]


def table(rows: list[common.Row], lines: list[list[str]]) -> str:
    """The rows, and the geometric mean of the ratios of the medians."""
    heads = ["network", "ours, ms", "ours in float, ms", *(f"{p}, ms" for p in rows[0]["peers"])]
    heads += ["best peer ÷ ours [95 %]", "error", "the peer's"]
    mean = np.exp(np.mean(np.log([row["ratio"] for row in rows])))
    least = min(row["ratio"] for row in rows)
    told = f"Geometric mean of the ratios: **{mean:.2f}**, the least {least:.2f}."
    return f"{common.markdown(heads, lines)}\n\n{told}"


def main() -> None:
    """Measure every network, print and write a table for each number of threads."""
    engine_cases.run("int8", __doc__ or "", measured, table)


if __name__ == "__main__":
    common.run(main)
