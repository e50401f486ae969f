"""A finished run, invented: the files `lighten compress` leaves, for the report's tests."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from lighten.core.recipe import Edit, Recipe, Training
from lighten.core.trial import Interval, Score, Trial

SHAPES = [("conv1", 3, 16, 32)]
for stage, (width, side) in enumerate(((16, 32), (32, 16), (64, 8)), start=1):
    for block in range(3):
        first = width if stage == 1 or block else width // 2
        SHAPES.append((f"layer{stage}.{block}.conv1", first, width, side))
        SHAPES.append((f"layer{stage}.{block}.conv2", width, width, side))

BEFORE = {
    "quality": 87.62,
    "quality_interval": [86.68, 88.5],
    "latency_ms": 0.9313,
    "latency_spread_ms": 0.0121,
    "bytes": 1_086_412,
    "macs": 40_551_424,
    "parameters": 269_722,
}
AFTER = {
    "quality": 87.02,
    "quality_interval": [86.06, 87.94],
    "latency_ms": 0.2871,
    "latency_spread_ms": 0.0046,
    "bytes": 187_331,
    "macs": 20_917_034,
    "parameters": 141_874,
}


def summary() -> dict[str, Any]:
    """`summary.json`: a budget that was met."""
    return {
        "network": "zoo:resnet20",
        "task": {
            "metric": {"name": "accuracy", "unit": "points", "higher_is_better": True},
            "data": "cifar10-jpeg.tar",
        },
        "before": BEFORE,
        "after": AFTER,
        "drop": 0.6,
        "drop_interval": [-0.07, 1.27],
        "controls": [
            {"name": "control: dense", **BEFORE, "quality": 87.58, "drop": 0.04},
        ],
        "budget": {"latency": "0.33x", "size": 300_000.0, "drop": 1.0},
        "met": True,
        "missed": [],
        "reference": "onnxruntime",
        "backend": "openvino",
        "threads": 1,
        "batch": 1,
        "device": {
            "name": "Example CPU",
            "arch": "x86_64",
            "cores": 2,
            "features": ["avx2", "fma"],
            "caches": [49152, 2097152],
            "memory": 33_500_000_000,
            "peak_gflops": 0.0,
        },
        "command": "lighten compress zoo:resnet20 --data 'a&b.tar' --latency 0.33x --drop 1.0",
        "versions": {"lighten": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.24.1"},
        "seconds": 2711.4,
        "search": {"gap": 0.0, "latency_model_fit": 0.083},
        "loss_unit": "nats",
        "further": further(),
        "notes": ["Sensitivity from 512 calibration images."],
    }


def further() -> list[dict[str, Any]]:
    """A step that can be taken, and one that cannot."""
    steps = [
        step("channels", "layer3.0.conv1", 40, 32, 0.013),
        step("quantize", "conv1", 32, 8, 0.004),
        step("blocks", "layer3.1", 1, 0, 0.002),
    ]
    told = {"quantity": "latency", "from": 0.287, "loss": 0.019, "trials": 20, "drop": 0.41}
    size = {"quantity": "size", "share": 0.1, "from": 187_331.0, "possible": False, "steps": []}
    return [
        {**told, "share": 0.1, "to": 0.256, "possible": True, "drop_error": 0.12, "steps": steps},
        size,
    ]


def step(technique: str, place: str, start: float, end: float, loss: float) -> dict[str, Any]:
    """One step of going further."""
    told = {"technique": technique, "place": place, "layers": [place]}
    return {**told, "from": start, "to": end, "loss": loss}


def time() -> dict[str, Any]:
    """Where the time went: the layers of `layers`, an addition, a pool, and the runtime's own."""
    sides = {}
    for side, latency in (("before", BEFORE["latency_ms"]), ("after", AFTER["latency_ms"])):
        rows = [row for row in layers() if row[side]]
        ops = [{"name": r["name"], "kind": "conv", "ms": r[side]["time_ms"]} for r in rows]
        ops += [{"name": "layer1.0.add", "kind": "binary", "ms": 0.004}]
        ops += [{"name": "(layout)", "kind": "added by the runtime", "ms": 0.002}]
        if side == "after":
            ops += [{"name": "input_1", "kind": "cast", "ms": 0.003}]
        share = 0.97 * (latency - 0.005) / sum(op["ms"] for op in ops)
        ops = [{**op, "ms": share * op["ms"]} for op in ops]
        rest = latency - 0.005 - sum(op["ms"] for op in ops)
        told = {"total_ms": latency, "call_ms": 0.005, "rest_ms": rest, "scale": 1.0, "ops": ops}
        sides[side] = {"backend": "onnxruntime" if side == "before" else "openvino", **told}
    return sides


def calibration() -> dict[str, Any]:
    """A histogram for each int8 layer's input."""
    draw, tensors = random.Random(2), []
    for name, *_ in SHAPES[1:]:
        bins = [int(9e5 * math.exp(-i / draw.uniform(2, 6))) for i in range(32)]
        top = draw.uniform(3, 9)
        told = {"layers": [name], "seen": [0.0, top], "range": [0.0, top * draw.uniform(0.7, 1)]}
        clipped = draw.choice([0.0, 1e-4])
        tensors.append({"name": f"{name}.in", **told, "bins": bins, "clipped": clipped})
    return {"calibrator": "mse", "samples": 512, "tensors": tensors}


def why(name: str, number: int, after: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What was done at a layer, what stood in the way, what was too dear."""
    if after is None:
        told = {"quantity": "latency", "from": 1.0, "to": 0.0, "saves": 0.031, "loses": 0.004}
        done = {"technique": "blocks", "place": "layer3.2", "done": True, "settings": {}}
        return [{**done, "with": [name], "predicted": told}]
    price = {"quantity": "latency", "from": 32.0, "to": 8.0, "saves": 0.012, "loses": 0.05}
    if number == 0:
        reason = "its output is added to a zero-padded shortcut"
        cut = {"technique": "channels", "place": name, "done": False, "reason": reason}
        eight = {"technique": "quantize", "place": name, "done": False}
        return [cut, {**eight, "offer": {**price, "dear": True}}]
    settings = {"keep": after["width"], "of": SHAPES[number][2]}
    cut = {"technique": "channels", "place": name, "done": True, "settings": settings}
    cut = {**cut, "with": ["conv1"] if number % 2 else [], "predicted": price}
    eight = {"technique": "quantize", "place": name, "done": True, "settings": {"bits": 8}}
    return [cut, {**eight, "predicted": {**price, "saves": -0.001}}]


def trials() -> list[Trial]:
    """Twenty recipes, one of which failed."""
    draw, made = random.Random(0), []
    for number in range(20):
        share = draw.uniform(0.25, 1.0)
        edits = [
            Edit.of("channels", name, keep=list(range(max(1, int(out * share)))), of=out)
            for name, _, out, _ in SHAPES[1::2]
        ]
        edits += [Edit.of("quantize", name, bits=8) for name, *_ in SHAPES[:: 1 + number % 3]]
        recipe = Recipe(tuple(edits), Training(epochs=2.0, seed=number))
        quality = 87.9 - 5.0 * (1 - share) ** 2 + draw.gauss(0, 0.25)
        latency = 0.16 + 0.42 * share + draw.gauss(0, 0.02)
        score = Score(
            quality,
            Interval(quality - 1.4, quality + 1.4),
            latency,
            0.005,
            int(400_000 * share),
            int(40e6 * share),
            int(270e3 * share),
        )
        stage = "finish" if number == 19 else "verify"
        made.append(Trial(recipe, score, stage, seconds=40.0))
    made.insert(7, Trial(Recipe((Edit.of("blocks", "layer9"),)), None, "verify", {}, "NaN <loss>"))
    return made


def front(found: list[Trial]) -> list[dict[str, Any]]:
    """The trials nothing beats, and one that was only predicted."""
    scored = [t for t in found if t.score]
    best = [
        t
        for t in scored
        if not any(
            o.score.latency_ms < t.score.latency_ms and o.score.quality > t.score.quality
            for o in scored
        )
    ]
    rows = [
        {"digest": t.recipe.digest, "measured": True, "edits": "", **t.score.as_dict()}
        for t in best
    ]
    guess = {"digest": "0123456789ab", "measured": False, "edits": "channels <everywhere> 40 %"}
    return [*rows, {**guess, "quality": 85.1, "latency_ms": 0.21, "bytes": 9e4, "macs": 1e7}]


def layers() -> list[dict[str, Any]]:
    """Every convolution of the network, one of them left alone."""
    draw, rows = random.Random(1), []
    for number, (name, inputs, out, side) in enumerate(SHAPES):
        macs, kept = inputs * out * 9 * side**2, int(out * draw.uniform(0.4, 1.0))
        side_of = {"macs": macs, "bytes": 36 * inputs * out, "width": out, "time_ms": macs / 4e7}
        shrunk = {
            "macs": macs * kept // out,
            "bytes": 9 * inputs * kept,
            "width": kept,
            "time_ms": macs * kept / out / 1.1e8,
            "bits": 8 if number else 32,
        }
        reason = "" if number else "its output is added to a zero-padded shortcut"
        row = {"name": name, "kind": "conv", "before": side_of, "after": shrunk, "reason": reason}
        row["why"] = why(name, number, shrunk)
        rows.append({**row, "sensitivity": draw.uniform(0, 0.3)})
    gone = {"after": None, "reason": "its block was dropped", "sensitivity": None}
    rows[-1].update(gone, why=why(SHAPES[-1][0], len(SHAPES), None))
    return rows


def training() -> dict[str, Any]:
    """Two runs, the second with a loss that was not a number once."""
    runs = []
    for name, floor in (("final", 0.35), ("control: no distillation", 0.42)):
        steps = list(range(0, 3900, 13))
        loss = [floor + 1.4 * math.exp(-s / 700) + 0.04 * math.sin(s) for s in steps]
        valid = [[s, 87.4 - 9 * math.exp(-s / 600) - 4 * floor] for s in range(390, 3901, 390)]
        runs.append({"name": name, "steps": steps, "loss": loss, "valid": valid})
    runs[1]["loss"][5] = None
    for number in (1, 2):
        short = {"steps": [0, 100, 200], "loss": [1.8, 1.2, 1.0], "valid": [[200, 80.0 + number]]}
        runs.append({"name": f"trial {number}", **short})
    return {"runs": runs}


def write(directory: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write the whole run and give its summary, with `changes` made to it."""
    directory.mkdir(parents=True, exist_ok=True)
    found, told = trials(), {**summary(), **(changes or {})}
    lines = [{"key": str(i), "value": t.as_dict()} for i, t in enumerate(found)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"key": "torn'
    (directory / "trials.jsonl").write_text(text)
    files = {"summary": told, "front": front(found), "layers": layers(), "training": training()}
    files |= {"time": time(), "calibration": calibration()}
    for name, value in files.items():
        (directory / f"{name}.json").write_text(json.dumps(value))
    (directory / "recipe.yaml").write_text("lighten: 1\nedits: []  # <none>\n")
    return told
