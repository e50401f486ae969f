"""ResNet-20 on CIFAR-10, compressed to a third of its time, beside what else there is.

python benchmarks/resnet20.py                   every contestant, measured and scored now
python benchmarks/resnet20.py --quick           the same at batch 1, shorter
python benchmarks/resnet20.py --train           makes all models anew first (hours)
python benchmarks/resnet20.py --train int8      only those; ours, int8 or pruned
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import common
import contest
import peers
from contest import Contestant

NAME = "resnet20"
NETWORK = "zoo:resnet20"
FOLDER = common.ARTIFACTS / NAME
DROP = 1.0
BUDGET = ("--latency", "0.33x", "--drop", str(DROP))
STREAMS = ("conv1", *(f"layer{stage}.{block}.conv2" for stage in (1, 2, 3) for block in range(3)))
PRUNED = (
    ("Torch-Pruning fp32, equal MACs", "onnxruntime", FOLDER / "peers" / "pruned.onnx"),
    ("Torch-Pruning fp32, equal MACs (OpenVINO)", "openvino", FOLDER / "peers" / "pruned.onnx"),
    ("Torch-Pruning + NNCF int8", "openvino", FOLDER / "peers" / "pruned_int8.xml"),
)


def main() -> None:
    """Train where asked, then measure."""
    args = options().parse_args()
    how = "Give its place with --weights or --data."
    common.needed(args.weights, "The trained ResNet-20", how)
    common.needed(args.data, "CIFAR-10 as images (split/class/file)", how)
    from lighten import api

    task = api.load_task(str(args.data))
    net = api.load_network(NETWORK, weights=args.weights, task=task)
    command = contest.command(NETWORK, args, BUDGET)
    if "ours" in args.train:
        contest.compress(command, FOLDER)
    if "int8" in args.train:
        peers.make(net, task, FOLDER)
    if "pruned" in args.train:
        make_pruned(net, task)
    everyone = [contest.ours(FOLDER, command), *field(net, task)]
    held = contest.hold(everyone, task, args)
    rows = contest.rows_of("ResNet-20, CIFAR-10", held, DROP)
    common.publish(NAME, args, rows, contest.table(held, command))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser(NAME, "ResNet-20 on CIFAR-10, side by side.")
    weights = common.SHARED / "resnet20-cifar10.safetensors"
    found.add_argument("--weights", type=Path, default=weights, help="the trained network")
    found.add_argument("--data", type=Path, default=common.SHARED / "cifar10-jpeg.tar")
    return common.with_train(found, ("ours", "int8", "pruned"))


def field(net: Any, task: Any) -> list[Contestant]:
    """The peers, the reference first."""
    fp32 = peers.to_onnx(net, task)
    how = f"python benchmarks/{NAME}.py --train pruned"
    return [
        Contestant(contest.REFERENCE, "onnxruntime", fp32),
        Contestant("OpenVINO fp32", "openvino", fp32),
        *peers.contestants(NAME, FOLDER),
        *(Contestant(name, backend, file, how) for name, backend, file in PRUNED),
    ]


def make_pruned(net: Any, task: Any) -> None:
    """Torch-Pruning at our MACs, fine-tuned as ours was, then int8 by NNCF."""
    import torch_pruned

    from lighten import api, train

    recipe, summary = FOLDER / "recipe.yaml", FOLDER / "summary.json"
    common.needed(recipe, "Our recipe", f"Make it with: python benchmarks/{NAME}.py --train ours")
    training = api.read_recipe(recipe).training
    macs = common.plain_json(summary)["after"]["macs"]
    cut = torch_pruned.pruned(net, task, macs, STREAMS)
    checkpoint = common.WORK / f"{NAME}-pruned-{macs}.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    session = train.Session(checkpoint=checkpoint, progress=common.told(every=100))
    train.fit(cut, task, training, teacher=net, session=session)
    fp32 = peers.to_onnx(cut, task)
    (FOLDER / "peers").mkdir(parents=True, exist_ok=True)
    (FOLDER / "peers" / "pruned.onnx").write_bytes(fp32)
    peers.nncf_int8(fp32, task, FOLDER / "peers" / "pruned_int8.xml")


if __name__ == "__main__":
    common.run(main)
