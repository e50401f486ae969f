"""The endless run of training batches, from any point of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from lighten.core.recipe import Training
from lighten.core.task import Batch, Task
from lighten.errors import DataError


@dataclass(frozen=True)
class Place:
    """Where a run stands in its data: the epoch, and the number of its batches already seen."""

    epoch: int = 0
    seen: int = 0


def stream(task: Task, training: Training, start: Place) -> Generator[tuple[Batch, Place]]:
    """Batches after `start`, each with the place after it.

    A batch of one sample is passed over where `training.batch` is larger: batch normalisation
    has no variance there.
    """
    place = start
    while True:
        fruitless = place.seen == 0
        for number, batch in enumerate(task.train(training.seed, place.epoch, training.batch), 1):
            if number <= place.seen or (len(batch) == 1 and training.batch > 1):
                continue
            fruitless = False
            yield batch, Place(place.epoch, number)
        if fruitless:
            raise DataError("An epoch must have at least one batch to train on, but got none.")
        place = Place(place.epoch + 1)
