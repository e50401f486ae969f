"""ONNX's `If` and `Loop`, as torch writes them of scripted networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from lighten.backends.eager import Eager
from lighten.backends.onnxruntime import OnnxRuntime
from lighten.errors import NetworkError
from lighten.network import check_exact, cut, lower, trace
from lighten.network.onnx_in import OnnxNet, read_onnx, to_program

WIDTH = 8
pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporter's


class Chosen(nn.Module):
    """Which layer is run follows from the width; the two branches name their values alike."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(WIDTH, 16), nn.Linear(WIDTH, 16)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 4:
            y = torch.relu(self.wide(x))
        else:
            y = torch.tanh(self.narrow(x))
        return self.last(y)


class Counted(nn.Module):
    """One layer again and again; the round enters the numbers, and a choice lies inside."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(4):
            x = self.again(x) * 0.5 + 0.1 * i
            if i > 1:
                x = torch.relu(x)
            else:
                x = torch.tanh(x)
        return x


class Waiting(nn.Module):
    """A loop that ends by its condition."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rounds = 0
        while rounds < x.shape[1] - 5:
            x = self.again(x)
            rounds += 1
        return x


class Asking(nn.Module):
    """What is run depends on the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            y = x + 1.0
        else:
            y = x - 1.0
        return y


def read(net: nn.Module, folder: Path) -> tuple[OnnxNet, Callable[[Tensor], np.ndarray]]:
    """The scripted network by way of its ONNX file, and onnxruntime on that file."""
    path, x = folder / "net.onnx", torch.randn(2, WIDTH)
    free = {"x": {0: "batch"}}
    torch.onnx.export(
        torch.jit.script(net.eval()), (x,), path, input_names=["x"], dynamic_axes=free, dynamo=False
    )
    session = onnxruntime.InferenceSession(path)
    return read_onnx(path), lambda x: session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("make", [Chosen, Counted, Waiting])
def test_they_come_in_and_go_out_with_the_same_answers(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, told = read(make(), tmp_path)
    program = to_program(net, (torch.randn(2, WIDTH),))
    x = torch.randn(3, WIDTH)
    with torch.no_grad():
        found = net(x).numpy()
    for answers in (found, Eager().compile(program)(x.numpy())[0]):
        np.testing.assert_allclose(answers, told(x), rtol=0, atol=1e-6)


def test_the_layer_in_the_chosen_branch_is_cut_and_the_other_forgotten(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, _ = read(Chosen(), tmp_path)
    graph = trace(net, torch.randn(2, WIDTH))
    assert [group.name for group in graph.groups] == ["wide"]
    keep = {"wide": tuple(range(5))}
    assert check_exact(graph, keep, (), torch.randn(2, WIDTH)) < 1e-9
    program = lower(cut(graph, keep).eval(), torch.randn(2, WIDTH))
    assert OnnxRuntime().compile(program)(np.ones((3, WIDTH), np.float32))[0].shape == (3, 3)
    assert not [name for name in program.arrays if "narrow" in name]


def test_a_choice_that_depends_on_the_data_is_refused_by_name(tmp_path: Path) -> None:
    net, _ = read(Asking(), tmp_path)
    with pytest.raises(NetworkError, match=r"If '.*' cannot be read: .* depends on the data"):
        to_program(net, (torch.randn(2, WIDTH),))


def test_what_every_round_gives_is_stacked(tmp_path: Path) -> None:
    """A running product by a stored factor: the last one, and all of them."""
    number, flag = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "factor"], ["next"]),
            helper.make_node("Identity", ["next"], ["each"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        "body",
        [
            number("round", TensorProto.INT64, []),
            number("going", flag, []),
            number("state", TensorProto.FLOAT, ["n", 2]),
        ],
        [
            number("still", flag, []),
            *(number(n, TensorProto.FLOAT, None) for n in ("next", "each")),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "", "x"], ["last", "all"], name="loop", body=body)],
        "graph",
        [number("x", TensorProto.FLOAT, ["n", 2])],
        [number(name, TensorProto.FLOAT, None) for name in ("last", "all")],
        [
            onnx.numpy_helper.from_array(np.array(3), "rounds"),
            onnx.numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "factor"),
        ],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    last, every = read_onnx(path)(torch.ones(1, 2))
    assert last.tolist() == [[8.0, 27.0]]
    assert every.tolist() == [[[2.0, 3.0]], [[4.0, 9.0]], [[8.0, 27.0]]]
