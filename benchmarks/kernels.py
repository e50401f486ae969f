"""One convolution at a time: every kernel of ours, and a stack of eight beside the runtimes.

python benchmarks/kernels.py            about three minutes
python benchmarks/kernels.py --quick    three shapes

The stack (eight equal layers, as one network) is what `ours` and the peers' numbers are, divided by
eight, so that a call's own cost weighs little; the kernels of ours are timed one by one.
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import torch
from torch import nn

from lighten import backends
from lighten.backends.native import Native
from lighten.emit import host
from lighten.engine import choose, tuning
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv, Window
from lighten.measure import latency
from lighten.network import lower

# channels, rows and columns, taps, groups
CASES = {
    "64 · 56² · 64, 3 × 3": (64, 56, 3, 1),
    "16 · 32² · 16, 3 × 3": (16, 32, 3, 1),
    "32 · 16² · 32, 3 × 3": (32, 16, 3, 1),
    "64 · 8² · 64, 3 × 3": (64, 8, 3, 1),
    "256 · 14² · 256, 3 × 3": (256, 14, 3, 1),
    "512 · 7² · 512, 3 × 3": (512, 7, 3, 1),
    "256 · 14² · 256, 1 × 1": (256, 14, 1, 1),
    "144 · 56², depthwise": (144, 56, 3, 144),
}
QUICK = 3
LAYERS, SECONDS = 8, 1.5


def stack(channels: int, taps: int, groups: int) -> nn.Module:
    """Eight equal layers, each with its ReLU."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers.append(nn.Conv2d(channels, channels, taps, padding=taps // 2, groups=groups))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers).eval()


def measured(name: str) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table."""
    channels, side, taps, groups = CASES[name]
    x = np.random.default_rng(0).standard_normal((1, channels, side, side)).astype(np.float32)
    program = lower(stack(channels, taps, groups), torch.from_numpy(x.repeat(2, 0)))
    tuning.tune(program, host(), 120.0)
    held: dict[str, Any] = {"native": Native().compile(program)}
    for peer in ("onnxruntime", "openvino"):
        if peer in backends.available():
            held[peer] = backends.get(peer).compile(program)
    timings = latency.interleave(held, (x,), SECONDS)
    times = {who: timings.latency(who).median_ms / LAYERS for who in held}
    spread = timings.latency("native").spread_ms / LAYERS
    ours = times.pop("native")
    row = common.row(name, "ms", ours, times, spread=spread)
    kernels = one_by_one(channels, side, taps, groups)
    row["kernels"] = kernels
    cells = [f"{kernels[k]:.4f}" if k in kernels else "" for k in COLUMNS]
    line = [name, *cells, f"{ours:.4f}", *(f"{t:.4f}" for t in times.values())]
    return row, [*line, f"**{row['ratio']:.2f}**"]


COLUMNS = ("direct", "depthwise", "F(2,3)", "F(4,3)", "F(6,3)")


def one_by_one(channels: int, side: int, taps: int, groups: int) -> dict[str, float]:
    """Milliseconds of each kernel in its best schedule."""
    isa = host()
    layout = Blocked(channels, side, side, isa.lanes)
    conv = Conv(layout, layout, Window((taps, taps), pads=(taps // 2,) * 4), groups)
    best: dict[str, float] = {}
    for choice in choose.candidates(conv, isa):
        found = tuning.measure(choice, isa)
        outputs = getattr(choice.schedule, "outputs", 0)
        kernel = f"F({outputs},{taps})" if outputs else found.name.split()[0]
        best[kernel] = min(found.milliseconds, best.get(kernel, float("inf")))
    return best


def main() -> None:
    """Measure every shape, print and write the table."""
    args = common.parser("kernels", __doc__ or "").parse_args()
    rows, lines = [], []
    for name in list(CASES)[: QUICK if args.quick else None]:
        row, line = measured(name)
        rows.append(row)
        lines.append(line)
        print(" | ".join(line), flush=True)
    heads = ["channels · side² · filters", *(f"{c}, ms" for c in COLUMNS), "ours in a stack, ms"]
    heads += [*(f"{p}, ms" for p in rows[0]["peers"]), "best peer ÷ ours"]
    common.publish("kernels", args, rows, common.markdown(heads, lines), summed_up=False)


if __name__ == "__main__":
    common.run(main)
