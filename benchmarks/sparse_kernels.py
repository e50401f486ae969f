"""One sparse convolution at a time: zeros anywhere in float32, blocks of 1 × 4 in int8.

python benchmarks/sparse_kernels.py            about ten minutes
python benchmarks/sparse_kernels.py --quick    two shapes, three densities

The stack (sixteen equal layers, as one network) is what `ours` and the peers' numbers are, divided
by sixteen, as in `kernels.py`: ours as the engine plans it, copies between layouts included; the
peers multiply the zeros. Where each kernel alone is as fast as the engine's best kernel for dense
weights is the crossover; those are timed one by one, in bursts.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Mapping
from typing import Any

import common
import numpy as np
import torch
from torch import nn

from lighten import backends
from lighten.backends.native import Native
from lighten.emit import Isa, build, host, integers
from lighten.engine import choose, tuning
from lighten.engine.memory import aligned
from lighten.kernels import block_sparse, share, sparse, tiled
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.tile_schedule import TiledConv
from lighten.kernels.tiled import Tiled
from lighten.measure import latency
from lighten.network import lower
from lighten.program import Program
from lighten.program.fuse import fuse
from lighten.program.quantize import quantization

Array = np.ndarray[Any, Any]
SHAPES = {
    "64 · 56² · 64": (64, 56),
    "16 · 32² · 16": (16, 32),
    "32 · 16² · 32": (32, 16),
    "64 · 8² · 64": (64, 8),
    "256 · 14² · 256": (256, 14),
}
DENSITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
QUICK = ("16 · 32² · 16", "64 · 8² · 64"), (0.1, 0.25, 0.5)
LAYERS, SECONDS, BURST, BURSTS = 16, 1.0, 2e-3, 7
WINDOW = Window((3, 3), pads=(1, 1, 1, 1))
BYTES = {"float32": 4, "int8": 1}


# ── whole stacks ──────────────────────────────────────────────────────────────────────────────


def stack(channels: int, size: int, density: float, block: int) -> tuple[Program, Array]:
    """Equal layers, each with its ReLU, of whose weights so many are zeros; and their input."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        kept = torch.rand(channels, channels // block, 1, 3, 3) < density
        with torch.no_grad():
            conv.weight.mul_(kept.repeat(1, 1, block, 1, 1).reshape(conv.weight.shape))
        layers += [conv, nn.ReLU()]
    x = np.random.default_rng(0).standard_normal((1, channels, size, size)).astype(np.float32)
    net = nn.Sequential(*layers).eval()
    return fuse(lower(net, torch.from_numpy(x.repeat(2, 0)))), x


def peers(channels: int, size: int) -> dict[str, Any]:
    """The runtimes on dense weights, which take as long as sparse ones."""
    program, x = stack(channels, size, 1.0, 1)
    held: dict[str, Any] = {}
    for peer in ("onnxruntime", "openvino"):
        if peer in backends.available():
            held[f"{peer} fp32"] = backends.get(peer).compile(program)
    if "openvino" in backends.available():
        codes = quantization(program, [(x,)])
        held["openvino int8"] = backends.get("openvino").compile(codes)
    return held


def measured(name: str, densities: tuple[float, ...]) -> Iterator[tuple[common.Row, list[str]]]:
    """A row for each density, and its line of the table."""
    channels, size = SHAPES[name]
    held, x = peers(channels, size), stack(channels, size, 1.0, 1)[1]
    for density in densities:
        ours = {"ours fp32": Native().compile(stack(channels, size, density, 1)[0])}
        codes = quantization(stack(channels, size, density, 4)[0], [(x,)], joins=True)
        ours["ours int8"] = Native().compile(codes)
        timings = latency.interleave(held | ours, (x,), SECONDS)
        times = {who: 1e3 * timings.latency(who).median_ms / LAYERS for who in held | ours}
        yield _row(name, density, times, 1e3 * timings.latency("ours int8").spread_ms / LAYERS)


def _row(
    name: str, density: float, times: Mapping[str, float], spread: float
) -> tuple[common.Row, list[str]]:
    """Ours in int8 against the best peer in float32, the others beside it."""
    rest = {who: taken for who, taken in times.items() if not who.startswith("ours")}
    row = common.row(
        f"{name}, {density:.0%} kept",
        "µs",
        times["ours int8"],
        rest,
        spread=spread,
        eligible=[who for who in rest if who.endswith("fp32")],
    )
    best = rest[str(row["best"])]
    row |= {"ours_fp32": times["ours fp32"], "ratio_fp32": best / times["ours fp32"]}
    ratios = [f"{row['ratio_fp32']:.1f}", f"**{row['ratio']:.1f}**"]
    if "openvino int8" in rest:
        ratios.append(f"{rest['openvino int8'] / times['ours int8']:.1f}")
    cells = [f"{times[who]:.2f}" for who in ("ours fp32", "ours int8", *rest)]
    return row, [f"{name}, {density:.0%}", *cells, *ratios]


# ── kernels alone ─────────────────────────────────────────────────────────────────────────────


def alone(channels: int, size: int, density: float, kind: str) -> float:
    """Microseconds of the sparse kernel."""
    isa, rng = _isa(kind), np.random.default_rng(0)
    kernel, block = (block_sparse, 4) if kind == "int8" else (sparse, 1)
    grid = tiled.best_grid([(size, size)], isa.lanes)
    cells = tiled.tile((size, size), grid)
    layout = Tiled(channels, size, size, grid, cells, tiled.halo(WINDOW), block)
    conv = TiledConv(layout, layout, WINDOW)
    kept = np.repeat(rng.random((channels, channels // block, 3, 3)) < density, block, 1)
    weight = (rng.integers(1, 128, kept.shape) * kept).astype(np.int8 if block == 4 else np.float32)
    how = kernel.schedule(conv, isa, kernel.entries(weight))
    noise = rng.integers(0, 256, (1, channels, size, size))
    x = layout.pack(noise.astype(np.uint8 if block == 4 else np.float32))
    given = [x, kernel.pack(weight, conv, how), np.zeros(3 * channels, np.float32), x, x]
    held = [aligned(array.nbytes) for array in given]
    for place, array in zip(held, given, strict=True):
        place[...] = array.reshape(-1).view(np.uint8)
    if kernel.workspace(conv, how):
        held.append(aligned(kernel.workspace(conv, how)))
    call = build([kernel.emit("kernel", conv, how, isa)]).function(
        "kernel", *[ctypes.c_void_p] * len(held), *share.KINDS
    )
    return _best(call, [array.ctypes.data for array in held])


def _best(call: Any, places: list[int]) -> float:
    """Microseconds of one call: the best of a few bursts."""
    found = []
    for _ in range(BURSTS):
        calls, begun = 0, time.perf_counter()
        while (taken := time.perf_counter() - begun) < BURST or not calls:
            call(*places, *share.ALONE)
            calls += 1
        found.append(1e6 * taken / calls)
    return min(found)


def dense(channels: int, size: int, kind: str) -> float:
    """Microseconds of the best kernel for dense weights."""
    isa = _isa(kind)
    layout = Blocked(channels, size, size, isa.lanes, size=BYTES[kind])
    options = choose.candidates(Conv(layout, layout, WINDOW), isa)
    likely = sorted(options, key=lambda choice: choice.cycles)[:6]
    return min(1e3 * tuning.measure(choice, isa).milliseconds for choice in likely)


def _isa(kind: str) -> Isa:
    return integers.with_dot(host()) if kind == "int8" else host()


def crossover(name: str, kind: str) -> tuple[float, float]:
    """The density at which the sparse kernel takes as long as the best dense one, found by halving;
    and that one's microseconds.
    """
    channels, size = SHAPES[name]
    bound, low, high = dense(channels, size, kind), 0.0, 1.0
    if alone(channels, size, high, kind) <= bound:
        return high, bound
    for _ in range(6):
        middle = (low + high) / 2
        below = alone(channels, size, middle, kind) <= bound
        low, high = (middle, high) if below else (low, middle)
    return low, bound


# ── the page ──────────────────────────────────────────────────────────────────────────────────


def mean(rows: list[common.Row], density: float, which: str) -> float:
    """The geometric mean of a ratio over the shapes at one density."""
    held = [row[which] for row in rows if row["case"].endswith(f" {density:.0%} kept")]
    return float(np.exp(np.mean(np.log(held))))


def main() -> None:
    """Measure every shape, print and write the tables."""
    args = common.parser("sparse_kernels", __doc__ or "").parse_args()
    names, densities = QUICK if args.quick else (tuple(SHAPES), DENSITIES)
    rows, lines, crossings = [], [], []
    for name in names:
        for row, line in measured(name, densities):
            rows.append(row)
            lines.append(line)
            print(" | ".join(line), flush=True)
        found = [crossover(name, kind) for kind in BYTES]
        crossings.append([name, *(f"{d:.2f} ({us:.2f} µs)" for d, us in found)])
        print(" | ".join(crossings[-1]), flush=True)
    heads = ["channels · size · filters, kept", "ours fp32, µs", "ours int8, µs"]
    heads += [f"{who}, µs" for who in rows[0]["peers"]]
    heads += ["best fp32 ÷ ours fp32", "÷ ours int8"]
    heads += ["OpenVINO int8 ÷ ours int8"] if "openvino int8" in rows[0]["peers"] else []
    told = [
        f"At {density:.0%} kept, geometric means over the shapes: fp32 "
        f"**{mean(rows, density, 'ratio_fp32'):.1f}**, int8 **{mean(rows, density, 'ratio'):.1f}** "
        "times the best fp32 peer."
        for density in densities
    ]
    second = ["crossover: density (dense kernel)", "fp32, zeros anywhere", "int8, 1 × 4"]
    parts = [common.markdown(heads, lines), "\n".join(told), common.markdown(second, crossings)]
    common.publish("sparse_kernels", args, rows, "\n\n".join(parts), summed_up=False)


if __name__ == "__main__":
    common.run(main)
