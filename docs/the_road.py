"""The road, stage by stage, on one tiny network: run it and read along.

    python docs/the_road.py

Each stage is one call and gives a value that can be printed. `lighten.compress` is these stages
with a search in the middle.
"""

from __future__ import annotations

import torch

from lighten import Edit, Recipe, Training, api
from lighten.backends.eager import Eager
from lighten.measure import quality
from lighten.network import check_exact
from lighten.program import quantization, show


def tiny(classes: int = 10) -> torch.nn.Module:
    """conv – norm – relu, a residual block, pooling, a linear layer; for 1×8×8 digits."""

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(16, 24, 3, padding=1)
            self.conv2 = torch.nn.Conv2d(24, 16, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))

    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        Residual(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 4 * 4, classes),
    )


def main(epochs: float = 6.0) -> dict[str, float]:
    """Walk the road; the figures at its end."""
    torch.manual_seed(0)

    print("1. A task: how to feed, teach and score a network.")
    task = api.load_task("builtin:digits")
    print(f"   {task.train_size} training samples, metric {task.metric.name}\n")

    print("2. A trained network.")
    net = tiny()
    training = Training(epochs=epochs, batch=32, lr=0.1, signals=(("task", 1.0),))
    before = api.train(net, task, training)
    print(f"   valid {before['valid']:.1f} %\n")

    print("3. trace: its layers, and the groups of channels that can only be cut together.")
    graph = api.trace(net, task.example(2))
    for layer in graph.layers:
        print(f"   {layer.name:10} {layer.kind:12} {layer.macs:>8} MACs  {layer.uncut}")
    for group in graph.groups:
        print(f"   group {group.name}: {group.size} slices in {len(group.members)} places")
    print()

    print("4. space: what may be chosen, and which slices matter, by first-order Taylor.")
    space = api.space(graph, task)
    for place in space.places:
        print(f"   {place.key}: {len(place.edits)} choices")
    print()

    print("5. A recipe: here half of every group, and int8 everywhere. (compress searches for it.)")
    halves = [
        edit
        for p in space.places
        if p.technique == "channels"
        for edit in p.edits[next(c for c, w in enumerate(p.widths) if w <= p.widths[0] / 2)]
    ]
    eight = [Edit.of("quantize", graph_layer.name, bits=8) for graph_layer in weighted(graph)]
    recipe = Recipe((*halves, *eight), Training(epochs=epochs, batch=32))
    print(f"   {recipe.digest}: {len(recipe.edits)} edits\n")

    print("6. apply: the slices leave physically; the cut network equals the masked one.")
    module = api.apply(graph, recipe)
    check_exact(graph, {e.place: e["keep"] for e in halves}, (), task.example(2))
    after_cut = api.trace(module, task.example(2))
    print(f"   {graph.macs} → {after_cut.macs} MACs\n")

    print("7. train: the original teaches what was cut.")
    after = api.train(module, task, recipe.training, teacher=net)
    print(f"   valid {after['valid']:.1f} %\n")

    print("8. lower: out of torch, into a Program; then int8 after training.")
    program = api.lower(module, task.example(2), preprocess=task.preprocess, labels=task.labels)
    inputs = [batch.inputs for batch in task.calibration()]
    program = quantization(program, inputs, [edit.place for edit in eight])
    print("   " + show(program).replace("\n", "\n   ") + "\n")

    print("9. compile and measure: the artifact itself, in turns with the original.")
    original = api.lower(net, task.example(2))
    runs = {
        "original": api.compile(original, "onnxruntime"),
        "compressed": api.compile(program, "onnxruntime"),
        "eager": Eager().compile(program),
    }
    found: dict[str, float] = {}
    for name, run in runs.items():
        rows = quality.rows(run, task.test(), task.metric)
        found[name] = quality.quality(rows, task.metric)
        latency = api.measure(run, task.example(), seconds=0.2)
        print(f"   {name:10} test {found[name]:.1f} %, {latency.median_ms:.4f} ms a call")
    return found


def weighted(graph: api.Graph) -> list[api.Layer]:
    """The layers that multiply."""
    return [layer for layer in graph.layers if layer.kind in ("conv2d", "linear")]


if __name__ == "__main__":
    main()
