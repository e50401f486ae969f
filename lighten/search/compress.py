"""The road: baseline, predict, solve, verify, finish. One function each, in that order.

Everything that was measured or decided by a clock is remembered in the run's folder before it is
used; the rest follows from it and the seed. So a killed run, started again, ends the same.
"""

from __future__ import annotations

import time
from dataclasses import replace

from torch import nn

from lighten.core.budget import Budget
from lighten.core.progress import Progress, silent
from lighten.core.recipe import Recipe
from lighten.core.task import Task
from lighten.errors import RecipeError
from lighten.network import trace
from lighten.search import pace, searcher, stages
from lighten.search.options import Options
from lighten.search.outcome import Findings, Named, Result, publish


def compress(
    net: nn.Module,
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
    options = options or Options()
    clock = Clock()
    search = searcher(options.searcher)
    graph = trace(net, task.example(2), options.ignore)
    with stages.open_folder(graph, task, budget, options) as folder:
        bench = stages.workbench(graph, task, options, folder, progress)
        bounds = stages.baseline(bench, budget)
        known = stages.explore(bench, bounds)
        trials = stages.look(bench, known, search, clock)
        chosen = stages.best(trials, bounds)
        epochs = pace.finishing(bench, clock, chosen)
        recipe = replace(chosen.recipe, training=pace.training_for(bench, epochs))
        final = bench.verify(recipe, "finish", chosen.predicted)
        controls = stages.control(bench, recipe) if options.control else []
        findings = stages.gather(bench, known, [*trials, final], controls)
        findings = replace(findings, seconds=folder.seconds())
        return publish(bench, bounds, final, findings, named or Named())


def replay(
    net: nn.Module,
    task: Task,
    recipe: Recipe,
    options: Options | None = None,
    progress: Progress = silent,
    named: Named | None = None,
) -> Result:
    """Do exactly what `recipe` says, without any search, and measure it.

    Raises `RecipeError` where it was made for another network or does not fit this one.
    """
    options = options or Options()
    graph = trace(net, task.example(2), options.ignore)
    for what, here in (("weights", graph.fingerprint), ("data", task.fingerprint)):
        made_for = getattr(recipe, what)
        if made_for and made_for != here:
            raise RecipeError(
                f"The recipe was made for other {what}: it must be {made_for}, but got {here}.",
                f"Remove its {what!r} line to use it here all the same.",
            )
    with stages.open_folder(graph, task, recipe, options) as folder:
        bench = stages.workbench(graph, task, options, folder, progress)
        bounds = stages.baseline(bench, None)
        final = bench.verify(recipe, "finish", {})
        if final.failure:
            raise RecipeError(f"The recipe failed: {final.failure}")
        return publish(bench, bounds, final, Findings(seconds=folder.seconds()), named or Named())


def proposals(
    net: nn.Module,
    task: Task,
    budget: Budget,
    options: Options,
    count: int,
    progress: Progress = silent,
) -> list[Recipe]:
    """The recipes that would be verified first: predicted and solved, nothing trained yet."""
    search = searcher(options.searcher)
    graph = trace(net, task.example(2), options.ignore)
    with stages.open_folder(graph, task, budget, options) as folder:
        bench = stages.workbench(graph, task, options, folder, progress)
        known = stages.explore(bench, stages.baseline(bench, budget))
        return list(search.propose(known.space, (), options.seed, count))


class Clock:
    """Seconds since the run began, this time."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self.began
