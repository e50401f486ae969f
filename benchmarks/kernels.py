"""One convolution at a time: every kernel of ours, and a stack of eight beside the runtimes.

python benchmarks/kernels.py            about six minutes
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

# channels, size of the image, taps, groups
CASES = {
    "64 · 56² · 64, 3 × 3": (64, (56, 56), (3, 3), 1),
    "16 · 32² · 16, 3 × 3": (16, (32, 32), (3, 3), 1),
    "32 · 16² · 32, 3 × 3": (32, (16, 16), (3, 3), 1),
    "64 · 8² · 64, 3 × 3": (64, (8, 8), (3, 3), 1),
    "256 · 14² · 256, 3 × 3": (256, (14, 14), (3, 3), 1),
    "512 · 7² · 512, 3 × 3": (512, (7, 7), (3, 3), 1),
    "64 · 56² · 64, 1 × 1": (64, (56, 56), (1, 1), 1),
    "256 · 28² · 256, 1 × 1": (256, (28, 28), (1, 1), 1),
    "512 · 14² · 512, 1 × 1": (512, (14, 14), (1, 1), 1),
    "144 · 56², depthwise": (144, (56, 56), (3, 3), 144),
    "128 · 28², 3 × 3, 32 groups": (128, (28, 28), (3, 3), 32),
    "96 · 28², 3 × 3, 4 groups": (96, (28, 28), (3, 3), 4),
    "128 · 28², 3 × 3, 4 groups": (128, (28, 28), (3, 3), 4),
    "64 · 56² · 64, 5 × 5": (64, (56, 56), (5, 5), 1),
    "64 · 56² · 64, 7 × 7": (64, (56, 56), (7, 7), 1),
    "64 · 32², depthwise 31 × 31": (64, (32, 32), (31, 31), 64),
    "64 · 1024 · 64, 3": (64, (1024,), (3,), 1),
    "64 · 1024 · 64, 31": (64, (1024,), (31,), 1),
    "32 · 16 · 28² · 32, 3 × 3 × 3": (32, (16, 28, 28), (3, 3, 3), 1),
}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
QUICK = 3
LAYERS, SECONDS = 8, 1.5


def stack(channels: int, taps: tuple[int, ...], groups: int) -> nn.Module:
    """Eight equal layers, each with its ReLU."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    padding, conv = tuple(t // 2 for t in taps), CONVS[len(taps)]
    for _ in range(LAYERS):
        layers.append(conv(channels, channels, taps, padding=padding, groups=groups))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers).eval()


def measured(name: str) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table."""
    channels, size, taps, groups = CASES[name]
    x = np.random.default_rng(0).standard_normal((1, channels, *size)).astype(np.float32)
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
    kernels = one_by_one(channels, size, taps, groups)
    row["kernels"] = kernels
    cells = [_cell(kernels, column) for column in COLUMNS]
    line = [name, *cells, f"{ours:.4f}", *(f"{t:.4f}" for t in times.values())]
    return row, [*line, f"**{row['ratio']:.2f}**"]


COLUMNS = (
    *("direct", "indirect", "depthwise", "permuted", "grouped", "split"),
    *("F", "FFT", "strassen"),
)


def _cell(kernels: dict[str, float], column: str) -> str:
    """The best time of a kernel; of Winograd's, with the size of its tiles."""
    if column != "F":
        return f"{kernels[column]:.4f}" if column in kernels else ""
    tiles = {kernel: ms for kernel, ms in kernels.items() if kernel.startswith("F(")}
    best = min(tiles, key=tiles.__getitem__, default="")
    return f"{tiles[best]:.4f} {best}" if best else ""


def one_by_one(
    channels: int, size: tuple[int, ...], taps: tuple[int, ...], groups: int
) -> dict[str, float]:
    """Milliseconds of each kernel in its best schedule; of volumes there is one alone."""
    if len(size) > 2:
        return {}
    isa = host()
    layout = Blocked(channels, *(1, *size)[-2:], isa.lanes)
    rows, columns = (1, *taps)[-2:]
    sliding = Window((rows, columns), pads=(rows // 2, columns // 2) * 2)
    best: dict[str, float] = {}
    for choice in choose.candidates(Conv(layout, layout, sliding, groups), isa):
        found = tuning.measure(choice, isa)
        outputs, kernel = getattr(choice.schedule, "outputs", 0), found.name.split()[0]
        sizes = (outputs,) if isinstance(outputs, int) else dict.fromkeys(outputs)
        tile = "×".join(map(str, sizes))
        kernel = f"F({tile})" if outputs else kernel.replace("fft", "FFT")
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
    named = {"F": "Winograd", "strassen": "Strassen"}
    columns = (f"{named.get(column, column)}, ms" for column in COLUMNS)
    heads = ["channels · size · filters", *columns, "ours in a stack, ms"]
    heads += [*(f"{p}, ms" for p in rows[0]["peers"]), "best peer ÷ ours"]
    common.publish("kernels", args, rows, common.markdown(heads, lines), summed_up=False)


if __name__ == "__main__":
    common.run(main)
