"""LeNet-5 on MNIST: trained by `lighten train`, compressed, beside what else there is.

python benchmarks/lenet5.py                     every contestant, measured and scored now
python benchmarks/lenet5.py --quick             the same at batch 1, shorter
python benchmarks/lenet5.py --train             trains and compresses anew first
python benchmarks/lenet5.py --train int8        only that; weights, ours or int8
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import common
import contest
import peers
from contest import Contestant

NAME = "lenet5"
NETWORK = "zoo:lenet5"
FOLDER = common.ARTIFACTS / NAME
DROP = 0.2
BUDGET = ("--latency", "0.33x", "--size", "0.15x", "--drop", str(DROP), "--time", "4m")
EPOCHS, RATE = 5, 0.02


def main() -> None:
    """Train where asked, then measure."""
    args = options().parse_args()
    common.needed(args.data, "MNIST", "Give the place of mnist.npz with --data.")
    if "weights" in args.train:
        train_weights(args)
    again = f"Make it with: python benchmarks/{NAME}.py --train"
    common.needed(args.weights, "The trained LeNet-5", again)
    from lighten import api

    task = api.load_task(str(args.data))
    net = api.load_network(NETWORK, weights=args.weights, task=task)
    command = contest.command(NETWORK, args, BUDGET)
    if "ours" in args.train:
        contest.compress(command, FOLDER)
    if "int8" in args.train:
        peers.make(net, task, FOLDER)
    held = contest.hold([contest.ours(FOLDER, command), *field(net, task)], task, args)
    rows = contest.rows_of("LeNet-5, MNIST", held, DROP)
    common.publish(NAME, args, rows, contest.table(held, command))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser(NAME, "LeNet-5 on MNIST, side by side.")
    weights = FOLDER / "weights.safetensors"
    found.add_argument("--weights", type=Path, default=weights, help="the trained network")
    found.add_argument("--data", type=Path, default=common.SHARED / "mnist.npz")
    return common.with_train(found, ("weights", "ours", "int8"))


def field(net: Any, task: Any) -> list[Contestant]:
    """The peers, the reference first."""
    fp32 = peers.to_onnx(net, task)
    return [
        Contestant(contest.REFERENCE, "onnxruntime", fp32),
        Contestant("OpenVINO fp32", "openvino", fp32),
        *peers.contestants(NAME, FOLDER),
    ]


def train_weights(args: argparse.Namespace) -> None:
    """Train the original from scratch, by the command line."""
    args.weights.parent.mkdir(parents=True, exist_ok=True)
    given = ["--data", common.shown(args.data), "--epochs", str(EPOCHS), "--lr", str(RATE)]
    common.lighten(["lighten", "train", NETWORK, *given, "-o", common.shown(args.weights)])


if __name__ == "__main__":
    common.run(main)
