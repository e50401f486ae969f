"""Whole networks in our engine beside the runtimes, in alternation: time, error, memory.

python benchmarks/engine.py [--only NAME …]     about ten minutes
python benchmarks/engine.py --quick             ResNet-20, ResNet-18, MobileNetV2; batch 1

Weights are seeded noise: nothing here depends on them but the error, which is max |y − y64| / max
|y64| against the network in float64. Transformers are not here yet: their ops have no kernels.
"""

from __future__ import annotations

import argparse
from typing import Any

import common
import numpy as np
import torch

from lighten import backends, zoo
from lighten.backends.native import Native
from lighten.emit import host
from lighten.engine import tuning
from lighten.measure import latency
from lighten.network import lower

# network → (rows and columns of its images, the larger batch)
CASES: dict[str, tuple[int, int]] = {
    **{"resnet20": (32, 32), "resnet56": (32, 32), "vgg16_bn": (32, 32)},
    **{"resnet18": (224, 4), "resnet50": (224, 4), "mobilenet_v1": (224, 4)},
    **{"mobilenet_v2": (224, 4), "mobilenet_v3": (224, 4), "efficientnet_b0": (224, 4)},
    **{"squeezenet": (224, 4), "densenet121": (224, 4), "unet": (224, 2)},
}
QUICK = ("resnet20", "resnet18", "mobilenet_v2")
OURS, PEERS = "native", ("onnxruntime", "openvino")
SECONDS, TUNE = 2.0, 60.0


class Eager:
    """The network in torch, as its user would call it."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.net, self.threads = net, 1

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        with torch.inference_mode():
            return (self.net(*map(torch.from_numpy, inputs)).numpy(),)

    def profile(self, inputs: Any, runs: int = 50) -> dict[str, float]:
        return {}


def measured(name: str, batch: int, side: int, tune: float = TUNE) -> tuple[common.Row, list[str]]:
    """One row, and its line of the table; kernels are timed first, at most `tune` seconds."""
    torch.manual_seed(0)
    net = zoo.build(name).eval()
    channels = zoo.TABLE[name].input_shape[0]
    x = np.random.default_rng(0).standard_normal((batch, channels, side, side)).astype(np.float32)
    program = lower(net, torch.from_numpy(x[:1].repeat(2, 0)))
    tuning.tune(program, host(), tune)
    ours = Native().compile(program)
    held: dict[str, Any] = {OURS: ours}
    held |= {p: backends.get(p).compile(program) for p in PEERS if p in backends.available()}
    held["torch"] = Eager(net)
    timings = latency.interleave(held, (x,), SECONDS)
    found = {who: timings.latency(who) for who in held}
    with torch.inference_mode():
        exact = net.double()(torch.from_numpy(x).double()).numpy()
    error = float(np.abs(ours(x)[0] - exact).max() / np.abs(exact).max())
    peers = {who: one.median_ms for who, one in found.items() if who != OURS}
    case = f"{name}, batch {batch}"
    row = common.row(case, "ms", found[OURS].median_ms, peers, spread=found[OURS].spread_ms)
    against = timings.ratio(str(row["best"]), to=OURS)
    row |= {"error": error, "interval": [against.interval.low, against.interval.high]}
    row |= {"interpreted": len(ours.plan.interpreted), "arena": ours.arena_bytes(batch)}
    cells = [f"{found[OURS].median_ms:.3f}", *(f"{peers[p]:.3f}" for p in peers)]
    ratio = f"**{against.value:.2f}** [{against.interval.low:.2f}, {against.interval.high:.2f}]"
    last = [ratio, f"{error:.1e}", str(row["interpreted"]), f"{row['arena'] / 1e6:.2f}"]
    return row, [case, *cells, *last]


def main() -> None:
    """Measure every network, print and write the table."""
    found = common.parser("engine", __doc__ or "")
    found.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help="these networks")
    args: argparse.Namespace = found.parse_args()
    torch.set_num_threads(1)
    rows, lines = [], []
    for name in args.only or (QUICK if args.quick else CASES):
        side, large = CASES[name]
        for batch in (1,) if args.quick else (1, large):
            row, line = measured(name, batch, side)
            rows.append(row)
            lines.append(line)
            print(" | ".join(line), flush=True)
    ratios = [row["ratio"] for row in rows]
    heads = ["network", "ours, ms", *(f"{p}, ms" for p in rows[0]["peers"])]
    heads += ["best peer ÷ ours [95 %]", "error", "ops interpreted", "arena, MB"]
    mean = float(np.exp(np.mean(np.log(ratios))))
    text = f"{common.markdown(heads, lines)}\n\nGeometric mean of the ratios: **{mean:.2f}**."
    common.publish("engine", args, rows, text, summed_up=False)


if __name__ == "__main__":
    common.run(main)
