"""Any `DataLoader`, dataset or iterable of batches as a `Task`, without importing its framework."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.core.task import Array, Batch, Metric, Task
from lighten.data.batches import Source, task_from_sources
from lighten.data.splits import HELD_OUT
from lighten.errors import DataError

ACCURACY = Metric()
SAMPLED = 256  # test samples that name data which cannot be hashed whole
FORMS = 'Batches must be (x, y), ((x1, x2), y) or {"input": …, "target": …}.'


def from_loaders(
    train: Iterable[Any],
    test: Iterable[Any],
    valid: Iterable[Any] | None = None,
    *,
    loss: str | Callable[[Any, Any], Any] = "cross_entropy",
    metric: Metric = ACCURACY,
    labels: Sequence[str] = (),
) -> Task:
    """A `Task` from loaders of batches `(x, y)`, `((x1, x2), y)` or `{"input": …, "target": …}`.

    A loader with a `dataset` that can be indexed and a `collate_fn` (torch's) is read sample by
    sample, in an order of our own, so that batch size and shuffling follow the recipe; its
    random augmentation then draws from its own generators. Anything else is read once into
    memory. Where there is no `valid`, a tenth of train is held out (seed 0).

    >>> batches = [(np.zeros((4, 2)), np.arange(4) % 2)] * 10
    >>> from_loaders(batches, batches).train_size
    36
    """
    sources = {"train": _source("train", train), "test": _source("test", test)}
    if valid is None:
        order = np.random.default_rng(0).permutation(len(sources["train"]))
        held = max(1, round(HELD_OUT * len(order)))
        if held >= len(order):
            raise DataError(f"train holds {len(order)} sample(s), too few to hold out a valid.")
        sources["valid"] = Some(sources["train"], np.sort(order[:held]))
        sources["train"] = Some(sources["train"], np.sort(order[held:]))
    else:
        sources["valid"] = _source("valid", valid)
    size = getattr(test, "batch_size", None)
    return task_from_sources(
        sources["train"],
        sources["valid"],
        sources["test"],
        batch=size if isinstance(size, int) else 128,
        loss=loss,
        metric=metric,
        labels=tuple(labels),
        fingerprint=_fingerprint(sources),
    )


@dataclass(frozen=True, eq=False)
class Indexed:
    """A dataset read sample by sample and collated as its loader would."""

    dataset: Any
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch:
        """The batch of these samples."""
        return as_batch(self.collate([self.dataset[int(place)] for place in index]))


@dataclass(frozen=True, eq=False)
class Held:
    """Batches read once into memory."""

    batch: Batch

    def __len__(self) -> int:
        return len(self.batch)

    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch:
        """The batch of these samples."""
        return Batch(tuple(x[index] for x in self.batch.inputs), rows(self.batch.target, index))


@dataclass(frozen=True, eq=False)
class Some:
    """A part of another source."""

    source: Source
    places: Array

    def __len__(self) -> int:
        return len(self.places)

    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch:
        """The batch of these samples."""
        return self.source.pick(self.places[index], rng)


def _source(name: str, loader: Iterable[Any]) -> Source:
    dataset, collate = getattr(loader, "dataset", None), getattr(loader, "collate_fn", None)
    plain = type(getattr(loader, "sampler", None)).__name__ in (
        "RandomSampler",
        "SequentialSampler",
    )
    source: Source
    if callable(collate) and plain and hasattr(dataset, "__getitem__"):
        source = Indexed(dataset, collate)
    else:
        batches = [as_batch(given) for given in loader]
        if not batches:
            raise DataError(f"The {name} loader is empty: it gives no batches.")
        source = Held(_one(name, batches))
    if len(source) == 0:
        raise DataError(f"The {name} loader is empty: it holds no samples.")
    return source


def _one(name: str, batches: Sequence[Batch]) -> Batch:
    """Many batches as one."""
    try:
        inputs = zip(*(batch.inputs for batch in batches), strict=True)
        return Batch(tuple(map(np.concatenate, inputs)), joined([b.target for b in batches]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"The batches of the {name} loader differ in shape: {error}.",
            "Pad the samples, or give a DataLoader over a dataset that can be indexed.",
        ) from error


def as_batch(given: Any) -> Batch:
    """What a loader gave as a `Batch` of arrays (doubles become floats). Raises `DataError`."""
    if isinstance(given, Batch):
        return given
    if isinstance(given, Mapping) and {"input", "target"} <= set(given):
        inputs, target = given["input"], given["target"]
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        inputs, target = given
    else:
        keys = f" with keys {', '.join(map(str, given))}" if isinstance(given, Mapping) else ""
        raise DataError(f"A loader gave a {type(given).__name__}{keys}.", FORMS)
    many = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    arrays = tuple(as_array(x) for x in many)
    for x in arrays:
        if x.ndim == 0 or len(x) != len(arrays[0]):
            raise DataError(f"Inputs of one batch must be equally many, but got {x.shape}.", FORMS)
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise DataError("A loader gave an input that holds NaN or infinity.")
    return Batch(arrays, _arrays(target))


def as_array(value: Any) -> Array:
    """An array from an array, a tensor or a list of numbers; doubles become float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if array.dtype == object:
        raise DataError(f"A batch must hold arrays or tensors, but got {type(value).__name__}.")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _arrays(target: Any) -> Any:
    if isinstance(target, Mapping):
        return {name: _arrays(part) for name, part in target.items()}
    if isinstance(target, tuple) or (isinstance(target, list) and hasattr(target[0], "shape")):
        return tuple(_arrays(part) for part in target)
    return as_array(target)


def joined(targets: Sequence[Any]) -> Any:
    """Targets of many batches as one: arrays end to end, inside dicts and tuples too."""
    if isinstance(targets[0], Mapping):
        return {name: joined([target[name] for target in targets]) for name in targets[0]}
    if isinstance(targets[0], tuple):
        return tuple(joined(parts) for parts in zip(*targets, strict=True))
    return np.concatenate(targets)


def rows(target: Any, index: Array) -> Any:
    """The target of the samples at `index`, inside dicts and tuples too."""
    if isinstance(target, Mapping):
        return {name: rows(part, index) for name, part in target.items()}
    if isinstance(target, tuple):
        return tuple(rows(part, index) for part in target)
    return target[index]


def _fingerprint(sources: Mapping[str, Source]) -> str:
    """Sizes and the first test samples: a dataset cannot be asked for more cheaply."""
    digest = hashlib.sha256(str({n: len(s) for n, s in sources.items()}).encode())
    test = sources["test"].pick(np.arange(min(SAMPLED, len(sources["test"]))), None)
    for x in test.inputs:
        digest.update(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()[:16]
