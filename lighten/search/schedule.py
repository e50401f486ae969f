"""How long to train whom: the time that was given, shared out."""

from __future__ import annotations

from collections.abc import Sequence

from lighten.search.options import Options

ROUNDS = (3, 2, 1)  # recipes verified per round; predictions are corrected between rounds
MORE_ROUNDS = (1, 1, 1)  # where none of those was within the limits
MOST_EPOCHS, MOST_STEPS = 40.0, 4000  # of the final training, whichever is longer
VERIFYING = 0.25  # share of the training time spent on choosing
CHOOSING = 0.25  # share of the time that trials may take, all in all, after the first ones,
SEEKING = 0.7  # and while none of them is within the limits
TRIALS = 2  # the first ones
SHORTEST, LONGEST = 0.02, 0.1  # a trial's training as a share of the final one
LEAST = 0.4  # share of the time that training gets however long the preparations took
RESERVE, RESERVED = 0.08, 5.0  # share of the time, and seconds, kept for measuring and scoring


def verifying(options: Options, spent: float, epoch_seconds: float, most: float) -> float:
    """Epochs of a verifying trial, `spent` seconds into the run; a final training takes `most`.

    `epoch_seconds` is what one epoch of such a network takes with its teacher. A network cut and
    hardly trained is worth nothing, so slow preparations take their excess on top of the time.
    """
    if options.epochs is not None:
        return LONGEST * options.epochs
    left = max(LEAST * options.time, _left(options, spent))
    finish = min(most, (1 - VERIFYING) * left / _trainings(options) / epoch_seconds)
    trial = VERIFYING * left / sum(ROUNDS) / epoch_seconds
    return min(LONGEST * finish, max(trial, SHORTEST * finish))


def allows(options: Options, trials: Sequence[float], within: bool, spare: float = 0.0) -> bool:
    """Whether there is time for another trial after those, which took so many seconds each.

    More where none of them was `within` the limits, and the `spare` seconds that the longest
    useful final training leaves over.
    """
    if options.epochs is not None or len(trials) < TRIALS:
        return True
    share = CHOOSING if within else SEEKING
    return sum(trials) + sum(trials) / len(trials) <= max(share * options.time, spare)


def spared(options: Options, spent: float, epoch_seconds: float, most: float) -> float:
    """Seconds left over by a final training of `most` epochs, `spent` seconds into the run."""
    return _left(options, spent) - _trainings(options) * most * epoch_seconds


def finishing(options: Options, spent: float, epoch_seconds: float, most: float) -> float:
    """Epochs of the final training, `spent` seconds into the run: all the time that is left.

    `epoch_seconds` is what one epoch of the chosen network takes. Control runs cost two more
    trainings. However long the choice took, some training there is.
    """
    if options.epochs is not None:
        return options.epochs
    left = max(LEAST * (1 - VERIFYING) * options.time, _left(options, spent))
    return min(most, max(left / _trainings(options) / epoch_seconds, 0.05))


def most_epochs(steps_per_epoch: int) -> float:
    """The longest final training, in epochs: more for few samples, which take fewer steps each."""
    return max(MOST_EPOCHS, MOST_STEPS / max(steps_per_epoch, 1))


def _left(options: Options, spent: float) -> float:
    return options.time * (1 - RESERVE) - RESERVED - spent


def _trainings(options: Options) -> int:
    return 3 if options.control else 1
