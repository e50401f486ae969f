"""An ONNX graph as an `nn.Module`: weights are parameters, layers modules, nodes run in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lighten.errors import MissingExtra, NetworkError, UnsupportedOps
from lighten.formats.integer import Integer, Scale
from lighten.network.onnx_in.arguments import (
    Arguments,
    Body,
    Known,
    Node,
    NotKnown,
    Value,
    as_tensor,
)
from lighten.network.onnx_in.arithmetic import ARITHMETIC, DTYPES
from lighten.network.onnx_in.bodies import BODIES
from lighten.network.onnx_in.layers import LAYERS, call_layer
from lighten.network.onnx_in.moves import MOVES
from lighten.network.onnx_in.parse import (
    every,
    initializers,
    nodes_of,
    path_of,
    ranks_of,
    shape_of,
)
from lighten.network.onnx_in.sizes import SIZES, Open, sized

OPSETS = range(9, 27)
RULES = {**ARITHMETIC, **MOVES}
# ops that move codes as they are
CARRIERS = frozenset("Reshape Flatten Transpose Squeeze Unsqueeze MaxPool Slice Identity".split())
Coded = tuple[Known, Integer, Scale]


def read_onnx(path: Path) -> OnnxNet:
    """The network in an .onnx file, in eval mode. Opsets 9 to 26.

    NetworkError where it cannot be read; UnsupportedOps names every op, with its node, that has
    no counterpart.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx", "onnx") from None
    try:
        model = onnx.load(path)
        model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf's and onnx's errors share no public type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NetworkError(f"{path} cannot be read as an ONNX model: {reason}.") from error
    return OnnxNet(model).eval()


class OnnxNet(nn.Module):
    """The network of an ONNX model: call it with tensors in the order of the graph's inputs.

    Layers with stored weights are modules (`nn.Conv2d`, `nn.Linear`, …) at the path that the
    weight's name tells, or the node's. `coded` holds what was stored as integers: path → codes,
    format, scale. One output is given as it is, several as a tuple.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        graph = model.graph
        self.opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        if self.opset not in OPSETS:
            raise NetworkError(f"The ONNX opset must be in 9…26, but is {self.opset}.")
        self.constants: dict[str, Known] = dict(initializers(graph))
        self.coded: dict[str, Coded] = {}
        self.from_codes: dict[str, Coded] = {}  # the same, by the name it has in the file
        self.inputs = tuple(i.name for i in graph.input if i.name not in self.constants)
        self.outputs = tuple(o.name for o in graph.output)
        self.shapes = {
            i.name: (shape_of(i), DTYPES.get(i.type.tensor_type.elem_type, torch.float32))
            for i in graph.input
            if i.name in self.inputs
        }
        self.ranks = dict(ranks_of(graph))
        self.nodes = self._left(nodes_of(graph))
        self._refuse_unknown()
        self._refuse_other_scales()
        self.layers: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self._build()

    def forward(self, *inputs: Tensor) -> Any:
        """Run the nodes in their order."""
        whole = Body(tuple(self.nodes), self.inputs, self.outputs)
        found = self._run_body(whole, dict(self.constants), inputs)
        tensors = [v if isinstance(v, Tensor) else as_tensor(v) for v in found]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)

    def _run_body(
        self, body: Body, values: dict[str, Value], inputs: Sequence[Value | None]
    ) -> list[Value]:
        """A body's outputs; `values` are those it sees, and gains those it makes."""
        values |= {k: v for k, v in zip(body.inputs, inputs, strict=True) if v is not None}
        for node in body.nodes:
            results = self._run(node, values)
            values |= dict(zip(node.outputs, results, strict=False))
        return [values[name] for name in body.outputs]

    def _run(self, node: Node, values: dict[str, Value]) -> list[Value]:
        given = [values[name] if name else None for name in node.inputs]
        path = self.layers.get(node.outputs[0])
        layer = None if path is None else self.get_submodule(path)
        a = Arguments(node, given, self._stored, layer, self.opset)
        try:
            if layer is not None:
                result: Any = call_layer(a)
            elif node.kind in BODIES:
                result = BODIES[node.kind](a, lambda b, x: self._run_body(b, dict(values), x))
            elif node.kind in SIZES and all(v is None or isinstance(v, np.ndarray) for v in given):
                result = self._sized(a)
            else:
                result = RULES[node.kind](a)
        except NotKnown as reason:
            raise NetworkError(f"{node.kind} {node.name!r} cannot be read: {reason}.") from None
        return result if isinstance(result, list) else [result]

    def _sized(self, a: Arguments) -> Value:
        """On numbers where they are known, on tensors where one follows the batch."""
        try:
            return sized(a)
        except Open:
            result: Value = RULES[a.node.kind](a)
            return result

    def _stored(self, name: str) -> Tensor | None:
        path = self.held.get(name)
        return None if path is None else getattr(self, path)

    # ── building ──────────────────────────────────────────────────────────────────────────

    def _left(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes that are left to run once those on stored numbers have been."""
        left: list[Node] = []
        for node in nodes:
            if not self._folded(node):
                inside = {
                    name: replace(body, nodes=tuple(self._left(body.nodes)))
                    for name, body in node.bodies.items()
                }
                left.append(replace(node, bodies=inside))
        return left

    def _folded(self, node: Node) -> bool:
        """Compute a node whose inputs are all stored; whether it was one."""
        given = [self.constants.get(name) for name in node.inputs]
        if node.kind == "Constant":
            self.constants[node.outputs[0]] = _constant(node)
            return True
        if any(name and value is None for name, value in zip(node.inputs, given, strict=True)):
            return False
        if node.kind == "DequantizeLinear":
            codes, form, scale = _codes(node, given)
            self.from_codes[node.outputs[0]] = (codes, form, scale)
            self.constants[node.outputs[0]] = np.asarray(form.decode(codes, scale), np.float32)
            return True
        if node.kind not in SIZES or not node.inputs:
            return False
        a = Arguments(node, given, lambda _: None, None, self.opset)
        self.constants[node.outputs[0]] = sized(a)
        return True

    def _refuse_unknown(self) -> None:
        unknown = [
            f"{node.kind} ({node.name})"
            for node in every(self.nodes)
            if not any(node.kind in table for table in (RULES, SIZES, LAYERS, BODIES))
        ]
        if unknown:
            raise UnsupportedOps("lighten", unknown, "Export the network with other operations.")

    def _refuse_other_scales(self) -> None:
        """Codes become reals where they are made, so they must be decoded as they were encoded."""
        makers = {output: node for node in every(self.nodes) for output in node.outputs}
        for node in every(self.nodes):
            if node.kind != "DequantizeLinear":
                continue
            maker = makers.get(node.inputs[0])
            while maker is not None and maker.kind in CARRIERS:
                maker = makers.get(maker.inputs[0])
            same = maker is not None and maker.kind == "QuantizeLinear"
            if not same or self._scale(node) != self._scale(maker):
                raise NetworkError(
                    f"DequantizeLinear {node.name!r} cannot be read: its codes were not made by a "
                    "QuantizeLinear of the same scale."
                )

    def _scale(self, node: Node | None) -> list[Any]:
        assert node is not None
        return [self.constants[name].tolist() for name in node.inputs[1:]]

    def _build(self) -> None:
        """Modules for layers, parameters for other stored floats that flows meet."""
        known = self._sizes_only()
        shared: dict[tuple[Any, ...], str] = {}
        for node in every(self.nodes):
            weights = [self.constants.get(name) for name in node.inputs]
            build = LAYERS.get(node.kind)
            module = None if build is None else build(node, weights, self.ranks)
            if module is not None:
                held = (name for name in node.inputs if name in self.constants)
                key = (node.kind, *held, repr(sorted(node.attributes.items())))
                if key not in shared:
                    shared[key] = self._place(node, module)
                self.layers[node.outputs[0]] = shared[key]
                continue
            if not any(node.kind in table for table in (RULES, SIZES, BODIES)):
                raise NetworkError(
                    f"{node.kind} {node.name!r} cannot be read: its weights are not stored, or of "
                    "an unusual form."
                )
            for name in node.inputs:
                array = self.constants.get(name)
                if array is not None and array.dtype.kind == "f" and name not in known:
                    self._hold(name, array)

    def _sizes_only(self) -> set[str]:
        """Stored numbers that are read as settings: steps, scales, bounds, exponents."""
        settings = ("Clip", "Pad", "Resize", "Upsample", "Pow")
        found = {n for node in every(self.nodes) if node.kind in settings for n in node.inputs[1:]}
        coding = ("QuantizeLinear", "DequantizeLinear")
        return found | {
            n for node in every(self.nodes) if node.kind in coding for n in node.inputs[1:]
        }

    def _hold(self, name: str, array: Known) -> None:
        if name in self.held:
            return
        path = self._free(path_of(name).replace(".", "_"))
        tensor = as_tensor(array)
        if tensor.numel() > 1:
            self.register_parameter(path, nn.Parameter(tensor))
        else:
            self.register_buffer(path, tensor)
        self.held[name] = path

    def _place(self, node: Node, module: nn.Module) -> str:
        """Put a module where its weight's name says, else where the node's does."""
        index = 0 if isinstance(module, nn.Embedding) else 1
        weight = node.inputs[index]
        named = re.fullmatch(r"(.+)\.weight", weight)
        path = self._free(path_of(named[1] if named else node.name))
        owner: nn.Module = self
        *parts, leaf = path.split(".")
        for part in parts:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        owner.add_module(leaf, module)
        if weight in self.from_codes:
            codes, form, scale = self.from_codes[weight]
            turned = node.kind == "MatMul" or (node.kind == "Gemm" and not node.get("transB"))
            if turned:
                axis = None if scale.axis is None else 1 - scale.axis
                codes, scale = codes.T, Scale(scale.scale, scale.zero_point, axis)
            self.coded[f"{path}.weight"] = (codes, form, scale)
        return path

    def _free(self, path: str) -> str:
        """The path, with a number where something is there already."""
        taken = {name for name, _ in self.named_modules()} | {n for n, _ in self.named_parameters()}
        taken |= set(dir(self))
        free, count = path, 1
        while free in taken or any(name.startswith(f"{free}.") for name in taken):
            count += 1
            free = f"{path}_{count}"
        return free


def _constant(node: Node) -> Known:
    value = next(iter(node.attributes.values()))
    return value if isinstance(value, np.ndarray) else np.array(value)


def _codes(node: Node, given: list[Known | None]) -> Coded:
    codes, scale = given[0], given[1]
    assert codes is not None and scale is not None
    zero = (
        given[2]
        if len(given) > 2 and given[2] is not None
        else np.zeros_like(codes, shape=scale.shape)
    )
    axis = int(node.get("axis", 1)) % max(codes.ndim, 1) if scale.ndim and scale.size > 1 else None
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    form = Integer(8 * codes.dtype.itemsize, codes.dtype.kind == "i", False)
    return codes, form, Scale(scale.astype(np.float32), zero, axis)
