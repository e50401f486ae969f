"""torch.compile(net, backend="lighten"): graphs in the engine, and what stays in torch and why."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lighten import zoo
from lighten.backends import dynamo
from tests.without_kernels import without_kernels

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled before; what is random is the same every time."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "lighten")
    return caplog


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch size of every call that the engine answers."""
    seen: list[int] = []
    run = dynamo.Captured._run

    def counted(self: Any, network: Any, given: Any) -> Any:
        seen.append(len(given[self.flowing[0]]))
        return run(self, network, given)

    monkeypatch.setattr(dynamo.Captured, "_run", counted)
    return seen


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(128, 5),
    ).eval()


def agree(net: nn.Module, fast: Any, *shape: int) -> None:
    """The compiled network answers as the network does; the second time, the engine answers."""
    x = torch.randn(*shape)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(fast(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_cnn_at_any_batch_size(runs: list[int], said: pytest.LogCaptureFixture) -> None:
    net = cnn()
    fast = torch.compile(net, backend=dynamo.compile)
    for batch in (2, 5, 1, 7, 5):
        agree(net, fast, batch, 3, 8, 8)
    assert {2, 5, 7, 1} == set(runs) and runs.count(7) == 2  # one graph for 5 and 7
    assert not said.records


class Splits(nn.Module):
    """A view that names the batch size, and two outputs, one of them whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x).view(x.shape[0], 2, 3)
        return y.expand(x.shape[0], -1, -1).relu(), y.argmax(2)


@pytest.mark.parametrize("dynamic", [False, True])
def test_views_that_name_the_batch(dynamic: bool, runs: list[int]) -> None:
    net = Splits()
    fast = torch.compile(net, backend=dynamo.compile, dynamic=dynamic)
    with torch.inference_mode():
        for batch in (3, 3, 5, 5, 1, 1):
            x = torch.randn(batch, 4)
            for found, wanted in zip(fast(x), net(x), strict=True):
                assert found.dtype == wanted.dtype
                torch.testing.assert_close(found, wanted)
    assert set(runs) == {1, 3, 5}


@pytest.mark.parametrize("first", [True, False])
def test_a_transformer_as_torch_joins_its_layers(first: bool, runs: list[int]) -> None:
    layer = nn.TransformerEncoderLayer(
        16, 2, 32, batch_first=True, norm_first=first, activation="gelu" if first else "relu"
    )
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    fast = torch.compile(net, backend=dynamo.compile)
    for batch in (3, 4):
        agree(net, fast, batch, 6, 16)
    assert set(runs) == {3, 4}


def test_ops_without_a_kernel_are_named(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_kernels(monkeypatch, "pool")
    net = cnn()
    agree(net, torch.compile(net, backend=dynamo.compile), 2, 3, 8, 8)
    (record,) = said.records
    assert record.getMessage().endswith("without a kernel, slowly: 3.max_pool2d")


class Broken(nn.Module):
    """Dynamo captures what is before the break and what is after it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x).relu()
        torch._dynamo.graph_break()
        return self.after(y)


def test_both_sides_of_a_graph_break(runs: list[int], said: pytest.LogCaptureFixture) -> None:
    net = Broken().eval()
    agree(net, torch.compile(net, backend=dynamo.compile), 2, 4)
    assert runs == [2] * 4 and not said.records  # both compared once and run once


class Wave(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()


def test_an_op_without_a_counterpart_stays_in_torch(
    runs: list[int], said: pytest.LogCaptureFixture
) -> None:
    net = nn.Sequential(nn.Linear(8, 8), Wave()).eval()
    agree(net, torch.compile(net, backend=dynamo.compile), 2, 8)
    assert not runs
    (record,) = said.records
    assert "leaves a graph to torch" in record.getMessage() and "fft_rfft" in record.getMessage()


def test_gradients_and_training_stay_in_torch(
    runs: list[int], said: pytest.LogCaptureFixture
) -> None:
    net = cnn()
    fast = torch.compile(net, backend=dynamo.compile)
    x = torch.randn(4, 3, 8, 8)
    fast(x).sum().backward()
    assert net[0].weight.grad.abs().sum() > 0
    assert "gradients are asked for" in said.records[0].getMessage()
    net.train()
    before = net[1].running_mean.clone()
    with torch.no_grad():
        assert not torch.equal(fast(x), fast(x))  # dropout draws anew
    assert not torch.equal(before, net[1].running_mean)  # and BatchNorm counts
    assert "writes into its inputs" in said.records[1].getMessage() and not runs


def test_dropout_alone_in_training_is_noticed(said: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.5)).train()
    fast = torch.compile(net, backend=dynamo.compile)
    x = torch.randn(4, 32)
    with torch.no_grad():
        assert not torch.equal(fast(x), fast(x))
    assert "answer is another" in said.records[0].getMessage()


def test_weights_written_later_are_packed_anew(runs: list[int]) -> None:
    net = cnn()
    fast = torch.compile(net, backend=dynamo.compile)
    agree(net, fast, 2, 3, 8, 8)
    with torch.no_grad():
        net[0].weight.mul_(-1)
    agree(net, fast, 2, 3, 8, 8)
    net[6].weight = nn.Parameter(torch.randn(5, 128))
    agree(net, fast, 2, 3, 8, 8)
    assert len(runs) >= 6


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 3)), "float64"),
        ((torch.ones(2, 3), torch.ones(4, 2, 3)), "no common batch"),
        ((torch.ones(2, 3), torch.tensor(2.0)), "tensors with a batch"),
    ],
)
def test_other_inputs_stay_in_torch(
    inputs: tuple[Tensor, Tensor], reason: str, said: pytest.LogCaptureFixture
) -> None:
    fast = torch.compile(lambda x, y: x * y, backend=dynamo.compile)
    torch.testing.assert_close(fast(*inputs), inputs[0] * inputs[1])
    assert reason in said.records[0].getMessage()


def test_an_engine_that_were_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    run = dynamo.Captured._run
    monkeypatch.setattr(dynamo.Captured, "_run", lambda *given: [y + 0.5 for y in run(*given)])
    net = cnn()
    agree(net, torch.compile(net, backend=dynamo.compile), 2, 3, 8, 8)
    assert "answer is another (by 5.0e-01)" in said.records[0].getMessage()


def test_a_zoo_network() -> None:
    net = zoo.build("resnet20").eval()
    agree(net, torch.compile(net, backend=dynamo.compile), 2, 3, 32, 32)


def test_torch_finds_it_by_name(tmp_path: Path) -> None:
    """As installed: an entry point, nothing of ours imported by the user."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    (row,) = points["torch_dynamo_backends"].items()
    facts = tmp_path / "lighten-0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lighten\nVersion: 0\n")
    (facts / "entry_points.txt").write_text(f"[torch_dynamo_backends]\n{' = '.join(row)}\n")
    script = """
import sys, torch
net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
assert "lighten" not in sys.modules
fast, x = torch.compile(net, backend="lighten"), torch.ones(2, 4)
with torch.no_grad():
    assert torch.allclose(fast(x), net(x)) and torch.allclose(fast(x), net(x))
assert "lighten.engine" in sys.modules
"""
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
