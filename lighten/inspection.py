"""Looking at a network without changing it: score it, time it, take it apart, ask the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lighten import backends, data, store
from lighten.core.progress import Progress, silent
from lighten.core.protocols import Backend, Executable
from lighten.core.task import Preprocess, Task
from lighten.errors import InputError, LightenError, NetworkError
from lighten.measure import installed, latency, probe, quality
from lighten.program import cost, onnx_out
from lighten.program.ir import Program

Array = np.ndarray[Any, Any]
SECONDS = 1.0  # of timing per network and backend


@dataclass(frozen=True)
class Subject:
    """What is looked at: an ONNX file, or a live network (then `net` is there).

    `prefers` is the backend a run's folder was made for. An ONNX file is timed and scored as it
    is; where layers are asked for, it is read as a network.
    """

    name: str
    task: Task | None
    shapes: tuple[tuple[int, ...], ...]
    file: bytes | None = field(default=None, repr=False)
    net: Any = field(default=None, repr=False)
    prefers: str = ""
    path: Path | None = None
    stored: Program | None = field(default=None, repr=False)

    @cached_property
    def module(self) -> Any:
        """The live network. NetworkError where only a program was stored."""
        if self.stored is not None:
            raise NetworkError(
                f"{self.name} holds a program, from which a network cannot be taken apart.",
                "Give the NETWORK or .onnx file that it was built from.",
            )
        if self.net is None and self.path is not None:
            from lighten.network.onnx_in import read_onnx

            return read_onnx(self.path)
        return self.net

    @cached_property
    def program(self) -> Program:
        """The network as a Program."""
        if self.stored is not None:
            return self.stored
        from lighten.network import lower

        task = self.task
        if self.net is None:
            import torch

            from lighten.network.onnx_in import to_program

            return to_program(self.module, tuple(map(torch.from_numpy, self.inputs(2))))
        preprocess = task.preprocess if task else Preprocess()
        labels = task.labels if task else ()
        return lower(self.module, self.inputs(2), preprocess=preprocess, labels=labels)

    def inputs(self, batch: int) -> tuple[Array, ...]:
        """What it is timed on: valid samples, or seeded noise where there is no data."""
        if self.task is not None:
            return self.task.example(batch)
        rng = np.random.default_rng(0)
        return tuple(rng.standard_normal((batch, *s), np.float32) for s in self.shapes)

    def executable(self, backend: Backend, threads: int) -> Executable:
        """It, compiled in a backend."""
        if self.file is not None:
            return backend.load(self.file, threads)
        return backend.compile(self.program, threads)


def open_model(
    model: str,
    weights: Path | None = None,
    data_spec: str | None = None,
    skip_corrupt: int = 0,
    progress: Progress = silent,
    shape: str | None = None,
) -> Subject:
    """What MODEL names: an .onnx file, a run's folder, or a NETWORK with its weights.

    Raises `NetworkError` where it cannot be found or no input shape is known.
    """
    task = data.load(data_spec, skip_corrupt=skip_corrupt, progress=progress) if data_spec else None
    path = Path(model)
    if path.suffix == ".lighten":
        program = store.load(path)
        return Subject(model, task, _input_shapes(program), stored=program, prefers="native")
    if path.is_dir() or path.suffix == ".onnx":
        return _onnx(model, path, task)
    from lighten import api

    net = api.load_network(model, weights=weights, task=task)
    shapes = _shapes(model, task, shape)
    return Subject(model, task, shapes, net=net)


def _input_shapes(program: Program) -> tuple[tuple[int, ...], ...]:
    return tuple(program.values[name].shape for name in program.inputs)


def _onnx(model: str, path: Path, task: Task | None) -> Subject:
    file = path / "model.onnx" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NetworkError(
            f"{file} cannot be read: {error.strerror}.", "Give an .onnx file or a run's folder."
        ) from error
    summary = path / "summary.json"
    prefers = json.loads(summary.read_text()).get("backend", "") if summary.exists() else ""
    shapes = onnx_out.input_shapes(content)
    return Subject(model, task, shapes, file=content, prefers=prefers, path=file)


def _shapes(model: str, task: Task | None, shape: str | None) -> tuple[tuple[int, ...], ...]:
    if task is not None:
        return tuple(x.shape[1:] for x in task.example(1))
    if shape is not None:
        try:
            return (tuple(int(side) for side in shape.split("x")),)
        except ValueError as error:
            raise InputError(f"--input must look like 3x32x32, but got {shape!r}.") from error
    if model.startswith("zoo:"):
        from lighten import zoo

        return (zoo.TABLE[model.removeprefix("zoo:").split("?")[0]].input_shape,)
    raise InputError(f"The input shape of {model} is not known.", "Give --input 3x32x32 or --data.")


def evaluate(subject: Subject, backend: str, threads: int, split: str) -> dict[str, Any]:
    """Quality on a split, with its 95 % interval, in the engine that runs it."""
    if subject.task is None:
        raise InputError("Scoring a network needs data.", "Give --data.")
    if split not in ("test", "valid"):
        raise InputError(f"The split must be test or valid, but got {split!r}.")
    backends.check_threads(threads)
    chosen = _choose(subject, backend)
    task = subject.task
    run = subject.executable(chosen, threads)
    rows = quality.rows(run, getattr(task, split)(), task.metric)
    interval = quality.interval(rows, task.metric)
    return {
        "model": subject.name,
        "backend": chosen.name,
        "split": split,
        "samples": len(rows),
        "metric": task.metric.name,
        "unit": task.metric.unit,
        "quality": quality.quality(rows, task.metric),
        "quality_interval": [interval.low, interval.high],
    }


def _choose(subject: Subject, name: str) -> Backend:
    """The backend named; for "auto" the one the run was made for, else onnxruntime, else any."""
    here = backends.available()
    if name == "auto":
        wanted = (subject.prefers, "onnxruntime", *here)
        name = next((w for w in wanted if w in here), "onnxruntime")
    return backends.get(name)


def bench(
    subjects: Sequence[Subject],
    backend: str = "all",
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Latency of every network in every backend, in alternation; one row each.

    A network a backend cannot run has the reason in its row.
    """
    for count in threads:
        backends.check_threads(count)
    names = backends.available() if backend in ("all", "auto") else (backend,)
    chosen = [backends.get(name) for name in names]
    rows: list[dict[str, Any]] = []
    settings = [(batch, count) for batch in batches for count in threads]
    for done, (batch, count) in enumerate(settings):
        progress("timing", done, len(settings))
        rows += _side_by_side(subjects, chosen, batch, count)
    progress("timing", len(settings), len(settings))
    return rows


def explain(subject: Subject, batch: int = 1) -> dict[str, Any]:
    """Op by op: the kernel that runs it in our engine, milliseconds, how fast that is."""
    from lighten.backends.native import Native
    from lighten.engine.explain import explain as told

    run, inputs = Native().compile(subject.program), subject.inputs(batch)
    whole = latency.time(run, inputs, SECONDS)
    return {
        "network": subject.name,
        "batch": batch,
        "isa": run.plan.isa.name,
        "milliseconds": whole.median_ms,
        "spread_ms": whole.spread_ms,
        "interpreted": len(run.plan.interpreted),
        "arena": run.bytes_per_sample * batch,
        "ops": [asdict(op) for op in told(run, inputs)],
    }


def _side_by_side(
    subjects: Sequence[Subject], chosen: Sequence[Backend], batch: int, threads: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    by_shape: dict[Any, tuple[dict[int, Executable], tuple[Array, ...]]] = {}
    for subject in subjects:
        for backend in chosen:
            row: dict[str, Any] = {
                "network": subject.name,
                "backend": backend.name,
                "batch": batch,
                "threads": threads,
                "latency_ms": None,
            }
            rows.append(row)
            try:
                inputs = subject.inputs(batch)
                run = subject.executable(backend, threads)
                run(*inputs)
            except LightenError as problem:
                row["failure"] = problem.message
                continue
            shape = tuple(x.shape for x in inputs)
            by_shape.setdefault(shape, ({}, inputs))[0][len(rows) - 1] = run
    for runs, inputs in by_shape.values():
        timings = latency.interleave({str(i): run for i, run in runs.items()}, inputs, SECONDS)
        fastest = min(runs, key=lambda i: timings.latency(str(i)).median_ms)
        for i in runs:
            found = timings.latency(str(i))
            rows[i].update(
                latency_ms=found.median_ms,
                latency_spread_ms=found.spread_ms,
                ratio=timings.ratio(str(i), to=str(fastest)).value,
            )
    return rows


def analyze(
    subject: Subject, backend: str, threads: int, batch: int, progress: Progress = silent
) -> dict[str, Any]:
    """Per layer: MACs, parameters, bytes, measured and roofline time; with data, sensitivity."""
    from lighten.network import share, trace

    backends.check_threads(threads)
    chosen = _choose(subject, backend)
    program, inputs = subject.program, subject.inputs(batch)
    run = chosen.compile(program, threads)
    progress("timing", 0, 1)
    times = run.profile(inputs, 50)
    whole = latency.time(run, inputs, SECONDS)
    progress("timing", 1, 1)
    graph = trace(subject.module, subject.inputs(2))
    device = probe.probe(peaks=True)
    drops = _sensitivity(subject, graph, progress)
    rows = []
    for layer in graph.layers:
        moved = layer.activation_bytes * batch + 4 * layer.parameters
        rows.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "output": list(layer.output),
                "macs": layer.macs,
                "parameters": layer.parameters,
                "bytes": 4 * layer.parameters,
                "time_ms": times.get(layer.name),
                "roofline_ms": probe.roofline(layer.macs * batch, moved, device),
                "sensitivity": drops.get(layer.name),
                "uncut": layer.uncut,
            }
        )
    total = {
        "macs": cost.macs(program),
        "parameters": graph.parameters,
        "latency_ms": whole.median_ms,
        "latency_spread_ms": whole.spread_ms,
        "share": share(graph),
    }
    metric = subject.task.metric.name if subject.task and drops else ""
    return {"backend": chosen.name, "layers": rows, "total": total, "metric": metric}


def _sensitivity(subject: Subject, graph: Any, progress: Progress) -> Mapping[str, float]:
    """Row C5: the metric when half of one layer is zeroed; nothing without data."""
    if subject.task is None:
        return {}
    from lighten.search import sensitivity

    found: Mapping[str, float] = sensitivity.scan(graph, subject.task, progress=progress)
    return found


def doctor() -> dict[str, Any]:
    """This machine, what is installed, and how to install what is not."""
    from lighten.core.files import cache_dir

    device = {k: _short(v) for k, v in probe.probe().as_dict().items() if v not in ("", 0.0, [])}
    states = {}
    for name, row in backends.TABLE.items():
        here = name in backends.available()
        states[name] = "ready" if here else f"pip install 'lighten[{row.extra}]'"
    return {
        "device": {**device, "cache": str(cache_dir())},
        "versions": installed.versions(),
        "backends": states,
    }


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
