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
SAMPLES = 1024  # that the first steps are calibrated on


@dataclass(frozen=True)
class Case:
    """One training. `density` 1 with `rounded` False is the control.

    `whole` are the layers that keep every weight: those that the network begins and ends with.
    """

    network: str
    weights: Path
    data: Path
    density: float
    rounded: bool = True
    epochs: float = 30.0
    whole: tuple[str, ...] = ("conv1", "linear")

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
    "resnet20-50": resnet20(0.5),
    "resnet20-25": resnet20(0.25),
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
    student, hooks = techniques.learning(net, example, edits(net, example, case), steps, quantized)
    out.mkdir(parents=True, exist_ok=True)
    session = room.Session(hooks, out / f"{name}.safetensors", common.told(every=50))
    history = room.fit(student, task, case.training, net, session)
    program = api.lower(student, example, preprocess=task.preprocess, labels=task.labels)
    store.save(program, out / f"{name}.lighten")
    told = {**history.as_dict(), "before": before, "losses": list(history.losses[::50])}
    (out / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
    print(f"{name}: {history.quality:.2f} on valid, {history.seconds / 3600:.2f} hours", flush=True)


def edits(net: Any, example: Any, case: Case) -> list[Edit]:
    """Every convolution but the first in blocks, at one density."""
    from lighten.network import trace

    if case.density == 1.0:
        return []
    layers = [layer for layer in trace(net, example).layers if layer.kind == "conv2d"]
    setting = {"pattern": "block", "block": BLOCK, "density": case.density, "end": 0.4}
    return [Edit.of("weights", x.name, **setting) for x in layers if x.name not in case.whole]


def calibrated(net: Any, task: Any) -> Any:
    """The network's Program in int8, its steps from what it computes on training samples."""
    from lighten import api
    from lighten.backends import eager
    from lighten.network.rounding import unrounded_sums
    from lighten.program.quantize import observe, quantize

    program = api.lower(net, task.example(2))
    seen = observe(program, task.calibration(SAMPLES), eager.activations)
    return unrounded_sums(quantize(program, seen))
