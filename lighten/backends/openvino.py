"""OpenVINO on the CPU, with its precision held to what is claimed.

Measured on ResNet-20, batch 1, and so arranged here:
- as it comes it runs fp32 networks in bf16: INFERENCE_PRECISION_HINT forbids that;
- a fixed batch is 5–12 % faster than a free one: each shape seen is compiled once, then kept;
- copying into the request's own tensor and calling `infer()` takes 0.08 ms less than
  `compiled([x])`, which passes tensors and builds its result dictionary in Python;
- pinning by OpenVINO costs 0.04 ms where the caller is already pinned, so the caller does it;
- its threads are counted at the first call in a process: where that is held to one core, as timing
  holds it, a model of two threads runs on one ever after. So a first call is made before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lighten.backends.names import Names, input_names, owners, total, unwritable
from lighten.errors import InputError

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]
SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
REPEATS = 5


@cache
def _core() -> Any:
    """OpenVINO's, after a call of a network of nothing that made it count the cores."""
    import openvino
    from openvino import opset13

    core, x = openvino.Core(), opset13.parameter([1], np.float32)
    empty = openvino.Model([opset13.relu(x)], [x], "empty")
    core.compile_model(empty, "CPU").create_infer_request().infer({0: np.zeros(1, np.float32)})
    return core


class Request(NamedTuple):
    """A model compiled for fixed shapes, and its own tensors seen as arrays."""

    infer: Any
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    request: Any
    compiled: Any


class Compiled:
    """A loaded model. Arrays `[n, …]` in the model's input order; outputs are the caller's own.

    One call at a time: calls share the request of their shape.
    """

    def __init__(self, data: bytes, threads: int, ops: Iterable[str] = ()) -> None:
        self.threads = threads
        self._data = data
        self._ops = tuple(ops)
        try:
            ports = self._model().inputs
            self._ports = tuple(f"{port.any_name} {port.partial_shape}" for port in ports)
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[-1]
            raise InputError(f"OpenVINO cannot load this ONNX model: {cause}.") from error
        read = input_names(data) if isinstance(data, bytes) else []  # a path: OpenVINO's own form
        given = read or [port.any_name for port in ports]
        # OpenVINO drops inputs that nothing reads; callers still give them
        self._read = tuple(given.index(port.any_name) for port in ports)
        self._given = len(given)
        self._requests: dict[Shapes, Request] = {}

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run once; a shape not seen before is compiled first.

        Raises `InputError` where the inputs do not fit.
        """
        shapes = tuple([x.shape for x in inputs])
        ready = self._requests.get(shapes)
        if ready is None:
            ready = self._requests[shapes] = self._request(shapes)
        try:
            for own, place in zip(ready.inputs, self._read, strict=True):
                np.copyto(own, inputs[place])
        except TypeError as error:
            raise InputError(f"The inputs do not fit: {error}.") from error
        ready.infer()
        return tuple([own.copy() for own in ready.outputs])

    def _model(self) -> Any:
        return _core().read_model(self._data)

    def _request(self, shapes: Shapes, **more: Any) -> Request:
        model = self._model()
        try:
            if len(shapes) != self._given:
                raise RuntimeError(f"{len(shapes)} inputs for {self._given}")
            read = [list(shapes[place]) for place in self._read]
            model.reshape(dict(zip(model.inputs, read, strict=True)))
            settings = {**SETTINGS, "INFERENCE_NUM_THREADS": self.threads, **more}
            compiled = _core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            got = ", ".join(str(list(shape)) for shape in shapes) or "none"
            cause = str(error).strip().splitlines()[-1]
            wanted = ", ".join(self._ports)
            raise InputError(f"The inputs must be {wanted}, but got {got} ({cause}).") from error
        request = compiled.create_infer_request()
        return Request(
            request.infer,
            tuple(request.get_input_tensor(i).data for i in range(len(compiled.inputs))),
            tuple(request.get_output_tensor(i).data for i in range(len(compiled.outputs))),
            request,
            compiled,
        )

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]:
        """Milliseconds per op: OpenVINO's own mean over `runs` runs, in whole microseconds.

        One interrupted run spoils a mean, so `REPEATS` models of its own are compiled and
        profiled, and each node's least mean is taken. Time in nodes that OpenVINO added is under
        `names.REST`.
        """
        names = Names(self._data, self._ops)
        times: dict[str, list[float]] = {}
        for _ in range(REPEATS):
            timed = self._request(tuple(np.shape(x) for x in inputs), PERF_COUNT=True)
            for own, place in zip(timed.inputs, self._read, strict=True):
                np.copyto(own, inputs[place])
            for _ in range(runs):
                timed.infer()
            for node in timed.request.profiling_info:
                if node.status == node.Status.EXECUTED:
                    milliseconds = node.real_time.total_seconds() * 1e3
                    times.setdefault(node.node_name, []).append(milliseconds)
        made_of = _made_of(timed.compiled)
        return total(
            (names.owner(made_of.get(node, ())), min(found)) for node, found in times.items()
        )


def _made_of(compiled: Any) -> dict[str, list[str]]:
    """Node that runs → the names, in the file, of the nodes it was fused from."""
    key = "originalLayersNames"
    return {
        op.get_friendly_name(): [name for name in str(info[key].value).split(",") if name]
        for op in compiled.get_runtime_model().get_ordered_ops()
        if key in (info := op.get_rt_info())
    }


class OpenVino:
    """OpenVINO, CPU device, fp32 as fp32."""

    name = "openvino"
    joins = False

    def missing(self, program: Any) -> tuple[str, ...]:
        """Ops that have no ONNX form, by name."""
        return unwritable(program)

    def compile(self, program: Any, threads: int = 1) -> Compiled:
        """The Program's ONNX file, loaded; `profile` speaks in the Program's op names."""
        from lighten.program.onnx_out import to_onnx

        return Compiled(to_onnx(program), threads, owners(program))

    def load(self, data: bytes, threads: int = 1) -> Compiled:
        """The bytes of an ONNX model, loaded. Raises `InputError` where they are none."""
        return Compiled(data, threads)
