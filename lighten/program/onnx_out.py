"""Writing a program as an ONNX model: float, or int8 in the QDQ form that runtimes fuse.

A value with an integer format becomes QuantizeLinear after its producer and DequantizeLinear
before its readers; int8 weights are stored as int8, biases of int8 layers as int32 of scale
s_x · s_w. onnxruntime (U8S8) and OpenVINO both turn that pattern into true int8 kernels.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lighten.errors import MissingExtra, ProgramError
from lighten.formats.integer import Float32, Scale
from lighten.formats.signs import Binary
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.spec import integer_values

Array = np.ndarray[Any, Any]
IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}  # opset → the oldest IR that has it
METADATA = "lighten"
FLOAT, INT64, BOOL = 1, 7, 9  # element types, as onnx.TensorProto numbers them


def to_onnx(program: Program, *, opset: int = 17) -> bytes:
    """The serialised ModelProto. The batch dimension is "batch"; node names are op names.

    `metadata_props["lighten"]` is JSON: version, origin, labels, preprocess.
    Raises `ProgramError` for what ONNX cannot say, `MissingExtra` without `onnx`.
    """
    try:
        from onnx import helper
    except ImportError:
        raise MissingExtra("onnx", "onnx") from None
    from lighten.program.onnx_ops import WRITERS

    if opset not in IR_VERSIONS:
        known = ", ".join(map(str, IR_VERSIONS))
        raise ProgramError(f"The opset must be one of {known}, but got {opset}.")
    writer = Writer(program, opset, whole=integer_values(program))
    for name in program.inputs:
        writer.arrive(name, name, name)
    for op in program.ops:
        writer.current = op.name
        writer.finish(op, WRITERS[op.kind](writer, op))

    def described(name: str) -> Any:
        kind = INT64 if name in writer.whole else FLOAT
        return helper.make_tensor_value_info(name, kind, ["batch", *program.values[name].shape])

    graph = helper.make_graph(
        writer.nodes,
        program.origin or "lighten",
        [described(name) for name in program.inputs],
        [described(name) for name in program.outputs],
        list(writer.initializers.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="lighten"
    )
    model.ir_version = IR_VERSIONS[opset]
    helper.set_model_props(model, {METADATA: _metadata(program)})
    return bytes(model.SerializeToString())


def _metadata(program: Program) -> str:
    said = {
        "version": 1,
        "origin": program.origin,
        "labels": list(program.labels),
        "preprocess": asdict(program.preprocess),
    }
    return json.dumps(said, separators=(",", ":"))


def read_metadata(data: bytes) -> dict[str, Any]:
    """What `to_onnx` wrote beside the network: labels, preprocess, origin; {} in foreign files."""
    import onnx

    for entry in onnx.load_model_from_string(data).metadata_props:
        if entry.key == METADATA:
            return dict(json.loads(entry.value))
    return {}


@dataclass
class Writer:
    """The model so far. Tensors get short names; equal constants are stored once."""

    program: Program
    opset: int = 17
    whole: frozenset[str] = frozenset()  # values that are int64, not float
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[Any, Any] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)  # value → its float tensor
    named: set[str] = field(default_factory=set)  # ops that have their node
    current: str = ""
    count: int = 0

    def fresh(self) -> str:
        """A tensor name not used before."""
        return self._free("t")

    def _free(self, letter: str) -> str:
        self.count += 1
        name = f"{letter}{self.count}"
        taken = name in self.program.inputs or name in self.program.outputs
        return self._free(letter) if taken else name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of what it gives. The first node of an op that computes has the
        op's name, the others the op's name, a slash, and more.
        """
        from onnx import helper

        taken = self.current in self.named or kind in ("QuantizeLinear", "DequantizeLinear")
        output = self.fresh()
        if not taken:
            self.named.add(self.current)
        name = f"{self.current}/{kind}.{output}" if taken else self.current
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def constant(self, array: Array) -> str:
        """A stored tensor of exactly this dtype."""
        from onnx import numpy_helper

        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.initializers:
            self.initializers[key] = numpy_helper.from_array(array, self._free("c"))
        return str(self.initializers[key].name)

    def numbers(self, *values: int) -> str:
        """A stored int64 vector: shapes, axes, pads."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A stored float32 number."""
        return self.constant(np.array(value, np.float32))

    def shape(self, name: str) -> tuple[int, ...]:
        """The per-sample shape of a value or stored array."""
        found = self.program.values.get(name) or self.program.arrays[name]
        return found.shape

    def real(self, name: str) -> str:
        """The float (or index) tensor of a value or stored array."""
        if name not in self.tensors:
            stored = self.program.arrays[name]
            many = isinstance(stored.format, Binary)
            self.tensors[name] = self.constant(stored.decode() if many else stored.codes)
            if stored.params is not None and not many:
                self.tensors[name] = self.decoded(self.tensors[name], stored)
        return self.tensors[name]

    def number(self, name: str) -> str:
        """The float tensor of a value or stored array, whole numbers converted."""
        stored = self.program.arrays.get(name)
        if stored is not None and stored.params is None and stored.codes.dtype != np.float32:
            return self.constant(stored.codes.astype(np.float32))
        return (
            self.node("Cast", self.real(name), to=FLOAT) if name in self.whole else self.real(name)
        )

    def index(self, name: str) -> str:
        """The int64 tensor of a value or stored array, reals converted."""
        real = name in self.program.values and name not in self.whole
        return self.node("Cast", self.real(name), to=INT64) if real else self.real(name)

    def decoded(self, codes: str, holder: Any) -> str:
        """DequantizeLinear of `codes`, which are read as `holder` says."""
        return self.node("DequantizeLinear", codes, *self.scale(holder), **_axis(holder.params))

    def scale(self, holder: Any) -> tuple[str, str]:
        """The stored scale and zero point of a value or array."""
        params: Scale = holder.params
        scale = np.asarray(params.scale, np.float32)
        zero = np.asarray(params.zero_point).astype(holder.format.dtype)
        return self.constant(scale), self.constant(zero)

    def arrive(self, name: str, tensor: str, label: str = "") -> None:
        """Say that `tensor` is the value `name`, rounding it if the value has an integer format."""
        value = self.program.values[name]
        self.current = label or self.current
        if isinstance(value.format, Float32):
            self.tensors[name] = tensor
            return
        if value.params is None or value.params.axis is not None:
            raise ProgramError(f"The value {name!r} must have one scale to be written as ONNX.")
        self.tensors[name] = self.rounded(tensor, value)

    def rounded(self, tensor: str, value: Value) -> str:
        """`tensor` as the value's format holds it: QuantizeLinear, then DequantizeLinear."""
        if value.params is None:
            return tensor
        if isinstance(value.format, Binary):
            size = float(value.params.scale)
            below = self.node("Less", tensor, self.scalar(0.0))
            return self.node("Where", below, self.scalar(-size), self.scalar(size))
        return self.decoded(self.node("QuantizeLinear", tensor, *self.scale(value)), value)

    def finish(self, op: Op, tensor: str) -> None:
        """The op's result is `tensor`; a program output gets its own name."""
        borrowed = tensor in self.tensors.values()  # of a cast, whose source keeps its name
        self.arrive(op.output, tensor)
        if op.output not in self.program.outputs:
            return
        if borrowed and self.tensors[op.output] == tensor:
            self.node("Identity", tensor)
        self.nodes[-1].output[0] = op.output
        self.tensors[op.output] = op.output

    def bias(self, x: str, w: Stored, b: str) -> str:
        """A bias, as int32 where input and weight are integers: what runtimes add it as."""
        value = self.program.values.get(x)
        if value is None or value.params is None or w.params is None or w.params.axis != 0:
            return self.real(b)
        if isinstance(value.format, Binary) or isinstance(w.format, Binary):
            return self.real(b)
        scale = np.asarray(value.params.scale, np.float32) * np.asarray(w.params.scale, np.float32)
        limit = 2**31 - 1
        exact = self.program.arrays[b].decode().astype(np.float64) / scale
        codes = np.clip(np.round(exact), -limit, limit).astype(np.int32)
        zero = self.constant(np.zeros(scale.shape, np.int32))
        return self.node(
            "DequantizeLinear", self.constant(codes), self.constant(scale), zero, axis=0
        )


def _axis(params: Scale) -> dict[str, int]:
    return {} if params.axis is None else {"axis": params.axis}


def input_shapes(data: bytes) -> tuple[tuple[int, ...], ...]:
    """Per-sample shapes of an ONNX model's inputs; InputError where the bytes are no ONNX model."""
    import onnx

    from lighten.errors import InputError

    try:
        graph = onnx.load_model_from_string(data).graph
    except Exception as error:  # protobuf's own decode errors share no public type
        raise InputError("The file is not an ONNX model.", "Give an .onnx file.") from error
    weights = {array.name for array in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    return tuple(
        tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:]) for value in inputs
    )
