"""The trainings behind `benchmarks/compressed.py`: networks that learn as they will run.

A case names a network, its weights and data, and how dense it ends; "dense" is the control: the
same network, the same steps, the same teacher, nothing compressed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

from lighten.core.recipe import Edit, Training

BLOCK = (1, 4)  # four consecutive input channels of one tap of one filter
OFFERED = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0)
SAMPLES = 1024  # that the first steps are calibrated on


@dataclass(frozen=True)
class Case:
    """One training. `density` 1 with `rounded` False is the control.

    `whole` are the layers that keep every weight: those that the network begins and ends with.
    `spread` is how the others share the density: "uniform", or "sensitivity", the least loss at
    equal multiplications.
    """

    network: str
    weights: Path
    data: Path
    density: float
    rounded: bool = True
    epochs: float = 30.0
    whole: tuple[str, ...] = ("conv1", "linear")
    spread: str = "uniform"

    @property
    def training(self) -> Training:
        """The same for all cases of a network: signals from the given weights, bfloat16."""
        return Training(epochs=self.epochs, batch=128, lr=0.05, weight_decay=5e-4)


def resnet20(density: float, **more: Any) -> Case:
    """ResNet-20 on CIFAR-10, from the shared weights."""
    weights = common.SHARED / "resnet20-cifar10.safetensors"
    return Case("zoo:resnet20", weights, common.SHARED / "cifar10-jpeg.tar", density, **more)


CASES = {
    "resnet20-dense": resnet20(1.0, rounded=False),
    "resnet20-int8": resnet20(1.0),
    "resnet20-38": resnet20(0.38),
    "resnet20-25": resnet20(0.25),
    "resnet20-25-sensitivity": resnet20(0.25, spread="sensitivity"),
    "resnet20-20": resnet20(0.2),
}


def train(name: str, out: Path) -> None:
    """Train a case, or go on where it stopped; its program, weights and curve go to `out`.

    The test split is not looked at.
    """
    from lighten import api, store, techniques
    from lighten import train as room

    case = CASES[name]
    task = api.load_task(str(case.data))
    net = api.load_network(case.network, weights=case.weights, task=task)
    example = task.example(2)
    steps = room.steps_of(case.training, task.train_size)
    before = room.quality(net, task.valid(), task.metric)
    print(f"{name}: {before:.2f} on valid before, {steps} steps", flush=True)
    quantized = calibrated(net, task) if case.rounded else None
    chosen = edits(net, task, case)
    student, hooks = techniques.learning(net, example, chosen, steps, quantized)
    out.mkdir(parents=True, exist_ok=True)
    session = room.Session(hooks, out / f"{name}.safetensors", common.told(every=50))
    history = room.fit(student, task, case.training, net, session)
    program = api.lower(student, example, preprocess=task.preprocess, labels=task.labels)
    store.save(program, out / f"{name}.lighten")
    told = {**history.as_dict(), "before": before, "losses": list(history.losses[::50])}
    (out / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
    print(f"{name}: {history.quality:.2f} on valid, {history.seconds / 3600:.2f} hours", flush=True)


def edits(net: Any, task: Any, case: Case) -> list[Edit]:
    """Every convolution but the first in blocks, as dense as the case says."""
    from lighten.criteria import densities
    from lighten.network import trace

    if case.density == 1.0:
        return []
    layers = [x for x in trace(net, task.example(2)).layers if x.kind == "conv2d"]
    macs = {x.name: x.macs for x in layers if x.name not in case.whole}
    found = densities.uniform(macs, case.density)
    if case.spread == "sensitivity":
        lost = sensitivity(net, task, tuple(macs))
        found = densities.of_weights(OFFERED, lost, macs, case.density)
    setting = {"pattern": "block", "block": BLOCK, "end": 0.4}
    return [Edit.of("weights", name, density=found[name], **setting) for name in macs]


def sensitivity(net: Any, task: Any, layers: tuple[str, ...]) -> dict[str, list[float]]:
    """What the answers lose when one layer is thinned, on training samples."""
    import torch

    from lighten.criteria import thinning
    from lighten.formats.projections import Pattern

    inputs = [(torch.from_numpy(batch.inputs[0]),) for batch in task.calibration(512)]
    return thinning.losses(net, inputs, layers, Pattern("block", BLOCK), OFFERED)


def score(name: str, out: Path, split: str) -> dict[str, Any]:
    """How much worse the trained program answers on a split: than the given weights, and than the
    control where that was trained; each with its 95 % interval, in points.
    """
    from lighten import api, store
    from lighten.measure import quality

    case = CASES[name]
    task = api.load_task(str(case.data))
    net = api.load_network(case.network, weights=case.weights, task=task)
    programs = {"given": api.lower(net, task.example(2)), name: store.load(out / f"{name}.lighten")}
    control = out / f"{case.network.removeprefix('zoo:')}-dense.lighten"
    if control.exists():
        programs["control"] = store.load(control)
    rows = {
        key: quality.rows(api.compile(program, "eager"), getattr(task, split)(), task.metric)
        for key, program in programs.items()
    }
    told: dict[str, Any] = {"split": split, "quality": quality.quality(rows[name], task.metric)}
    for key, others in rows.items():
        if key != name:
            drop, interval = quality.paired_drop(others, rows[name], task.metric)
            told[f"drop from {key}"] = [drop, interval.low, interval.high]
    return told


def calibrated(net: Any, task: Any) -> Any:
    """The network's Program in int8, its steps from what it computes on training samples."""
    from lighten import api
    from lighten.backends import eager
    from lighten.program.quantize import observe, quantize

    program = api.lower(net, task.example(2))
    seen = observe(program, task.calibration(SAMPLES), eager.activations)
    return quantize(program, seen, joins=True)
