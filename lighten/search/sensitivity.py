"""What each choice would cost in quality, seen on calibration batches before any training.

Every choice is made alone and the network's answers compared with the original's: the mean
Kullback–Leibler divergence in nats for classifiers, else the squared error relative to the
answers' variance. The loss of a recipe is predicted as the sum over its choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor, nn

from lighten.core.progress import Progress, silent
from lighten.core.recipe import Recipe
from lighten.core.task import Batch, Task, first_samples
from lighten.criteria import Statistics, gather
from lighten.formats.integer import INT8_WEIGHT, UINT8, Integer
from lighten.formats.projections import mask
from lighten.measure.quality import divergence
from lighten.network.fake_quantize import fake_quantize
from lighten.network.graph import Graph, Layer
from lighten.search.space import Place, Space
from lighten.techniques import apply
from lighten.techniques.weights import thinning
from lighten.train.evaluate import judging, quality
from lighten.train.losses import loss_of
from lighten.train.outputs import logits_of
from lighten.train.sparsify import Thinning

Array = np.ndarray[Any, Any]
SAMPLES = 256
WORK = 2e10  # multiply-accumulates per choice: large networks are judged on fewer samples
WEIGHTED = ("conv", "linear")
LOOKS = 3  # kept counts looked at per group; those between are interpolated


class Bench(Protocol):
    """What looking needs of the workbench."""

    @property
    def graph(self) -> Graph: ...
    @property
    def task(self) -> Task: ...
    @property
    def calibration(self) -> list[Batch]: ...
    @property
    def remember(self) -> Callable[[str, Callable[[], Any]], Any]: ...
    @property
    def progress(self) -> Progress: ...


def statistics(bench: Bench) -> Statistics:
    """What the criteria look at, from the calibration batches and the task's own loss."""
    return gather(bench.graph, bench.calibration, loss_of(bench.task.loss))


def losses(bench: Bench, space: Space) -> dict[str, tuple[float, ...]]:
    """Place → the loss of each of its choices, the first being 0. Never falls along the choices."""
    few = max(16, min(SAMPLES, int(WORK / max(1, bench.graph.macs))))
    batches = list(first_samples(bench.calibration, few))
    module = bench.graph.module
    with judging(module):
        original = _answers(module, batches)
    found = {}
    for i, place in enumerate(space.places):
        bench.progress("sensitivity", i, len(space.places))

        def look(choice: int, place: Place = place) -> float:
            recipe = Recipe(place.edits[choice]).without_training()

            def measured() -> float:
                answers = _edited(bench.graph, place, recipe, batches)
                return divergence(original.numpy(), answers.numpy(), bench.task.loss)

            return float(bench.remember(f"sensitivity/{recipe.digest}", measured))

        found[place.key] = along(place.widths, look)
    bench.progress("sensitivity", len(space.places), len(space.places))
    return found


def along(widths: Sequence[float], look: Callable[[int], float]) -> tuple[float, ...]:
    """Losses of all choices from looking at a few: monotone, and monotonically interpolated.

    >>> along((8.0, 6.0, 4.0, 2.0), lambda choice: choice / 10)
    (0.0, 0.1, 0.2, 0.3)
    """
    last = len(widths) - 1
    if last == 0:
        return (0.0,)
    seen = sorted({0, last, *(round(last * i / LOOKS) for i in range(1, LOOKS))})
    values = np.maximum.accumulate([0.0, *(max(0.0, look(choice)) for choice in seen[1:])])
    gone = [widths[0] - widths[choice] for choice in seen]
    if len(seen) == 2:
        curve: Any = np.interp([widths[0] - w for w in widths], gone, values)
    else:
        curve = PchipInterpolator(gone, values)([widths[0] - w for w in widths])
    return tuple(round(float(value), 9) for value in np.maximum.accumulate(curve))


def _edited(graph: Graph, place: Place, recipe: Recipe, batches: Sequence[Batch]) -> Tensor:
    if place.technique == "quantize":
        thin = [thinning(edit) for edit in recipe.by("weights")]
        with judging(graph.module), fake_int8(graph.module, place.name, *thin):
            return _answers(graph.module, batches)
    module = apply(graph, recipe)
    with judging(module):
        return _answers(module, batches)


def _answers(module: nn.Module, batches: Iterable[Batch]) -> Tensor:
    answers = [logits_of(module(*map(torch.from_numpy, batch.inputs))) for batch in batches]
    return torch.cat([answer.float() for answer in answers])


@contextmanager
def fake_int8(module: nn.Module, layer: str, *thin: Thinning) -> Iterator[None]:
    """One layer with its weight and what it reads rounded to int8 and back, and `thin` of its
    weights left, by their magnitude; undone bit-exactly.

    A call without a module of its own (a functional one) stays as it is.
    """
    if not _is_module(module, layer):
        yield
        return
    part = module.get_submodule(layer)
    weight = part.get_parameter("weight")
    saved = weight.detach().clone()

    def rounded_input(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (rounded(given[0], UINT8, None), *given[1:])

    hook = part.register_forward_pre_hook(rounded_input)
    try:
        with torch.no_grad():
            left = saved
            for each in thin:
                left = left * mask(saved.abs(), each.pattern, each.density)
            weight.copy_(rounded(left, INT8_WEIGHT, 0))
        yield
    finally:
        hook.remove()
        with torch.no_grad():
            weight.copy_(saved)


def _is_module(module: nn.Module, name: str) -> bool:
    parts = dict(module.named_modules())
    return name in parts and "weight" in dict(parts[name].named_parameters(recurse=False))


def rounded(x: Tensor, form: Integer, axis: int | None) -> Tensor:
    """The nearest values that the integer format can hold, its scale fitted to `x`."""
    x = x.detach()
    return fake_quantize(x, form, form.fit(x.numpy(), axis))


def scan(
    graph: Graph,
    task: Task,
    batches: Callable[[], Iterable[Batch]] | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Layer → the metric when half of it is zeroed (row C5): the lower, the more sensitive.

    Of each convolution and linear layer, the half of its filters with the least Σ|w| is zeroed; of
    a layer whose outputs cannot go, half of its inputs. Judged on `batches` (default: `valid`).
    The weights come back bit-exactly.
    """
    layers = [
        layer
        for layer in graph.layers
        if layer.kind.startswith(WEIGHTED) and _is_module(graph.module, layer.name)
    ]
    found = {}
    for i, layer in enumerate(layers):
        progress("sensitivity", i, len(layers))
        with half_zeroed(graph.module, layer):
            found[layer.name] = quality(graph.module, (batches or task.valid)(), task.metric)
    progress("sensitivity", len(layers), len(layers))
    return found


@contextmanager
def half_zeroed(module: nn.Module, layer: Layer) -> Iterator[None]:
    """One layer with half of its filters zero; undone bit-exactly."""
    weight = module.get_submodule(layer.name).get_parameter("weight")
    saved = weight.detach().clone()
    dim = int(layer.kind.startswith("convtranspose")) ^ int(bool(layer.uncut))
    dim = min(dim, weight.ndim - 1)
    sums = saved.abs().sum([d for d in range(saved.ndim) if d != dim])
    least = sums.argsort(stable=True)[: len(sums) // 2]
    try:
        with torch.no_grad():
            weight.index_fill_(dim, least, 0.0)
        yield
    finally:
        with torch.no_grad():
            weight.copy_(saved)


def per_layer(space: Space) -> dict[str, float]:
    """Layer → what was seen when about half of what it makes was cut, for the report."""
    found: dict[str, float] = {}
    for place, kinds in zip(space.places, space.evidence, strict=True):
        if place.technique != "channels":
            continue
        half = min(
            range(len(place.widths)), key=lambda c: abs(place.widths[c] - place.widths[0] / 2)
        )
        for member in space.graph.group(place.name).producers:
            layer = member.parameter.rpartition(".")[0]
            found[layer] = max(found.get(layer, 0.0), kinds[place.technique][half])
    return found
