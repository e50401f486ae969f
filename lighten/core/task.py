"""How to feed, teach and score a network. NumPy in, NumPy out; torch meets it in `train`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """One batch: the network's inputs, each `[n, …]`, and what the loss and metric compare with."""

    inputs: tuple[Array, ...]
    target: Any

    def __len__(self) -> int:
        return len(self.inputs[0])


def mean_percent(rows: Array) -> float:
    """100 × the mean: the share of right answers, in points."""
    return 100.0 * float(rows.mean())


def correct(outputs: Any, target: Any) -> Array:
    """1.0 where the largest logit is the target, else 0.0. Outputs `[n, classes]`, target `[n]`."""
    right: Array = np.asarray(outputs).argmax(-1) == np.asarray(target)
    return right.astype(np.float64)


@dataclass(frozen=True)
class Metric:
    """How good answers are, in two steps, so that differences can be paired sample by sample.

    `rows(outputs, target)` gives one row of statistics per sample, `[n]` or `[n, k]`;
    `reduce(rows)` turns rows into one number in `unit`. Intervals come from resampling rows.
    """

    name: str = "accuracy"
    unit: str = "points"
    higher_is_better: bool = True
    rows: Callable[[Any, Any], Array] = correct
    reduce: Callable[[Array], float] = mean_percent

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in the metric's unit; negative when better."""
        return before - after if self.higher_is_better else after - before


@dataclass(frozen=True)
class Preprocess:
    """What turns stored pixels into the network's input: `(x / scale − mean) / std` per channel.

    It travels with the Program, so that the artifact can be fed raw pixels elsewhere. `mean` and
    `std` are per channel, or empty for none. Text has a `tokenizer` instead: sixteen hexadecimal
    digits of the sha256 of its file.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    tokenizer: str = ""

    def __call__(self, pixels: Array) -> Array:
        """Raw `[n, c, …]` to float32 `[n, c, …]`."""
        x = pixels.astype(np.float32) * np.float32(1.0 / self.scale)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if self.mean:
            x -= np.asarray(self.mean, np.float32).reshape(shape)
        if self.std:
            x *= (1.0 / np.asarray(self.std, np.float32)).reshape(shape)
        return x


@dataclass(frozen=True)
class Task:
    """How to feed, teach and score a network.

    `train(seed, epoch, batch)` yields shuffled, augmented batches, the same ones for the same
    arguments, so that a killed run resumes. `valid()` and `test()` yield the fixed splits in a
    fixed order. `loss` is a row of `lighten.train.losses` or a callable of (outputs, target) on
    tensors. `train_size` is the number of training samples; `fingerprint` names the data.
    `notes` say what a reader of the results should know, such as files that were skipped.
    """

    train: Callable[[int, int, int], Iterable[Batch]]
    valid: Callable[[], Iterable[Batch]]
    test: Callable[[], Iterable[Batch]]
    train_size: int
    loss: str | Callable[[Any, Any], Any] = "cross_entropy"
    metric: Metric = field(default_factory=Metric)
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = field(default_factory=Preprocess)
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        """Whether the answers are scores of classes."""
        return self.loss == "cross_entropy"

    @property
    def names_samples(self) -> bool:
        """Whether each sample has one class, rather than each pixel or word of it."""
        if not self.classifies:
            return False
        target = np.asarray(next(iter(self.valid())).target)
        return target.ndim == 1 or (target.ndim == 2 and target.dtype.kind == "f")

    def example(self, batch: int = 1) -> tuple[Array, ...]:
        """The first `batch` inputs of `valid`, repeated where it is shorter."""
        first = next(iter(self.valid()))
        return tuple(np.resize(x, (batch, *x.shape[1:])) for x in first.inputs)

    def calibration(self, samples: int = 512) -> list[Batch]:
        """The first training samples of epoch 0 of seed 0 (augmented), for statistics.

        `valid` chooses and `test` judges, so neither is ever calibrated on.
        """
        batches: list[Batch] = []
        for batch in self.train(0, 0, min(128, self.train_size)):
            batches.append(batch)
            if sum(len(b) for b in batches) >= samples:
                break
        return batches


def first_samples(batches: Iterable[Batch], count: int) -> Iterator[Batch]:
    """The inputs of the first `count` samples, contiguous; the targets are left as they were."""
    for batch in batches:
        if count <= 0:
            return
        taken = tuple(np.ascontiguousarray(x[:count]) for x in batch.inputs)
        yield Batch(taken, batch.target)
        count -= len(batch)
