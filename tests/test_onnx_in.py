"""ONNX files of other tools' exporters come in, and go out with the same answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from lighten import zoo
from lighten.backends.onnxruntime import OnnxRuntime
from lighten.errors import NetworkError, UnsupportedOps
from lighten.network import check_exact, cut, share, trace
from lighten.network.onnx_in import read_onnx, to_program
from tests.test_lower import error, lively

SIDE = 32
Made = tuple[bytes, tuple[Tensor, ...]]


def image(name: str) -> tuple[nn.Module, Any]:
    """A zoo network and two images, ImageNet's made small."""
    torch.manual_seed(0)
    channels, height, width = zoo.TABLE[name].input_shape
    net = lively(zoo.build(name))
    return net, (torch.randn(2, channels, min(height, SIDE), min(width, SIDE)),)


def exported(net: nn.Module, inputs: Any, *, dynamo: bool, opset: int) -> Made:
    """What torch writes, the batch left free."""
    buffer = io.BytesIO()
    names = [f"in{i}" for i in range(len(inputs))]
    if dynamo:
        free: Any = {"dynamic_shapes": tuple({0: torch.export.Dim("batch")} for _ in inputs)}
    else:
        free = {"dynamic_axes": {name: {0: "batch"} for name in names}}
    torch.onnx.export(
        net, inputs, buffer, input_names=names, opset_version=opset, dynamo=dynamo, **free
    )
    return buffer.getvalue(), inputs


def legacy(name: str, opset: int = 17) -> Callable[[Path], Made]:
    return lambda _: exported(*image(name), dynamo=False, opset=opset)


def modern(name: str, opset: int = 18) -> Callable[[Path], Made]:
    return lambda _: exported(*image(name), dynamo=True, opset=opset)


def encoder(dynamo: bool) -> Callable[[Path], Made]:
    """A text encoder with an attention mask."""
    from tests.architectures import ARCHITECTURES

    case = ARCHITECTURES["distilbert"]

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = case.make()

        def forward(self, tokens: Tensor) -> Tensor:
            return self.net(tokens).last_hidden_state

    return lambda _: exported(Last().eval(), case.inputs, dynamo=dynamo, opset=18)


def integer(name: str, per_channel: bool) -> Callable[[Path], Made]:
    """int8 in the QDQ form, by onnxruntime's own quantizer."""

    def make(folder: Path) -> Made:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

        data, inputs = exported(*image(name), dynamo=False, opset=17)
        (folder / "float.onnx").write_bytes(data)

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.left = [{"in0": inputs[0].numpy()}]

            def get_next(self) -> Any:
                return self.left.pop() if self.left else None

        quantize_static(
            folder / "float.onnx",
            folder / "int8.onnx",
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
        )
        return (folder / "int8.onnx").read_bytes(), inputs

    return make


FILES: dict[str, Callable[[Path], Made]] = {
    "torch 13 lenet5": legacy("lenet5", 13),
    "torch 17 resnet20": legacy("resnet20"),
    "torch 17 mobilenet_v2": legacy("mobilenet_v2"),
    "torch 17 shufflenet_v2": legacy("shufflenet_v2"),
    "torch 17 unet": legacy("unet"),
    "torch.export 18 resnet20": modern("resnet20"),
    "torch.export 23 resnet20": modern("resnet20", 23),
    "torch.export 18 mobilenet_v3": modern("mobilenet_v3"),
    "torch.export 18 distilbert": encoder(True),
    "torch 18 distilbert": encoder(False),
    "onnxruntime int8 resnet20": integer("resnet20", True),
    "onnxruntime int8 mobilenet_v1": integer("mobilenet_v1", False),
}


def told(data: bytes, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """onnxruntime's answers, with no rewriting of the graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options)
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_comes_in_and_goes_out_with_the_same_answers(name: str, tmp_path: Path) -> None:
    data, inputs = FILES[name](tmp_path)
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    net = read_onnx(file)
    wanted = told(data, inputs)
    with torch.no_grad():
        found = net(*inputs)
    program = to_program(net, inputs)
    shipped = OnnxRuntime().compile(program)(*(x.numpy() for x in inputs))
    bound = 0.06 if "int8" in name else 1e-4  # int8: a rounding that falls the other way
    for answers in (
        [y.numpy() for y in (found if isinstance(found, tuple) else (found,))],
        shipped,
    ):
        assert max(error(a, b) for a, b in zip(answers, wanted, strict=True)) < bound
    if "int8" in name:
        stored = [s for s in program.arrays.values() if s.codes.dtype == np.int8]
        assert len(stored) >= 20


@pytest.mark.filterwarnings("ignore")
def test_a_network_from_onnx_can_be_cut_and_keeps_its_names(tmp_path: Path) -> None:
    data, inputs = FILES["torch 17 resnet20"](tmp_path)
    (tmp_path / "model.onnx").write_bytes(data)
    net = read_onnx(tmp_path / "model.onnx")
    graph = trace(net, inputs)
    assert share(graph) == 1.0 and len(graph.groups) == 12 and len(graph.blocks) == 7
    keep = {g.name: range(0, g.size, 2) for g in graph.groups}
    assert check_exact(graph, keep, (), inputs) < 1e-9
    assert cut(graph, keep)(*inputs).shape == (2, 10)


def written(tmp_path: Path, *nodes: Any) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_unknown_ops_are_listed_by_name_and_node(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        helper.make_node("Hardmax", ["x"], ["a"], name="first"),
        helper.make_node("Celu", ["a"], ["y"], name="second"),
    )
    with pytest.raises(UnsupportedOps, match=r"Hardmax \(first\).*Celu \(second\)"):
        read_onnx(path)


def stored(tmp_path: Path, nodes: list[Any], arrays: dict[str, np.ndarray], kind: int) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path / "stored.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_two_tables_read_at_the_same_places_stay_two(tmp_path: Path) -> None:
    """Nodes of one name, too, are told apart."""
    tables = {f"t{i}": np.full((4, 2), i, np.float32) for i in (1, 2)}
    nodes = [helper.make_node("Gather", [f"t{i}", "x"], [f"e{i}"], name="same") for i in (1, 2)]
    nodes.append(helper.make_node("Sub", ["e1", "e2"], ["y"], name="same"))
    net = read_onnx(stored(tmp_path, nodes, tables, TensorProto.INT64))
    assert net(torch.zeros(1, 3, dtype=torch.long)).unique().tolist() == [-1.0]


def test_codes_that_nothing_here_made_are_refused(tmp_path: Path) -> None:
    scale = {"scale": np.float32(0.5), "zero": np.uint8(3)}
    nodes = [helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"], name="in")]
    path = stored(tmp_path, nodes, {k: np.asarray(v) for k, v in scale.items()}, TensorProto.UINT8)
    with pytest.raises(NetworkError, match="not made by a QuantizeLinear of the same scale"):
        read_onnx(path)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"not onnx at all")
    with pytest.raises(NetworkError, match="cannot be read as an ONNX model"):
        read_onnx(path)
    assert onnx.__version__
