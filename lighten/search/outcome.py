"""What comes out of a run: the result, and the files that prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from lighten import store
from lighten.backends.native import Native
from lighten.core.files import write_bytes, write_json, write_text
from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Interval, Score, Trial
from lighten.errors import NetworkError
from lighten.formats.calibrate import CALIBRATORS
from lighten.measure import installed, probe, quality
from lighten.network.structure import WEIGHTS, save_network
from lighten.network.weights import save_weights
from lighten.program import cost, onnx_out
from lighten.program.ir import Program
from lighten.search.limits import Bounds
from lighten.search.ranges import calibration
from lighten.search.space import Space
from lighten.search.spent import spent
from lighten.search.tables import curves, layers
from lighten.search.why import why
from lighten.search.workbench import Array, Built, Timing, Workbench


@dataclass(frozen=True)
class Named:
    """What the user called things: shown in the report, and the command that reproduces it."""

    network: str = "network"
    data: str = "task"
    command: str = "lighten.compress(…)"


@dataclass(frozen=True)
class Result:
    """The compressed network and its proof.

    `model` is a live `nn.Module`, float weights, ready to go on training; `program` the
    executable form that was measured; `front` every choice that nothing beats, measured or
    predicted; `folder` holds model.onnx (and model.lighten where our engine ran it), recipe.yaml
    and the report; `card` is the result in a few lines of HTML.
    """

    model: nn.Module = field(repr=False)
    program: Program = field(repr=False)
    recipe: Recipe = field(repr=False)
    summary: Mapping[str, Any]
    front: Sequence[Mapping[str, Any]] = field(repr=False)
    folder: Path
    card: str = field(default="", repr=False)

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.folder / "report.html"

    def _repr_html_(self) -> str | None:
        """What a notebook shows."""
        return self.card or None


@dataclass(frozen=True)
class Findings:
    """What the search knew besides the winner, for the report; empty for a replayed recipe."""

    controls: Sequence[Trial] = ()
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    front: Sequence[Mapping[str, Any]] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    further: Sequence[Mapping[str, Any]] = ()
    view: Space | None = field(default=None, repr=False)
    seconds: float = 0.0


def publish(
    bench: Workbench, bounds: Bounds, final: Trial, findings: Findings, named: Named
) -> Result:
    """Score the winner once on `test`, write the run's files, and give the result."""
    built = calibrated(bench, final)
    timing = bench.time(built.recipe, built.program, shipped=True)
    before, after = on_test(bench, built)
    scores = {
        "before": _before(bench, timing, before),
        "after": bench.score(built, timing, after),
    }
    judged = judge(bench, bounds, before, after, findings.controls)
    trial = replace(final, recipe=built.recipe, score=scores["after"])
    trial.predicted.update(measured_ratio=timing.ratio)  # type: ignore[attr-defined]
    missed = _missed(bounds, trial, judged["drop"], bench.task.metric.unit)
    summary = {
        "network": named.network,
        "task": {
            "data": named.data,
            "metric": {
                "name": bench.task.metric.name,
                "unit": bench.task.metric.unit,
                "higher_is_better": bench.task.metric.higher_is_better,
            },
        },
        **{name: score.as_dict() for name, score in scores.items()},
        "speedup": 1.0 / timing.ratio,
        "speedup_interval": [1.0 / timing.interval.high, 1.0 / timing.interval.low],
        **judged,
        "valid": _valid(bounds, final),
        "budget": bounds.budget.as_dict() if bounds.budget else {},
        "met": not missed if bounds.budget else None,
        "missed": missed,
        "reference": bench.reference.name,
        "backend": bench.backend.name,
        "threads": bench.options.threads,
        "batch": bench.options.batch,
        "device": probe.probe().as_dict(),
        "command": named.command,
        "versions": installed.versions(),
        "seconds": findings.seconds,
        "recipe": built.recipe.digest,
        "search": dict(findings.search),
        "loss_unit": "nats" if bench.task.classifies else "of the answers' variance",
        "further": list(findings.further),
        "notes": [*bench.task.notes, *_kept(built.module, bench.folder.path)],
    }
    times = {
        "before": spent(
            bench, bench.reference, bench.original, ("original", timing.before.median_ms)
        ),
        "after": spent(
            bench, bench.backend, built.program, (built.recipe.digest, timing.after.median_ms)
        ),
    }
    told = why(bench.graph, final.recipe, findings.view)
    write(bench, built, summary, findings, (times, told))
    return Result(
        built.module, built.program, built.recipe, summary, findings.front, bench.folder.path
    )


def point(recipe: Recipe, score: Mapping[str, Any], measured: bool) -> dict[str, Any]:
    """One point of the front: what it scores, and what it does in a few words."""
    counts = [(t, len(recipe.by(t))) for t in ("blocks", "channels", "weights", "quantize")]
    wanted = ("quality", "latency_ms", "bytes", "macs", "drop")
    return {
        "digest": recipe.digest,
        **{name: score.get(name) for name in wanted},
        "measured": measured,
        "edits": ", ".join(f"{n} {t}" for t, n in counts if n) or "nothing",
    }


def calibrated(bench: Workbench, final: Trial) -> Built:
    """The finished network, its ranges calibrated in the way that scores best on `valid`.

    A recipe that already names its calibrator is taken at its word.
    """
    recipe = final.recipe
    built = bench.trained(recipe, final.stage, bench.graph.module)
    eight = recipe.by("quantize")
    learned = bool(recipe.by("weights"))  # its ranges, too
    if not eight or learned or any(name == "calibrator" for name, _ in eight[0].settings):
        return built

    def scored() -> dict[str, float]:
        metric = bench.task.metric
        found = {}
        for name in CALIBRATORS:
            program = bench.program(built.module, with_calibrator(recipe, name))
            rows = bench.rows(program, bench.task.valid())
            found[name] = metric.drop(0.0, quality.quality(rows, metric))
        return found

    drops = bench.remember(f"calibrators/{recipe.digest}", scored)
    chosen = with_calibrator(recipe, min(drops, key=lambda name: drops[name]))
    program = bench.program(built.module, chosen)
    return replace(built, recipe=chosen, program=program, data=onnx_out.to_onnx(program))


def with_calibrator(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the calibrator of its int8 layers named."""
    edits = [
        Edit.of("quantize", e.place, **{**dict(e.settings), "calibrator": name})
        if e.technique == "quantize"
        else e
        for e in recipe.edits
    ]
    return recipe.with_edits(edits)


def on_test(bench: Workbench, built: Built) -> tuple[Array, Array]:
    """Rows of the original and of the shipped file on `test`, each scored once."""
    before = quality.rows(bench.original_executable, bench.task.test(), bench.task.metric)
    return before, bench.rows(built.program, bench.task.test())


def judge(
    bench: Workbench, bounds: Bounds, before: Array, after: Array, controls: Sequence[Trial]
) -> dict[str, Any]:
    """The drop with its paired interval, against the better of the original and dense control."""
    metric = bench.task.metric
    against, shown = before, []
    for trial in controls:
        rows = _control_rows(bench, trial)
        drop, interval = quality.paired_drop(before, rows, metric)
        shown.append(
            {
                "name": trial.stage,
                **(trial.score or Score()).as_dict(),
                "quality": quality.quality(rows, metric),
                "quality_interval": _pair(quality.interval(rows, metric)),
                "drop": drop,
                "drop_interval": _pair(interval),
            }
        )
        if not trial.recipe.edits and drop < 0:
            against = rows
    drop, interval = quality.paired_drop(against, after, metric)
    return {"drop": drop, "drop_interval": _pair(interval), "controls": shown}


def _control_rows(bench: Workbench, trial: Trial) -> Array:
    built = bench.trained(trial.recipe, trial.stage, bench.graph.module)
    return bench.rows(built.program, bench.task.test())


def _before(bench: Workbench, timing: Timing, rows: Array) -> Score:
    return Score(
        quality.quality(rows, bench.task.metric),
        quality.interval(rows, bench.task.metric),
        timing.before.median_ms,
        timing.before.spread_ms,
        len(bench.original_bytes),
        cost.macs(bench.original),
        cost.parameters(bench.original),
    )


def _missed(bounds: Bounds, trial: Trial, drop: float, unit: str) -> list[str]:
    if bounds.budget is None:
        return []
    over = bounds.excess(trial).items()
    missed = [f"{name} is {ratio:.3f} times its limit." for name, ratio in over if ratio > 1.0]
    if drop > bounds.budget.drop:
        allowed = f"{bounds.budget.drop:g} {unit}".rstrip()
        missed.append(f"The drop is {drop:.3g}, above {allowed}.")
    return missed


def _valid(bounds: Bounds, final: Trial) -> dict[str, float]:
    """What the search saw: the drop on `valid`, and what it aimed at, the budget less one error."""
    seen = {name: final.predicted[name] for name in ("drop", "standard_error")}
    if bounds.budget is None:
        return seen
    return {**seen, "aim": bounds.budget.drop - seen["standard_error"]}


def _kept(module: nn.Module, folder: Path) -> list[str]:
    """Write the network, to be opened without its class; where that cannot be, its weights."""
    try:
        save_network(module, folder)
    except NetworkError as reason:
        save_weights(module, folder / WEIGHTS)
        return [f"lighten.open needs the network's own class here: {reason.message}"]
    return []


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def write(
    bench: Workbench,
    built: Built,
    summary: Mapping[str, Any],
    findings: Findings,
    known: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> None:
    """The run's files; `summary.json` comes last, so that it stands for a whole run.

    `known` has where the time went, before and after, and why each layer is as it is.
    """
    import yaml

    folder = bench.folder.path
    write_bytes(folder / "model.onnx", built.data)
    if bench.backend.name == Native.name:
        store.save(built.program, folder / "model.lighten")
    write_text(folder / "recipe.yaml", yaml.safe_dump(built.recipe.as_dict(), sort_keys=False))
    write_json(folder / "layers.json", layers(bench, built, findings.sensitivity, known))
    write_json(folder / "time.json", known[0])
    write_json(folder / "calibration.json", calibration(bench, built))
    write_json(folder / "training.json", curves(bench, built, findings.controls))
    write_json(folder / "front.json", list(findings.front))
    write_json(folder / "summary.json", dict(summary))
    for path in bench.folder.work.glob("verify-*"):
        path.unlink()
    if bench.folder.work.is_dir() and not any(bench.folder.work.iterdir()):
        bench.folder.work.rmdir()
