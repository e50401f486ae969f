"""Three depths of use: `compress` · the steps of the road · the protocols in `lighten.core`.

result = compress(net, task, Budget(latency="0.25x", drop=0.5))

graph = trace(net, task.example())                  # layers, groups, reasons
choices = space(graph, task)                        # what may be done where
recipe = search(net, task, budget)[0]               # the most promising on this machine
module = apply(graph, recipe)                       # cut, checked exact
train(module, task, recipe.training, teacher=net)
program = lower(module, task.example())             # leaves torch
run = compile(program, "onnxruntime")
measure(run, task.example())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lighten import backends, criteria, techniques
from lighten import data as data_room
from lighten import train as train_room
from lighten.core.budget import Budget
from lighten.core.progress import Progress, silent
from lighten.core.protocols import Executable
from lighten.core.recipe import Recipe, Training
from lighten.core.task import Task
from lighten.core.trial import Latency
from lighten.errors import InputError, NetworkError, RecipeError
from lighten.measure import latency
from lighten.network import Graph, Layer, load, lower, trace
from lighten.network.structure import read_network
from lighten.network.weights import load_weights
from lighten.program.ir import Program
from lighten.report import card, write_report
from lighten.search import Space
from lighten.search import compress as road
from lighten.search import space as space_of
from lighten.search.options import Options
from lighten.search.outcome import Named, Result
from lighten.train.losses import loss_of

__all__ = [
    "Budget",
    "Graph",
    "Layer",
    "Named",
    "Options",
    "Program",
    "Result",
    "apply",
    "check_backends",
    "compile",
    "compress",
    "from_onnx",
    "load_network",
    "load_task",
    "lower",
    "measure",
    "open",
    "read_recipe",
    "replay",
    "search",
    "space",
    "trace",
    "train",
    "usual_training",
]


def load_task(
    spec: str, *, seed: int = 0, skip_corrupt: int = 0, progress: Progress = silent
) -> Task:
    """The task of a `--data` argument: builtin:digits, a folder, a tar, .npz, file.py:factory.

    Raises `DataError` naming what is wrong.

    >>> load_task("builtin:digits").labels[:3]
    ('0', '1', '2')
    """
    return data_room.load(spec, seed=seed, skip_corrupt=skip_corrupt, progress=progress)


def load_network(
    spec: str,
    *,
    weights: Path | str | None = None,
    task: Task | None = None,
    trained: bool = False,
    seed: int = 0,
) -> Any:
    """The network of a NETWORK argument, with its weights.

    With a task, a `zoo:` network gets as many classes and channels as the task has, and any
    network is tried on one batch. `trained` refuses a zoo network without weights.

    >>> sum(p.numel() for p in load_network("zoo:lenet5").parameters())
    431080
    """
    net = load.load_network(_sized(spec, task), seed=seed)
    if trained and weights is None and spec.startswith("zoo:"):
        raise InputError(
            f"{spec} must come with trained weights, but got none.",
            f"Train it first: lighten train {spec} --data DATA -o weights.safetensors, then give "
            "--weights weights.safetensors.",
        )
    if weights is not None:
        load_weights(net, Path(weights))
    if task is not None:
        _try(net, task)
    return net


def from_onnx(path: Path | str) -> Any:
    """The network in an .onnx file as an `nn.Module` that can be trained, traced and compressed.

    Layers are modules at the paths that their weights' names tell; inputs come in the file's order.
    NetworkError where the file cannot be read, UnsupportedOps for ops without a counterpart.
    """
    return load.load_network(str(path))


def open(folder: Path | str) -> Any:
    """The compressed network of a finished run as an `nn.Module`, ready to learn on.

    The layers lie at their old paths with float weights, also where `model.onnx` is int8; the
    class that the network was made from is not needed. Outputs that were dataclasses are dicts.
    NetworkError where the folder holds no network.

    >>> net = open("out/resnet20")  # doctest: +SKIP
    """
    return read_network(Path(folder))


def _sized(spec: str, task: Task | None) -> str:
    """A `zoo:` spec with the task's own classes and channels where it does not say them."""
    if task is None or not spec.startswith("zoo:"):
        return spec
    from lighten import zoo

    name, _, typed = spec.removeprefix("zoo:").partition("?")
    given = {part.partition("=")[0] for part in typed.split("&")}
    sizes = {"classes": len(task.labels), "channels": task.example()[0].shape[1]}
    added = [
        f"{option}={size}"
        for option, size in sizes.items()
        if size and option in zoo.options(name) and option not in given
    ]
    if not added or (typed and not all("=" in part for part in typed.split("&"))):
        return spec
    return f"zoo:{name}?{'&'.join([*filter(None, [typed]), *added])}"


def _try(net: Any, task: Task) -> None:
    """One forward pass: does the network take what the data gives, and answer what it asks?"""
    import torch

    inputs = task.example(2)
    shapes = ", ".join("x".join(map(str, x.shape[1:])) for x in inputs)
    was = net.training
    try:
        with torch.no_grad():
            outputs = net.eval()(*(torch.from_numpy(x) for x in inputs))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        cause = str(error).strip().splitlines()[0]
        raise NetworkError(
            f"The network does not accept the data's input of shape {shapes}: {cause}.",
            "Give a network made for that shape, or data of the network's.",
        ) from error
    finally:
        net.train(was)
    dense = isinstance(outputs, torch.Tensor) and outputs.ndim in (2, 4)
    classes = outputs.shape[1] if dense else None  # of every sample, or of every pixel
    if classes is not None and task.classifies and classes < len(task.labels):
        raise NetworkError(
            f"The network must answer for {len(task.labels)} classes, but has {classes} outputs."
        )


def compress(
    net: Any,
    task: Task,
    budget: Budget,
    options: Options | None = None,
    progress: Progress = silent,
    named: Named | None = None,
) -> Result:
    """The network that meets `budget` on this machine, or the nearest one, which then says so.

    `net` must be trained; it is not touched. Inputs, loss and metric come from `task`. Raises
    `InputError` and its kin for what cannot be used. A stopped run is resumed by the same call
    with `options.resume`.

    >>> compress(net, task, Budget(latency="0.25x", drop=0.5)).summary["met"]  # doctest: +SKIP
    True
    """
    result = road.compress(net, task, budget, options, progress, named)
    return _reported(result)


def replay(
    net: Any,
    task: Task,
    recipe: Recipe,
    options: Options | None = None,
    progress: Progress = silent,
    named: Named | None = None,
) -> Result:
    """Do exactly what `recipe` says, without any search, and measure it.

    Raises `RecipeError` where it was made for another network or does not fit this one.
    """
    result = road.replay(net, task, recipe, options, progress, named)
    return _reported(result)


def _reported(result: Result) -> Result:
    """The result with its report written, and its card for notebooks."""
    report = write_report(result.folder)
    return replace(result, card=card(result.summary, report))


def check_backends(options: Options) -> None:
    """Raise at once for a backend or reference that is unknown, not installed or a peer."""
    backends.check_threads(options.threads)
    for name in {options.backend, options.reference} - {"auto"}:
        backends.target(name)


def space(graph: Graph, task: Task, criterion: str = criteria.DEFAULT) -> Space:
    """What may be chosen in a traced network, ranked by `criterion` on calibration samples."""
    stats = criteria.gather(graph, task.calibration(), loss_of(task.loss))
    return space_of(graph, stats, criterion)


def search(
    net: Any,
    task: Task,
    budget: Budget,
    options: Options | None = None,
    count: int = 3,
    progress: Progress = silent,
) -> list[Recipe]:
    """The `count` recipes most promising for `budget` on this machine; nothing is trained yet.

    Their measurements lie in `options.out`; `compress` goes on from there with `resume`.
    """
    return road.proposals(net, task, budget, options or Options(), count, progress)


def apply(graph: Graph, recipe: Recipe) -> Any:
    """The network after the recipe's cuts: a live `nn.Module`, not yet trained."""
    return techniques.apply(graph, recipe)


def train(
    net: Any,
    task: Task,
    training: Training | None = None,
    *,
    teacher: Any = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Train `net` in place; its quality on `valid` and `test`, in the metric's unit.

    `teacher` is a network (or several) to distil from; the recipe's signals say how.
    """

    def tell(state: Any) -> None:
        progress("training", state.step, state.steps)

    session = train_room.Session(checkpoint=checkpoint, progress=tell)
    training = training or usual_training(net, task)
    train_room.fit(net, task, training, teacher=teacher, session=session)
    found = {}
    for split in ("valid", "test"):
        batches = getattr(task, split)()
        found[split] = float(task.metric.reduce(train_room.rows(net, batches, task.metric)))
    return found


def usual_training(
    net: Any, task: Task, optimizer: str | None = None, started: bool = False
) -> Training:
    """Twenty epochs of the task alone, with the optimiser and rates that suit the network.

    `started` says that the weights are trained already, and gives the gentler rate. Raises
    `RecipeError` for an optimizer without usual rates.
    """
    found = train_room.regime(net, task.names_samples)
    if optimizer is not None:
        if optimizer not in train_room.REGIMES:
            known = ", ".join(train_room.REGIMES)
            raise RecipeError(f"The optimizer must be one of {known}, got {optimizer!r}.")
        found = train_room.REGIMES[optimizer]
    return Training(
        20.0,
        optimizer=found.optimizer,
        lr=found.gentle if started else found.lr,
        weight_decay=found.weight_decay,
        signals=(("task", 1.0),),
    )


def compile(program: Program, backend: str = "onnxruntime", threads: int = 1) -> Executable:
    """The Program compiled: call it with arrays `[n, …]`. Raises `UnsupportedOps` by name."""
    return backends.get(backend).compile(program, threads)


def measure(
    executable: Executable, inputs: Sequence[np.ndarray[Any, Any]], seconds: float = 1.0
) -> Latency:
    """Milliseconds per call: pinned, warmed up, median with spread."""
    return latency.time(executable, inputs, seconds)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a YAML file. Raises `RecipeError` naming what is wrong."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        cause = str(error).splitlines()[0]
        raise RecipeError(f"{path} must be a YAML file, but: {cause}.") from error
    return Recipe.from_dict(found)
