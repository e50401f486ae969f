"""Where recipes become networks, and networks become measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from lighten import backends, techniques, train
from lighten.backends.eager import activations
from lighten.core.progress import Progress
from lighten.core.protocols import Backend, Executable, Hook
from lighten.core.recipe import Recipe, Training
from lighten.core.task import Batch, Task, first_samples
from lighten.core.trial import Interval, Latency, Score, Trial
from lighten.errors import InexactError, LightenError, WriteError
from lighten.measure import latency, quality
from lighten.network import Graph, check_exact, lower
from lighten.program import cost, empty, onnx_out, quantization
from lighten.program.ir import Program
from lighten.program.quantize import observe, quantizable, quantize
from lighten.run import RunFolder
from lighten.search.options import Options

Array = np.ndarray[Any, Any]
CALIBRATION_SAMPLES = 512
COMPARED = 2000  # samples of `valid` on which answers are compared with the original's
TRIAL_POINTS = 80  # of a trial's training curve that are kept
TIMING_SECONDS = 2.0  # of each network, but no more than
FLOOR_SECONDS = 0.2
TIMING_SHARE = 0.01  # of the time that there is, where it only serves to choose


@dataclass(frozen=True)
class Timing:
    """One network against the fp32 original, timed in turns. `ratio` is after ÷ before."""

    before: Latency
    after: Latency
    ratio: float
    interval: Interval

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timing:
        """Read what `Workbench.time` wrote down."""
        return cls(
            Latency(*data["before"]),
            Latency(*data["after"]),
            data["ratio"],
            Interval(*data["interval"]),
        )


@dataclass(frozen=True)
class Built:
    """A recipe made real: the live network, its Program, and the file that ships."""

    recipe: Recipe
    module: nn.Module = field(repr=False)
    program: Program = field(repr=False)
    data: bytes = field(repr=False)
    history: Any = None


@dataclass(frozen=True)
class Workbench:
    """What one run works with; the same from its first measurement to its last."""

    graph: Graph
    task: Task
    options: Options
    folder: RunFolder
    progress: Progress
    backend: Backend
    reference: Backend

    @property
    def remember(self) -> Callable[[str, Callable[[], Any]], Any]:
        """Writes a measurement down before it is used."""
        return self.folder.measurements.remember

    @cached_property
    def inputs(self) -> tuple[Array, ...]:
        """What is timed: the first valid samples, `options.batch` of them."""
        return self.task.example(self.options.batch)

    @cached_property
    def calibration(self) -> list[Batch]:
        """Training samples for statistics and ranges."""
        return self.task.calibration(CALIBRATION_SAMPLES)

    @cached_property
    def original(self) -> Program:
        """The network that was given, fp32."""
        return self.lowered(self.graph.module)

    @cached_property
    def original_bytes(self) -> bytes:
        """Its ONNX file."""
        return onnx_out.to_onnx(self.original)

    @cached_property
    def original_executable(self) -> Executable:
        """It, in the reference backend: what every "0.25x" refers to."""
        return self.reference.compile(self.original, self.options.threads)

    @cached_property
    def original_rows(self) -> Array:
        """Its answers on `valid`, scored sample by sample."""
        return quality.rows(self.original_executable, self.task.valid(), self.task.metric)

    def lowered(self, module: nn.Module) -> Program:
        """A live network as a fused fp32 Program."""
        task = self.task
        return lower(
            module,
            self.task.example(2),
            preprocess=task.preprocess,
            labels=task.labels,
            origin=self.graph.fingerprint,
        )

    def cut(self, recipe: Recipe) -> nn.Module:
        """The network after the recipe's cuts, before training; checked against the masked one."""
        module = techniques.apply(self.graph, recipe)
        if recipe.by("channels") or recipe.by("blocks"):
            keep, dropped = techniques.cuts(recipe)
            check_exact(self.graph, keep, dropped, self.task.example(2))
        return module

    def program(
        self,
        module: nn.Module,
        recipe: Recipe,
        calibrator: str = "mse",
        backend: Backend | None = None,
    ) -> Program:
        """The executable form: lowered, then quantized where the recipe says so and the network
        has not learned to be; as the chosen backend, or another, runs it best.
        """
        program = self.lowered(module)
        layers = [edit.place for edit in recipe.by("quantize")]
        if not layers or recipe.by("weights"):
            return program
        inputs = [batch.inputs for batch in self.calibration]
        joins = (backend or self.backend).joins
        return quantization(program, inputs, layers, calibrator, activations, joins)

    def trained(self, recipe: Recipe, stage: str, teacher: nn.Module | None) -> Built:
        """Cut, train, lower, quantize. Training resumes from, and ends in, a checkpoint."""
        module, hooks = self._learner(self.cut(recipe), recipe)

        def tell(state: Any) -> None:
            self.progress(f"{stage} {recipe.digest}", state.step, state.steps)

        session = train.Session(
            hooks,
            checkpoint=self.folder.work / f"{stage}-{recipe.digest}.safetensors",
            progress=tell,
        )
        history = train.fit(module, self.task, recipe.training, teacher=teacher, session=session)
        program = self.program(module, recipe)
        return Built(recipe, module, program, onnx_out.to_onnx(program), history)

    def _learner(self, module: nn.Module, recipe: Recipe) -> tuple[nn.Module, Sequence[Hook]]:
        """What is trained: where weights become fewer, a network that learns so, in integers."""
        fewer = recipe.by("weights")
        if not fewer:
            return module, ()
        program = self.lowered(module)
        there = set(quantizable(program))
        layers = [edit.place for edit in recipe.by("quantize") if edit.place in there]
        seen = observe(program, self.calibration, activations)
        quantized = quantize(program, seen, layers, joins=self.backend.joins)
        steps = train.steps_of(recipe.training, self.task.train_size)
        edits = [edit for edit in fewer if edit.place in there]
        return techniques.learning(module, self.task.example(2), edits, steps, quantized)

    def executable(self, program: Program) -> Executable:
        """A Program in the chosen backend: the file that ships, loaded, where it runs files."""
        return self.backend.compile(program, self.options.threads)

    def floor(self, backend: Backend) -> float:
        """Milliseconds that a call of a network without ops takes in a backend."""

        def measured() -> float:
            idle = backend.compile(empty(self.original), self.options.threads)
            return latency.time(idle, self.inputs, FLOOR_SECONDS).median_ms

        return float(self.remember(f"floor/{backend.name}", measured))

    def time(self, recipe: Recipe, program: Program, shipped: bool = False) -> Timing:
        """How long a network of this structure takes, in turns with the original.

        What is `shipped` is timed afresh, not what it was chosen by, and as a user meets it: the
        ratio of medians. To choose, calls that nothing interrupted are compared.
        """
        options = self.options
        structure = replace(recipe, training=Training(), data="").digest
        label = "shipped" if shipped else "timing"
        seconds = TIMING_SECONDS if shipped else min(TIMING_SECONDS, TIMING_SHARE * options.time)
        key = "/".join((label, self.backend.name, f"{options.threads}t{options.batch}b", structure))

        def measured() -> dict[str, Any]:
            pair = {
                "before": self.original_executable,
                "after": self.executable(program),
            }
            timings = latency.interleave(pair, self.inputs, seconds)
            ratio = timings.ratio("after", to="before")
            quick = timings.undisturbed("after") / timings.undisturbed("before")
            values = {name: _plain(timings.latency(name)) for name in pair}
            interval = [ratio.interval.low, ratio.interval.high]
            return {**values, "ratio": ratio.value if shipped else quick, "interval": interval}

        return Timing.from_json(self.remember(key, measured))

    def rows(self, program: Program, batches: Iterable[Batch]) -> Array:
        """A Program's answers in the backend that runs it, scored sample by sample."""
        return quality.rows(self.executable(program), batches, self.task.metric)

    def apart(self, program: Program) -> float:
        """How far a Program's answers on `valid` are from the original's: of the first samples."""
        pair = (self.original_executable, self.executable(program))
        first = first_samples(self.task.valid(), COMPARED)
        return quality.apart(*pair, first, self.task.loss)

    def score(self, built: Built, timing: Timing, rows: Array) -> Score:
        """Everything one network is worth."""
        return Score(
            quality.quality(rows, self.task.metric),
            quality.interval(rows, self.task.metric),
            timing.after.median_ms,
            timing.after.spread_ms,
            len(built.data),
            cost.macs(built.program),
            cost.parameters(built.program),
        )

    def verify(self, recipe: Recipe, stage: str, predicted: Mapping[str, float]) -> Trial:
        """Try one recipe: train it, measure it, score it on `valid`, write that down.

        A recipe that fails stays in the history with its reason.
        """
        key = f"{stage}/{recipe.digest}"
        known = self.folder.tried(key)
        if known is not None:
            return known
        began = time.monotonic()
        score, failure, more = None, "", {}
        try:
            built = self.trained(recipe, stage, self.graph.module)
            if stage == "verify":  # its checkpoint goes when the run ends
                self.remember(f"curve/{key}", lambda: curve(stage, built.history, TRIAL_POINTS))
            timing = self.time(recipe, built.program)
            rows = self.rows(built.program, self.task.valid())
            score = self.score(built, timing, rows)
            metric = self.task.metric
            drop, _ = quality.paired_drop(self.original_rows, rows, metric)
            more = {
                "measured_ratio": timing.ratio,
                "drop": drop,
                "standard_error": quality.standard_error(self.original_rows, rows, metric),
                "divergence": self.apart(built.program),
            }
        except (WriteError, InexactError):
            raise  # no fault of the recipe: nothing is written down
        except LightenError as problem:
            failure = str(problem)
        seconds = time.monotonic() - began
        notes = {**predicted, **more}
        return self.folder.add(key, Trial(recipe, score, stage, notes, failure, seconds))


def curve(name: str, history: Any, points: int) -> dict[str, Any]:
    """Loss per step, thinned to about `points`, and quality on `valid`."""
    every = max(1, len(history.losses) // points)
    steps = list(range(0, len(history.losses), every))
    return {
        "name": name,
        "steps": steps,
        "loss": [history.losses[step] for step in steps],
        "valid": [list(point) for point in history.valid],
    }


def _plain(measured: Latency) -> list[float]:
    return [measured.median_ms, measured.spread_ms, measured.runs]


def choose_backend(name: str) -> list[Backend]:
    """The backends to choose among: the one named, or for "auto" all that are targets here."""
    return [backends.target(row) for row in (backends.targets() if name == "auto" else (name,))]
