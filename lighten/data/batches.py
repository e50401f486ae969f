"""From samples that can be picked by number to a `Task`: order, batch bounds, a reader ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lighten.core.task import Array, Batch, Preprocess, Task
from lighten.data.augment import Augmentation, suited, unchanged
from lighten.data.generated import Entry
from lighten.data.splits import Split, Splits

AHEAD = 2  # batches made ready while the network works on another


class Source(Protocol):
    """Samples that can be picked by number. `rng` is given in training, for augmentation."""

    def __len__(self) -> int: ...
    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch: ...


@dataclass(frozen=True, eq=False)
class Pixels:
    """A split of raw samples, augmented in training and normalised; `target` reads raw targets."""

    split: Split
    preprocess: Preprocess
    augmentation: Augmentation = unchanged
    target: Callable[[Array], Array] = np.asarray

    def __len__(self) -> int:
        return len(self.split)

    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch:
        """The batch of these samples."""
        x, y = self.split.take(index)
        if rng is not None:
            x = self.augmentation(x, rng)
        return Batch((self.preprocess(x),), self.target(y))


def task_of(splits: Splits, *, batch: int = 128, augment: bool = True) -> Task:
    """A classification task over complete splits; `batch` is that of `valid` and `test`."""
    preprocess = splits.preprocess or Preprocess()
    augmentation = suited(splits.train.x) if augment else unchanged
    fixed = {name: Pixels(split, preprocess) for name, split in splits.named().items()}
    return task_from_sources(
        Pixels(splits.train, preprocess, augmentation),
        fixed["valid"],
        fixed["test"],
        batch=batch,
        labels=splits.labels,
        preprocess=preprocess,
        fingerprint=splits.fingerprint,
        notes=splits.notes,
    )


def task_of_generated(splits: Splits, entry: Entry, *, batch: int = 128) -> Task:
    """The task of a generated set: nothing is augmented, since a new sample costs no more."""
    train, valid, test = (
        Pixels(split, entry.preprocess, target=entry.target) for split in splits.named().values()
    )
    return task_from_sources(
        train,
        valid,
        test,
        batch=batch,
        loss=entry.loss,
        metric=entry.metric,
        labels=splits.labels,
        preprocess=entry.preprocess,
        fingerprint=splits.fingerprint,
    )


def task_from_sources(
    train: Source, valid: Source, test: Source, *, batch: int = 128, **fields: Any
) -> Task:
    """A `Task` over three sources; `fields` are further fields of the task."""

    def training(seed: int, epoch: int, size: int) -> Iterable[Batch]:
        return ahead(shuffled(train, seed, epoch, size))

    return Task(
        train=training,
        valid=lambda: in_order(valid, batch),
        test=lambda: in_order(test, batch),
        train_size=len(train),
        **fields,
    )


def shuffled(source: Source, seed: int, epoch: int, batch: int) -> Iterator[Batch]:
    """Every sample once in random order, the same order and augmentation for the same numbers.

    A last batch of one sample would break batch normalisation: it joins the batch before it.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(source))
    starts = list(range(0, len(order), batch))
    if batch > 1 and len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield source.pick(order[start:end], rng)


def in_order(source: Source, batch: int) -> Iterator[Batch]:
    """Every sample once, in the order in which it is stored."""
    for start in range(0, len(source), batch):
        yield source.pick(np.arange(start, min(start + batch, len(source))), None)


@dataclass(frozen=True)
class Ended:
    """The reader ahead has stopped: at the end, or with an error."""

    error: BaseException | None = None


def ahead(batches: Iterator[Batch], depth: int = AHEAD) -> Iterator[Batch]:
    """The same batches in the same order, made in a thread while the caller works.

    Errors come out where the batch would have; leaving early stops the thread.
    """
    ready: queue.Queue[Batch | Ended] = queue.Queue(depth)
    left = threading.Event()

    def put(item: Batch | Ended) -> bool:
        while not left.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            if all(put(batch) for batch in batches):
                put(Ended())
        except BaseException as error:
            put(Ended(error))

    thread = threading.Thread(target=read, name="lighten-data", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), Ended):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
