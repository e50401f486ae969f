"""Recurrent layers: run by every backend as by torch, left whole by the cuts around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten.backends.eager import Eager
from lighten.backends.onnxruntime import OnnxRuntime
from lighten.backends.openvino import OpenVino
from lighten.errors import UnsupportedOps
from lighten.network import check_exact, cut, lower, trace
from lighten.network.onnx_in import read_onnx, to_program
from lighten.program import Builder, interpret
from lighten.program.cost import macs

STEPS, FEATURES, HIDDEN = 7, 6, 5
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.5},
    "without biases": {"bias": False},
}


class Reader(nn.Module):
    """A convolution over time, a recurrent layer, and an answer from its last state."""

    def __init__(self, kind: type[nn.RNNBase], first: bool, **form: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = first
        self.conv = nn.Conv1d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv1d(8, FEATURES, 1)
        self.layer = kind(FEATURES, HIDDEN, batch_first=first, **form)
        self.head = nn.Linear(HIDDEN, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.squeeze(torch.relu(self.conv(x)))
        states, last = self.layer(x.transpose(1, 2) if self.first else x.permute(2, 0, 1))
        last = last[0] if isinstance(last, tuple) else last
        return self.head(last[-1]), states.mean(1 if self.first else 0)


def signals(count: int = 4) -> Tensor:
    return torch.randn(count, 3, STEPS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_backend_answers_as_torch_does(
    kind: type[nn.RNNBase], first: bool, form: str
) -> None:
    net = Reader(kind, first, **FORMS[form]).double().eval()
    with torch.no_grad():
        wanted = [y.numpy() for y in net(signals().double())]
    program = lower(net.float(), signals(2))
    given = signals().numpy()
    for found in zip(wanted, interpret(program, given), strict=True):
        np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6)
    for backend in (Eager(), OnnxRuntime(), OpenVino()):
        for found in zip(wanted, backend.compile(program)(given), strict=True):
            np.testing.assert_allclose(found[1], found[0], rtol=0, atol=2e-6)


def test_a_relu_makes_states_too() -> None:
    net = Reader(nn.RNN, True, nonlinearity="relu").eval()
    with torch.no_grad():
        wanted = net(signals())[0].numpy()
    program = lower(net, signals(2))
    for backend in (Eager(), OnnxRuntime(), OpenVino()):
        np.testing.assert_allclose(
            backend.compile(program)(signals().numpy())[0], wanted, atol=2e-6
        )


@pytest.mark.parametrize("held", [(), ("b",), ("rb",), ("b", "rb")])
@pytest.mark.parametrize("function", ["lstm", "gru", "rnn_tanh"])
def test_either_bias_may_be_absent(function: str, held: tuple[str, ...]) -> None:
    rng, gates = np.random.default_rng(0), {"lstm": 4, "gru": 3, "rnn_tanh": 1}[function]
    shapes = {"w": (gates * 5, 6), "r": (gates * 5, 5), "b": (gates * 5,), "rb": (gates * 5,)}
    b = Builder()
    names = [
        b.store(name, rng.standard_normal(shape)) if name in ("w", "r", *held) else ""
        for name, shape in shapes.items()
    ]
    y = b.op("recurrent", b.input("x", (7, 6)), *names, function=function, reverse=False)
    program, x = b.finish(y), rng.standard_normal((2, 7, 6), np.float32)
    for backend in (Eager(), OnnxRuntime(), OpenVino()):
        found = backend.compile(program)(x)[0]
        np.testing.assert_allclose(found, interpret(program, x)[0], rtol=0, atol=2e-6)


class Begun(nn.Module):
    """One of an LSTM's first states is learned."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.layer, self.which = nn.LSTM(FEATURES, HIDDEN), which
        self.start = nn.Parameter(torch.randn(1, 2, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        states = [torch.zeros(1, 2, HIDDEN), torch.zeros(1, 2, HIDDEN)]
        states[self.which] = self.start
        return self.layer(x, tuple(states))[0]


@pytest.mark.filterwarnings("ignore")  # of the exporter's
@pytest.mark.parametrize("which", [0, 1])
def test_a_first_state_comes_in_from_onnx(which: int, tmp_path: Path) -> None:
    net, x = Begun(which).eval(), torch.randn(STEPS, 2, FEATURES)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=False, opset_version=17)
    with torch.no_grad():
        assert torch.allclose(read_onnx(tmp_path / "net.onnx")(x), net(x), atol=2e-6)


def test_its_work_is_counted() -> None:
    program = lower(Reader(nn.LSTM, True).eval(), signals(2))
    convolutions = STEPS * 8 * (3 * 3 + FEATURES)
    assert macs(program) == convolutions + STEPS * 4 * HIDDEN * (FEATURES + HIDDEN) + 4 * HIDDEN


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_it_reads_and_makes_is_left_whole_and_the_rest_is_cut(kind: type[nn.RNNBase]) -> None:
    net = Reader(kind, True).eval()
    graph = trace(net, signals())
    assert "a recurrent layer" in graph.left_alone["squeeze"]
    assert [group.name for group in graph.groups] == ["conv"]
    kept = {"conv": (0, 2, 3, 5, 7)}
    assert check_exact(graph, kept, (), signals()) < 1e-9
    program = lower(cut(graph, kept).eval(), signals(2))
    assert OnnxRuntime().compile(program)(signals().numpy())[0].shape == (4, 4)


@pytest.mark.filterwarnings("ignore")  # of the exporter's
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_it_comes_in_from_onnx(kind: type[nn.RNNBase], form: str, tmp_path: Path) -> None:
    net = Reader(kind, True, **FORMS[form]).eval()
    how: Any = {"dynamic_axes": {"x": {0: "batch"}}, "opset_version": 17, "dynamo": False}
    file = tmp_path / "net.onnx"
    torch.onnx.export(net, (signals(2),), file, input_names=["x"], **how)
    opened = read_onnx(file)
    with torch.no_grad():
        wanted = [y.numpy() for y in net(signals())]
        for found in zip(wanted, opened(signals()), strict=True):
            np.testing.assert_allclose(found[1], found[0], rtol=0, atol=2e-6)
    program = to_program(opened, (signals(2),))
    for found in zip(wanted, OnnxRuntime().compile(program)(signals().numpy()), strict=True):
        np.testing.assert_allclose(found[1], found[0], rtol=0, atol=2e-6)


class Started(nn.Module):
    """Its first state is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.start = nn.Parameter(torch.ones(1, 1, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, self.start.expand(1, len(x), HIDDEN).contiguous())[0]


class Cell(nn.Module):
    """An LSTM whose cell is read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[1][1]


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Started(), "first state must be zero"),
        (Cell(), "a further result of it is used"),
        (nn.LSTM(FEATURES, HIDDEN, proj_size=2, batch_first=True), "projections of its states"),
    ],
)
def test_what_has_no_counterpart_is_named(net: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedOps, match=reason):
        lower(net.eval(), torch.zeros(2, STEPS, FEATURES))
