"""Convolutions of signs beside our int8 and the runtimes, in stacks of equal layers.

python benchmarks/binary.py            about six minutes
python benchmarks/binary.py --quick    two shapes, without the runtimes' int8

Each layer reads the signs of the one before. A stack is one network; a layer's time is what ten
take longer than two, by eight, so that neither a call's own cost counts nor what a network does to
its input and output. All are measured in alternation. `ours` is the binary stack; beside it weights
of two planes (Σ αᵢbᵢ) and ternary ones. Their numbers are compared with the interpreter's, bit
for bit. Int8 and float32 compute the same shapes with a ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import common
import numpy as np

from lighten import backends
from lighten.backends.eager import activations
from lighten.backends.native import Native
from lighten.emit import integers
from lighten.engine import tuning
from lighten.formats.binary import greedy, nearest
from lighten.formats.integer import Scale
from lighten.formats.signs import SIGN, TERNARY, Binary, coded
from lighten.measure import latency
from lighten.program import Builder, Program, fuse, interpret
from lighten.program.ir import Stored
from lighten.program.quantize import quantization

# channels, side of the image, taps
CASES = {
    "64 · 56² · 64, 3 × 3": (64, 56, 3),
    "128 · 28² · 128, 3 × 3": (128, 28, 3),
    "256 · 14² · 256, 3 × 3": (256, 14, 3),
    "512 · 7² · 512, 3 × 3": (512, 7, 3),
    "64 · 56² · 64, 1 × 1": (64, 56, 1),
    "256 · 14² · 256, 1 × 1": (256, 14, 1),
    "512 · 7² · 512, 1 × 1": (512, 7, 1),
}
QUICK = ("256 · 14² · 256, 3 × 3", "256 · 14² · 256, 1 × 1")
FEW, MANY, SECONDS, TUNE = 2, 10, 1.0, 20.0  # layers; seconds
OURS, INT8, FLOAT = "binary", "native int8", "native float"
FORMS = {OURS: Binary(1), "two planes": Binary(2), "ternary": TERNARY}


def weight(rng: np.random.Generator, shape: tuple[int, ...], form: Any) -> Stored:
    """Noise, as signs or ternary numbers; sums of them are exact in float32."""
    w = rng.standard_normal(shape)
    made = coded(nearest(w) if form == TERNARY else greedy(w, form.planes))
    assert made is not None and made[1] == form, "no sum of several has zeros"
    codes, _, params = made
    scale = np.exp2(np.rint(np.log2(params.scale))).astype(np.float32)
    return Stored(codes, form, replace(params, scale=scale))


def stack(case: tuple[int, int, int], layers: int, form: Any = None) -> Program:
    """Layers of weights in this format, signs between them; floats and ReLU without one."""
    (channels, size, taps), rng, b = case, np.random.default_rng(0), Builder()
    x = b.input("x", (channels, size, size))
    said = {"strides": (1, 1), "pads": (taps // 2,) * 4, "dilations": (1, 1), "groups": 1}
    shape = (channels, channels, taps, taps)
    for layer in range(layers):
        if form is not None:
            x = b.op("cast", x) if layer == 0 else x
            one = Scale(np.float32(1), np.float32(0))
            b.values[x] = replace(b.values[x], format=SIGN, params=one)
        scale = np.sqrt(2 / (channels * taps * taps))
        w = b.store("w", scale * rng.standard_normal(shape))
        if form is not None:
            b.arrays[w] = weight(rng, shape, form)
        x = b.op("conv", x, w, **said)
        x = x if form is not None else b.op("unary", x, function="relu")
    return fuse(b.finish(x))


def contestants(
    case: tuple[int, int, int], layers: int, x: Any, *, quick: bool
) -> Mapping[str, Any]:
    """What is timed, by name, so many layers of each."""
    held: dict[str, Any] = {}
    for name, form in FORMS.items():
        program = stack(case, layers, form)
        held[name] = Native().compile(program)
        if layers == FEW:
            np.testing.assert_array_equal(held[name](x)[0], interpret(program, x)[0])
    program = stack(case, layers)
    codes = {
        joins: quantization(program, [(x,)], run=activations, joins=joins)
        for joins in (True, False)
    }
    tuning.tune(codes[True], integers.instructions(), TUNE)
    held[INT8] = Native().compile(codes[True])
    held[FLOAT] = Native().compile(program)
    for peer in ("onnxruntime", "openvino"):
        if peer in backends.available():
            held[f"{peer} float"] = backends.get(peer).compile(program)
            if not quick:
                held[f"{peer} int8"] = backends.get(peer).compile(codes[False])
    return held


def measured(name: str, *, quick: bool) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table."""
    case = CASES[name]
    x = np.random.default_rng(1).standard_normal((1, case[0], case[1], case[1]), np.float32)
    held = {count: contestants(case, count, x, quick=quick) for count in (FEW, MANY)}
    every = {f"{who}, {count}": one for count in held for who, one in held[count].items()}
    timings = latency.interleave(every, (x,), SECONDS)
    found = {name: timings.latency(name) for name in every}
    many, few = ({who: found[f"{who}, {n}"] for who in held[MANY]} for n in (MANY, FEW))
    step = 1e3 / (MANY - FEW)
    times = {who: step * (many[who].median_ms - few[who].median_ms) for who in many}
    spread = step * (many[OURS].spread_ms + few[OURS].spread_ms)
    peers = {who: t for who, t in times.items() if who not in FORMS}
    row = common.row(name, "µs", times[OURS], peers, spread=spread)
    channels, size, taps = case
    row["gops"] = 2e-3 * (channels * taps * size) ** 2 / times[OURS]
    row["ours_in"] = {who: times[who] for who in FORMS}
    cells = [f"{t:.1f}" for t in times.values()]
    against = [f"**{times[INT8] / times[OURS]:.1f}**", f"{row['gops']:.0f}"]
    return row, [name, *cells, *against]


def main() -> None:
    """Measure every shape, print and write the table."""
    args = common.parser("binary", __doc__ or "").parse_args()
    rows, lines = [], []
    for name in QUICK if args.quick else CASES:
        row, line = measured(name, quick=args.quick)
        rows.append(row)
        lines.append(line)
        print(" | ".join(line), flush=True)
    columns = [f"{who}, µs" for who in (*FORMS, *rows[0]["peers"])]
    heads = ["channels · size · filters", *columns, "our int8 ÷ binary", "GOP/s, binary"]
    common.publish("binary", args, rows, common.markdown(heads, lines), summed_up=False)


if __name__ == "__main__":
    common.run(main)
