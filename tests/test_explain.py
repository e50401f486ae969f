"""What `lighten explain` reckons with: the ceiling, the work of ops, the error end to end."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lighten.emit import ISAS, build, features, host
from lighten.emit.isa import supported
from lighten.engine import ceiling
from lighten.engine.executable import Network
from lighten.engine.explain import error, explain
from lighten.engine.plan import plan
from lighten.network import lower
from lighten.program import cost
from lighten.program.ir import Stored
from tests.without_kernels import without_kernels

HERE = [isa.name for isa in supported(features(), "x86_64")]


@pytest.mark.parametrize("isa", HERE)
def test_the_ceilings_loop_computes_its_sums(isa: str) -> None:
    """s → s / 2 + 1 is 2 − (2 − s) / 2ⁿ after n rounds."""
    made = ISAS[isa]
    call = build([ceiling.emit("ceiling", made)]).function(
        "ceiling", ctypes.c_void_p, ctypes.c_int64
    )
    y = np.zeros((made.registers - ceiling.SPARE, made.lanes), np.float32)
    call(y.ctypes.data, 3)
    first = np.arange(len(y), dtype=np.float32)[:, None]
    np.testing.assert_array_equal(y, np.broadcast_to(2 - (2 - first) / 8, y.shape))
    assert ceiling.gflops(made) > 0


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()


def test_the_work_of_all_ops_is_the_programs() -> None:
    """Also where ops are joined: attention is two products."""
    torch.manual_seed(0)
    for net, shape in (
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 9, 9)),
        (attention(), (6, 16)),
    ):
        program = lower(net, torch.zeros(2, *shape))
        x = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
        told = explain(Network(plan(program, host())), [x], runs=3)
        assert sum(op.macs for op in told) == cost.macs(program)
        assert all(op.ceiling == pytest.approx(op.gflops / ceiling.gflops(host())) for op in told)


def test_interpreted_ops_are_told_with_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch, "conv")
    program = lower(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(2, 3, 9, 9))
    x = np.zeros((1, 3, 9, 9), np.float32)
    conv = next(o for o in explain(Network(plan(program, host())), [x], runs=3) if o.op == "0")
    assert conv.kernel == "interpreted" and conv.macs == cost.macs(program)


def test_a_busy_moment_takes_nothing_from_the_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call costs 1 ms and an op 4 ms more; from the 40th run on, another process adds 50 ms."""
    program = lower(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(2, 3, 9, 9))
    network, now, late = Network(plan(program, host())), 0.0, 40

    def call(name: str, arena: object, count: int) -> None:
        nonlocal now, late
        now += 1e-3 + (4e-3 if count else 0.0) + (50e-3 if late <= 0 else 0.0)
        late -= name == "step0" and count > 0

    monkeypatch.setattr("lighten.engine.executable.time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(network._calls, "run", call)
    times = network.profile([np.zeros((1, 3, 9, 9), np.float32)], runs=50)
    assert times["0"] == pytest.approx(4.0 * sum(step.op == "0" for step in network.plan.steps))


def test_the_error_is_that_of_the_outputs() -> None:
    torch.manual_seed(0)
    program = lower(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(2, 3, 9, 9))
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    network = Network(plan(program, host()))
    assert 0 < error(network, program, [x]) < 1e-5
    name, held = next(iter(program.arrays.items()))
    other = program.changed(arrays={**program.arrays, name: Stored(held.codes * np.float32(1.01))})
    assert 0.005 < error(network, other, [x]) < 0.02
