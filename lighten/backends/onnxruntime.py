"""onnxruntime on the CPU: the file that ships, run as its user would run it.

Batch sizes may vary call by call: measured, a fixed batch is no faster here (within 1 %), and
binding inputs and outputs instead of `run` gains 0.6 % before the copies that make it safe.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lighten.backends.names import Names, owners, total, unwritable
from lighten.errors import InputError

Array = np.ndarray[Any, Any]
QUIET = 3  # errors only


def _session(data: bytes, threads: int, profile: str = "") -> Any:
    """A session of `threads` threads, all optimisations on; `profile` is its profile's prefix."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = QUIET
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type per cause, none of them public
        raise InputError(f"onnxruntime cannot load this ONNX model: {error}.") from error


class Session:
    """A loaded model. Arrays `[n, …]` in the model's input order; outputs are the caller's own."""

    def __init__(self, data: bytes, threads: int, ops: Iterable[str] = ()) -> None:
        self.threads = threads
        self._data = data
        self._ops = tuple(ops)
        self._session = _session(data, threads)
        self._run = self._session.run
        self._inputs = tuple(i.name for i in self._session.get_inputs())
        self._outputs = [o.name for o in self._session.get_outputs()]

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run once. Raises `InputError` where the inputs do not fit."""
        try:
            return tuple(
                self._run(self._outputs, dict(zip(self._inputs, inputs, strict=True)), None)
            )
        except Exception as error:  # shapes and types are checked by the runtime, on every call
            raise InputError(self._misfit(inputs, error)) from error

    def _misfit(self, inputs: Sequence[Array], error: Exception) -> str:
        wanted = ", ".join(f"{i.name} {i.shape} {i.type}" for i in self._session.get_inputs())
        got = ", ".join(f"{list(np.shape(x))} {np.asarray(x).dtype}" for x in inputs)
        cause = str(error).splitlines()[0]
        return f"The inputs must be {wanted}, but got {got or 'none'} ({cause})."

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]:
        """Milliseconds per op: the mean of the middle half of `runs` runs.

        onnxruntime's own clock ticks in whole microseconds, so a median would too. A session of
        its own is profiled; time in nodes that it added is under `names.REST`.
        """
        names = Names(self._data, self._ops)
        with TemporaryDirectory() as folder:
            session = _session(self._data, self.threads, str(Path(folder) / "run"))
            feeds = dict(zip(self._inputs, inputs, strict=True))
            for _ in range(runs + _warmup(runs)):
                session.run(self._outputs, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times[event["name"], event["args"].get("op_name", "")].append(event["dur"] / 1e3)
        return total(
            (names.owner([name], kind), _middle(found[_warmup(runs) :]))
            for (name, kind), found in times.items()
        )


def _warmup(runs: int) -> int:
    return max(3, runs // 5)


def _middle(times: Sequence[float]) -> float:
    """The mean of the middle half."""
    ordered = np.sort(np.asarray(times))
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


class OnnxRuntime:
    """onnxruntime, CPU execution provider."""

    name = "onnxruntime"
    joins = False

    def missing(self, program: Any) -> tuple[str, ...]:
        """Ops that have no ONNX form, by name."""
        return unwritable(program)

    def compile(self, program: Any, threads: int = 1) -> Session:
        """The Program's ONNX file, loaded; `profile` speaks in the Program's op names."""
        from lighten.program.onnx_out import to_onnx

        return Session(to_onnx(program), threads, owners(program))

    def load(self, data: bytes, threads: int = 1) -> Session:
        """The bytes of an ONNX model, loaded. Raises `InputError` where they are none."""
        return Session(data, threads)
