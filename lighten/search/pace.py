"""How long to train whom, from how fast it trains here; what a clock decides is written down."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

from torch import nn

from lighten import train
from lighten.core.recipe import Recipe, Training
from lighten.core.trial import Trial
from lighten.errors import RecipeError
from lighten.search import schedule
from lighten.search.workbench import Workbench

FEW = 5000  # training samples: below, more steps count for more than fast ones
FIRST_STEPS, SPEED_STEPS = 2, 8  # training steps: to warm up, and timed to share out the time


def training_for(bench: Workbench, epochs: float) -> Training:
    """The training of every recipe here, at this length: distillation from the original."""
    found = train.regime(bench.graph.module, bench.task.names_samples)
    few = bench.task.train_size < FEW or found.optimizer == "adamw"
    return Training(
        epochs,
        64 if few else 128,
        found.optimizer,
        bench.options.lr or found.gentle,
        weight_decay=found.weight_decay,
        seed=bench.options.seed,
    )


def verifying(bench: Workbench, clock: Callable[[], float], first: Recipe) -> float:
    """Epochs of a verifying trial, timed on a few steps of the first network to be tried."""
    options = bench.options
    if options.epochs is not None:
        return schedule.verifying(options, 0.0, 1.0, options.epochs)
    epoch = bench.remember("epoch_seconds", lambda: _epoch_seconds(bench, first))
    spent = bench.remember("seconds_prepared", clock)
    return schedule.verifying(options, spent, epoch, _most_epochs(bench))


def finishing(bench: Workbench, clock: Callable[[], float], chosen: Trial) -> float:
    """Epochs of the final training of what was chosen, timed on a few steps of its own."""
    options = bench.options
    if options.epochs is not None:
        return options.epochs
    recipe = chosen.recipe
    key = f"epoch_seconds/{recipe.without_training().digest}"
    epoch = bench.remember(key, lambda: _epoch_seconds(bench, recipe))
    spent = bench.remember("seconds_looked", clock)
    return schedule.finishing(options, spent, epoch, _most_epochs(bench))


def another(bench: Workbench, trials: Sequence[Trial], within: bool) -> bool:
    """Whether there is time for another trial; written down, as all that a clock decides."""
    seconds = [trial.seconds for trial in trials]

    def allowed() -> bool:
        spare = 0.0
        if trials and bench.options.epochs is None:
            epoch = bench.remember("epoch_seconds", lambda: _epoch_seconds(bench, trials[0].recipe))
            prepared = bench.remember("seconds_prepared", lambda: 0.0)
            spare = schedule.spared(bench.options, prepared, epoch, _most_epochs(bench))
        return schedule.allows(bench.options, seconds, within, spare)

    return bool(bench.remember(f"another/{len(trials)}", allowed))


def _epoch_seconds(bench: Workbench, recipe: Recipe) -> float:
    """What an epoch takes, with the original as the teacher: of some steps, less the first ones."""
    try:
        module = bench.cut(recipe)
    except RecipeError:  # the trial will fail and say why
        module = bench.graph.module
    per_epoch = _steps(bench, 1.0)
    first, _ = _steps_seconds(bench, module, FIRST_STEPS)
    more, steps = _steps_seconds(bench, module, FIRST_STEPS + SPEED_STEPS)
    return max((more - first) * per_epoch / max(steps - FIRST_STEPS, 1), 1e-3)


def _steps_seconds(bench: Workbench, module: nn.Module, steps: int) -> tuple[float, int]:
    few = training_for(bench, min(1.0, steps / _steps(bench, 1.0)))
    began = time.monotonic()
    history = train.fit(
        copy.deepcopy(module),
        bench.task,
        few,
        teacher=bench.graph.module,
        session=train.Session(valid_every=0),
    )
    return time.monotonic() - began, history.steps


def _steps(bench: Workbench, epochs: float) -> int:
    return train.steps_of(training_for(bench, epochs), bench.task.train_size)


def _most_epochs(bench: Workbench) -> float:
    return schedule.most_epochs(_steps(bench, 1.0))
