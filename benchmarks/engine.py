"""Whole networks in our engine beside the runtimes, in alternation: time, error, memory.

python benchmarks/engine.py [--only NAME …]     about half an hour
python benchmarks/engine.py --quick             four networks, batch 1, onnxruntime and OpenVINO
python benchmarks/engine.py --threads 1 2       all on one thread, then all on two: a table each

Weights are seeded noise: nothing here depends on them but the error, which is max |y − y64| / max
|y64| against the network in float64. The peers beside onnxruntime and OpenVINO (in float32) are
PyTorch and torch.compile with its weights frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import common
import engine_cases
import numpy as np
import torch
from engine_cases import CASES, Arrays

from lighten import backends
from lighten.backends.native import Native
from lighten.emit import host
from lighten.engine import tuning
from lighten.measure import latency
from lighten.network import lower

OURS, PEERS = "native", ("onnxruntime", "openvino")
TORCH = ("torch", "torch.compile")  # the latter on one sample and one thread: it takes its time
SECONDS, ROUNDS, TUNE = 1.5, 10, 60.0


class Torch:
    """The network in torch, as its user would call it."""

    def __init__(self, net: Callable[..., torch.Tensor], threads: int) -> None:
        self.net, self.threads = net, threads

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        with torch.inference_mode():
            return (self.net(*map(torch.from_numpy, inputs)).numpy(),)

    def profile(self, inputs: Any, runs: int = 50) -> dict[str, float]:
        return {}


def double(net: torch.nn.Module, inputs: Arrays) -> Any:
    """What the network gives in float64."""
    wide = [torch.from_numpy(x.astype(np.float64) if x.dtype == np.float32 else x) for x in inputs]
    with torch.inference_mode():
        return copy.deepcopy(net).double()(*wide).numpy()


def measured(name: str, batch: int, threads: int, *, quick: bool) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table; kernels are timed first, at most `TUNE` seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    case = CASES[name]
    net, x = case.make().eval(), case.inputs(batch)
    example = tuple(torch.from_numpy(given[:1].repeat(2, 0)) for given in x)
    program = lower(net, example if len(example) > 1 else example[0])
    tuning.tune(program, host(), TUNE)
    ours = Native().compile(program, threads)
    held: dict[str, Any] = {OURS: ours}
    here = [peer for peer in PEERS if peer in backends.available()]
    held |= {peer: backends.get(peer).compile(program, threads) for peer in here}
    held["torch"] = Torch(net, threads)
    if not quick and (batch, threads) == (1, 1):
        held["torch.compile"] = backends.get("torch.compile").compile(program, threads)
        held["torch.compile"](*x)  # compiles
    timings = latency.interleave(held, x, SECONDS, ROUNDS, apart=True)
    found = {who: timings.latency(who) for who in held}
    exact = double(net, x)
    error = float(np.abs(ours(*x)[0] - exact).max() / np.abs(exact).max())
    peers = {who: one.median_ms for who, one in found.items() if who != OURS}
    what = f"{name}, batch {batch}" + (f", {threads} threads" if threads > 1 else "")
    row = common.row(what, "ms", found[OURS].median_ms, peers, spread=found[OURS].spread_ms)
    row["threads"] = threads
    against = timings.ratio(str(row["best"]), to=OURS)
    row |= {"error": error, "interval": [against.interval.low, against.interval.high]}
    row |= {"interpreted": len(ours.plan.interpreted), "arena": ours.arena_bytes(batch)}
    columns = [*here, *TORCH[: 1 if quick else 2]]
    cells = [f"{peers[p]:.3f}" if p in peers else "–" for p in columns]
    cells.insert(0, f"{found[OURS].median_ms:.3f}")
    ratio = f"**{against.value:.2f}** [{against.interval.low:.2f}, {against.interval.high:.2f}]"
    last = [ratio, f"{error:.1e}", str(row["interpreted"]), f"{row['arena'] / 1e6:.2f}"]
    return row, [str(row["case"]), *cells, *last]


def table(rows: list[common.Row], lines: list[list[str]]) -> str:
    """The rows, and the geometric mean of the ratios of the medians."""
    heads = ["network", "ours, ms", *(f"{p}, ms" for p in rows[0]["peers"])]
    heads += ["best peer ÷ ours [95 %]", "error", "ops interpreted", "arena, MB"]
    mean = np.exp(np.mean(np.log([row["ratio"] for row in rows])))
    return f"{common.markdown(heads, lines)}\n\nGeometric mean of the ratios: **{mean:.2f}**."


def main() -> None:
    """Measure every network, print and write a table for each number of threads."""
    engine_cases.run("engine", __doc__ or "", measured, table)


if __name__ == "__main__":
    common.run(main)
