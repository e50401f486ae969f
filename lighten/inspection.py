"""Looking at a network without changing it: score it, time it, take it apart, ask the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lighten import backends
from lighten.core.files import write_bytes, write_text
from lighten.core.progress import Progress, silent
from lighten.core.protocols import Backend, Executable
from lighten.errors import InputError, LightenError
from lighten.measure import installed, latency, probe, quality
from lighten.program import cost
from lighten.program.ir import Program
from lighten.subject import Subject

Array = np.ndarray[Any, Any]
Alike = tuple[dict[int, Executable], tuple[Array, ...]]  # row → what runs, on the same inputs
SECONDS, ROUNDS = 1.0, 10  # of timing per network and backend, in so many turns


def evaluate(
    subject: Subject, backend: str, threads: int, split: str, bf16: bool = False
) -> dict[str, Any]:
    """Quality on a split, with its 95 % interval, in the engine that runs it."""
    if subject.task is None:
        raise InputError("Scoring a network needs data.", "Give --data.")
    if split not in ("test", "valid"):
        raise InputError(f"The split must be test or valid, but got {split!r}.")
    backends.check_threads(threads)
    chosen = _in_bf16(backend) if bf16 else _choose(subject, backend)
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
    here = backends.targets()
    if name == "auto":
        wanted = (subject.prefers, "onnxruntime", *here)
        name = next((w for w in wanted if w in here), "onnxruntime")
    return backends.get(name)


def _in_bf16(name: str) -> Backend:
    """Our engine, multiplying in bfloat16: no other backend does so here."""
    from lighten.backends.native import Native

    if name not in ("auto", "all", Native.name):
        raise InputError(
            f"--bf16 is an option of the backend native, but got --backend {name}.",
            "Leave one of the two out.",
        )
    return Native(bf16=True)


def bench(
    subjects: Sequence[Subject],
    backend: str = "auto",
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    progress: Progress = silent,
    bf16: bool = False,
) -> list[dict[str, Any]]:
    """Latency of every network in a backend, in alternation; one row each. "auto" stands for every
    backend here but those that are only measured against, "all" for these, too. With `bf16`, also
    in our engine multiplying in bfloat16.

    A network a backend cannot run has the reason in its row.
    """
    for count in threads:
        backends.check_threads(count)
    several = {"all": backends.available(), "auto": backends.targets()}
    chosen = [backends.get(name) for name in several.get(backend, (backend,))]
    chosen += [_in_bf16(backend)] if bf16 else []
    rows: list[dict[str, Any]] = []
    settings = [(batch, count) for batch in batches for count in threads]
    for done, (batch, count) in enumerate(settings):
        found, runs = _compiled(subjects, chosen, (batch, count), progress)
        progress("timing", done, len(settings))
        _time_(found, runs)
        rows += found
    progress("timing", len(settings), len(settings))
    return rows


def explain(
    subject: Subject, batch: int = 1, threads: int = 1, bf16: bool = False
) -> dict[str, Any]:
    """Op by op: the kernel that runs it in our engine, milliseconds, how fast that is."""
    from lighten.backends.native import Native
    from lighten.engine import ceiling, tuning
    from lighten.engine.codes import has_codes
    from lighten.engine.explain import error
    from lighten.engine.explain import explain as told

    backends.check_threads(threads)
    run, inputs = Native(bf16).compile(subject.program, threads), subject.inputs(batch)
    whole = latency.time(run, inputs, SECONDS)
    return {
        "network": subject.name,
        "batch": batch,
        "threads": threads,
        "isa": run.plan.isa.name,
        "milliseconds": whole.median_ms,
        "spread_ms": whole.spread_ms,
        "interpreted": len(run.plan.interpreted),
        "planned": len(run.program.ops),
        "arena": run.arena_bytes(batch),
        "ceiling_gflops": ceiling.gflops(run.plan.isa),
        "ceiling_int8": ceiling.gops(run.plan.isa) if has_codes(run.program) else None,
        "error": error(run, subject.program, inputs),
        "tolerance": tuning.tolerance(run.plan.isa),
        "ops": [asdict(op) for op in told(run, inputs)],
    }


def write_object(program: Program, model: str, cpu: str, out: Path) -> tuple[Path, Path]:
    """A program as an object file and its header, for this processor or the one named; `out` is a
    file that ends in .o, or a folder.
    """
    from lighten.emit.target import target
    from lighten.engine.object_file import identifier, object_file

    named = out.suffix == ".o"
    name = identifier(
        out.stem if named else Path(model.removeprefix("zoo:").partition("?")[0]).stem
    )
    file = out if named else out / f"{name}.o"
    made = object_file(program, name, target(cpu))
    write_bytes(file, made.code)
    write_text(file.with_suffix(".h"), made.header)
    return file, file.with_suffix(".h")


def tune(
    program: Program, seconds: float, progress: Progress = silent, bf16: bool = False
) -> tuple[int, int]:
    """Time kernels for a program's convolutions: how many were timed, how many are left."""
    from lighten.engine import tuning
    from lighten.engine.plan import instructions

    isa = instructions(program, bf16)
    timed = tuning.tune(program, isa, seconds, progress)
    return timed, len(list(tuning.unknown(program, isa)))


def _compiled(
    subjects: Sequence[Subject], chosen: Sequence[Backend], at: tuple[int, int], progress: Progress
) -> tuple[list[dict[str, Any]], list[Alike]]:
    """A row for every network and backend, at a batch size and a number of threads, and what runs
    by the shapes of its inputs. Each has run once, which is when some compile.
    """
    batch, threads = at
    rows: list[dict[str, Any]] = []
    by_shape: dict[Any, Alike] = {}
    for done, subject in enumerate(subjects):
        for backend in chosen:
            progress(f"compiling for {backend.name}", done, len(subjects))
            row: dict[str, Any] = {"network": subject.name, "backend": backend.name}
            row |= {"batch": batch, "threads": threads, "latency_ms": None}
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
    return rows, list(by_shape.values())


def _time_(rows: Sequence[dict[str, Any]], alike: Sequence[Alike]) -> None:
    """Time what runs and write it into its rows."""
    for runs, inputs in alike:
        each = {str(i): run for i, run in runs.items()}
        timings = latency.interleave(each, inputs, SECONDS, ROUNDS, apart=True)
        fastest = min(runs, key=lambda i: timings.latency(str(i)).median_ms)
        for i in runs:
            found = timings.latency(str(i))
            rows[i].update(
                latency_ms=found.median_ms,
                latency_spread_ms=found.spread_ms,
                ratio=timings.ratio(str(i), to=str(fastest)).value,
            )


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
    """This machine, what is installed, how to install what is not, and our engine's state."""
    device = {k: _short(v) for k, v in probe.probe().as_dict().items() if v not in ("", 0.0, [])}
    states = {}
    for name, row in backends.TABLE.items():
        ready = "ready where a C++ compiler is" if row.peer else "ready"
        states[name] = ready if backends.installed(name) else f"pip install 'lighten[{row.extra}]'"
    return {
        "device": device,
        "versions": installed.versions(),
        "backends": states,
        "engine": _engine() if "native" in backends.available() else {},
    }


def _engine() -> dict[str, Any]:
    """What our engine emits code for, and the objects and timings that it keeps."""
    from lighten.emit import cache, host, isa, llvm_version
    from lighten.engine import tuning

    try:
        instructions = host().name
    except InputError as problem:
        instructions = problem.message
    kept = cache.state()
    return {
        "instruction set": instructions,
        "narrowed by LIGHTEN_ISA": os.environ.get(isa.VARIABLE, "") or "no",
        "LLVM": llvm_version(),
        "cache": kept.folder or "none",
        "from LIGHTEN_CACHE": "yes" if os.environ.get("LIGHTEN_CACHE") else "no",
        "can be written": kept.problem or "yes",
        "objects": kept.objects,
        "bytes": kept.bytes,
        "timed convolutions": tuning.timed(),
    }


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
