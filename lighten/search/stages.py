"""The stages of the road, in the order in which they run; `compress` strings them together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lighten import backends
from lighten.backends import native
from lighten.core.budget import Budget
from lighten.core.progress import Progress
from lighten.core.protocols import Backend, Searcher
from lighten.core.recipe import Recipe
from lighten.core.task import Task
from lighten.core.trial import Trial
from lighten.errors import InputError
from lighten.measure import latency
from lighten.network import Graph
from lighten.program.ir import Program
from lighten.run import RunFolder
from lighten.search import pace, predict, schedule, sensitivity, variants
from lighten.search.correct import corrected, latency_scale
from lighten.search.evidence import evidence
from lighten.search.further import further
from lighten.search.latency_model import LatencyModel
from lighten.search.limits import Bounds, check_possible
from lighten.search.milp import solve
from lighten.search.options import Options
from lighten.search.outcome import Findings, point
from lighten.search.solver import front
from lighten.search.space import Space
from lighten.search.space import space as space_of
from lighten.search.workbench import Workbench, choose_backend
from lighten.techniques import TABLE


@dataclass(frozen=True)
class Explored:
    """What is known before anything is tried: the bounds, the priced space, the latency model."""

    bounds: Bounds
    space: Space
    model: LatencyModel

    def corrected(self, trials: Sequence[Trial]) -> Space:
        """The space, with its predictions scaled to what the trials showed."""
        return corrected(self.space, trials, self.bounds.before["latency"])


def open_folder(graph: Graph, task: Task, wanted: Budget | Recipe, options: Options) -> RunFolder:
    """The run's folder, made for this network, data, budget (or recipe) and options."""
    asked = {k: v for k, v in asdict(options).items() if k not in ("out", "resume")}
    request = {
        "weights": graph.fingerprint,
        "data": task.fingerprint,
        "wanted": wanted.as_dict(),
        **asked,
    }
    return RunFolder(options.out or _first_free(Path("out")), request, options.resume)


def _first_free(parent: Path) -> Path:
    return next(path for n in itertools.count(1) if not (path := parent / f"run-{n}").exists())


def workbench(
    graph: Graph, task: Task, options: Options, folder: RunFolder, progress: Progress
) -> Workbench:
    """The workbench, with the backend chosen: for "auto" the fastest measured, int8 or fp32."""
    reference = backends.target(options.reference)
    candidates = choose_backend(options.backend)
    bench = Workbench(graph, task, options, folder, progress, candidates[0], reference)
    if len(candidates) == 1:
        return bench
    name = bench.remember("backend", lambda: _fastest(bench, candidates))
    return replace(bench, backend=backends.get(name))


def _fastest(bench: Workbench, candidates: Sequence[Backend]) -> str:
    """The backend in which the network, fp32 or int8, takes the least time."""
    from lighten.techniques import everywhere

    eight = Recipe(everywhere("quantize", bench.graph))
    taken: dict[str, float] = {}
    for backend in candidates:
        programs = [bench.original, bench.program(bench.graph.module, eight, backend=backend)]
        runnable = [p for p in programs if _runs(backend, p)]
        times = [
            latency.time(backend.compile(p, bench.options.threads), bench.inputs, 0.3).median_ms
            for p in runnable
        ]
        if times:
            taken[backend.name] = min(times)
    if not taken:
        raise InputError("No installed backend can run this network.")
    return min(taken, key=lambda name: taken[name])


def _runs(backend: Backend, program: Program) -> bool:
    """Whether a backend runs all of a program; ours, whether kernels do."""
    if backend.missing(program):
        return False
    return backend.name != native.Native.name or not native.interpreted(program)


def baseline(bench: Workbench, budget: Budget | None) -> Bounds:
    """The original measured: time, bytes, work. An impossible budget is refused here."""
    from lighten.program import cost

    bench.progress("baseline", 0, 1)
    timing = bench.time(Recipe(), bench.original)
    floor = bench.floor(bench.backend)
    if budget is not None:
        check_possible(budget, floor, timing)
    before = {
        "latency": timing.before.median_ms,
        "size": len(bench.original_bytes),
        "macs": cost.macs(bench.original),
    }
    bench.progress("baseline", 1, 1)
    return Bounds(budget, before)


def explore(bench: Workbench, bounds: Bounds) -> Explored:
    """Predict: what each choice would cost in time, bytes and MACs, and in quality."""
    model = predict.measure(bench)
    stats = sensitivity.statistics(bench)
    forms = variants.forms(bench)
    absent = {"quantize", "weights"} if not forms else {"weights"} if len(forms) < 2 else set()
    kinds = [name for name in TABLE if name not in absent]
    space = space_of(bench.graph, stats, counts=model.counts, techniques=kinds)
    space = replace(space, data=bench.task.fingerprint)
    space = replace(space, evidence=evidence(space, sensitivity.losses(bench, space)))
    problem = predict.problem(bench, space, model)
    return Explored(bounds, space.bounded(problem, bounds.aims).weighed({}), model)


def look(
    bench: Workbench, known: Explored, search: Searcher, clock: Callable[[], float]
) -> list[Trial]:
    """Verify the most promising recipes, round by round, correcting predictions in between.

    Where trials turn out slow, fewer are made: what they take is lost to the final training. A
    round that brings nothing better is the last; as long as none is within the limits, there are
    more.
    """
    trials: list[Trial] = []
    epochs, leader = 0.0, None
    for count in (*schedule.ROUNDS, *schedule.MORE_ROUNDS):
        view = known.corrected(trials)
        within = any(known.bounds.meets(trial) for trial in trials)
        if within and (len(trials) >= sum(schedule.ROUNDS) or leader is best(trials, known.bounds)):
            break
        leader = best(trials, known.bounds) if within else None
        for recipe in _proposed(bench, view, search, trials, count):
            if not pace.another(bench, trials, within):
                return trials
            epochs = epochs or pace.verifying(bench, clock, recipe)
            trained = replace(recipe, training=pace.training_for(bench, epochs))
            choice = known.space.choice(recipe)
            predicted = {
                "loss": view.priced.loss(choice),
                **{q: known.space.priced.cost(choice, q) for q in ("latency", "size", "macs")},
            }
            trials.append(bench.verify(trained, "verify", predicted))
    return trials


def _proposed(
    bench: Workbench, view: Space, search: Searcher, trials: Sequence[Trial], count: int
) -> list[Recipe]:
    """What the searcher proposes, written down: a solver stopped by a clock may differ later."""

    def asked() -> list[dict[str, Any]]:
        found = search.propose(view, trials, bench.options.seed, count)
        return [recipe.as_dict() for recipe in found]

    kept = bench.remember(f"proposals/{len(trials)}", asked)
    return [Recipe.from_dict(recipe) for recipe in kept]


def best(trials: Sequence[Trial], bounds: Bounds) -> Trial:
    """The trial to finish: the best on `valid` within the limits, else the nearest to them.

    The best is the one whose answers stay closest to the original's, among those whose drop lies
    within one standard error of the least: a short training on few samples tells no more.
    """
    scored = [t for t in trials if t.score is not None and t.score.quality is not None]
    if not scored:
        raise InputError(
            f"No recipe could be tried: {trials[0].failure if trials else 'none was proposed'}"
        )
    within = [t for t in scored if bounds.meets(t)]
    if not within:
        return min(scored, key=lambda t: max(bounds.excess(t).values()))
    least = min(within, key=lambda t: t.predicted["drop"]).predicted
    alike = least["drop"] + least["standard_error"]
    near = [t for t in within if t.predicted["drop"] <= alike]
    return min(near, key=lambda t: (t.predicted["divergence"], t.predicted["measured_ratio"]))


def control(bench: Workbench, recipe: Recipe) -> list[Trial]:
    """Matched runs, same steps and data order: without distillation, and of the uncut network."""
    alone = replace(recipe.training, signals=(("task", 1.0),))
    runs = {
        "control: no distillation": replace(recipe, training=alone),
        "control: dense": recipe.with_edits(()),
    }
    return [bench.verify(run, stage, {}) for stage, run in runs.items()]


def gather(
    bench: Workbench, known: Explored, trials: Sequence[Trial], controls: Sequence[Trial]
) -> Findings:
    """What the search knows, for the report; the last of the trials is the result."""
    view, result = known.corrected(trials), trials[-1].recipe
    solved = solve(view.priced, view.limits)
    measured = [point(t.recipe, t.score.as_dict(), True) for t in trials if t.score is not None]
    predicted = [point(recipe, costs, False) for recipe, costs in front(view)]
    search = {
        "gap": solved.gap if solved.meets else None,
        "latency_model_fit": known.model.residual,
        "trials": len(bench.folder.trials()),
        "searcher": bench.options.searcher,
    }
    scale = latency_scale(known.space, trials, known.bounds.before["latency"])
    onward = bench.remember(
        f"further/{result.digest}", lambda: further(view, result, trials, scale)
    )
    return Findings(
        controls,
        sensitivity.per_layer(known.space),
        [*measured, *predicted],
        search,
        onward,
        view,
    )
