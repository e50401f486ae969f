"""How long to train whom: the time that was given, shared out."""

from __future__ import annotations

from dataclasses import dataclass

from lighten.core.recipe import Training
from lighten.search.options import Options

ROUNDS = (3, 2, 1)  # recipes verified per round; predictions are corrected between rounds
MOST_EPOCHS = 40.0  # of the final training, where nothing else limits it
VERIFYING = 0.25  # share of the training time spent on choosing
SHORTEST, LONGEST = 0.02, 0.1  # a trial's training as a share of the final one
LEAST = 0.4  # share of the time that training gets however long the preparations took
RESERVE = 0.08  # share of the time kept for measuring and scoring


@dataclass(frozen=True)
class Schedule:
    """Epochs of a verifying trial and of the final training."""

    verify: float
    finish: float


def share_out(options: Options, spent: float, epoch_seconds: float) -> Schedule:
    """Share out what is left of `options.time` after `spent` seconds.

    `epoch_seconds` is what one epoch of the original takes with its teacher: cut networks take
    less, so the schedule errs towards finishing early. A network cut and hardly trained is worth
    nothing, so slow preparations take their excess on top of the time. Control runs cost two
    more trainings.
    """
    trainings = 3 if options.control else 1
    left = max(LEAST * options.time, options.time * (1 - RESERVE) - spent)
    if options.epochs is not None:
        finish = options.epochs
        return Schedule(LONGEST * finish, finish)
    affordable = (1 - VERIFYING) * left / trainings / epoch_seconds
    finish = min(MOST_EPOCHS, max(affordable, 0.05))
    trials = VERIFYING * left / sum(ROUNDS) / epoch_seconds
    return Schedule(min(LONGEST * finish, max(trials, SHORTEST * finish)), finish)


def training(epochs: float, train_size: int, seed: int) -> Training:
    """The training every recipe gets: distillation from the original network."""
    return Training(epochs=epochs, batch=64 if train_size < 5000 else 128, seed=seed)
