"""Backends: one table, true fp32, profiles in the network's own names, errors a user can act on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lighten import backends
from lighten.backends.names import REST, Names, unwritable
from lighten.errors import InputError, MissingExtra
from lighten.formats.integer import INT8_WEIGHT, UINT8
from lighten.program.build import Builder
from lighten.program.interpret import interpret
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.onnx_out import to_onnx

FILES = [name for name in ("onnxruntime", "openvino") if name in backends.available()]


def network(seed: int = 0) -> Program:
    """conv → relu → conv + skip → relu → mean → linear, with two outputs."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input("pixels", (3, 8, 8))

    def conv(name: str, source: str, ins: int, outs: int, activation: str = "") -> str:
        weight = b.store(f"{name}.weight", rng.normal(size=(outs, ins, 3, 3)) / (3 * ins**0.5))
        bias = b.store(f"{name}.bias", rng.normal(size=outs))
        slides = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
        return b.op("conv", source, weight, bias, name=name, activation=activation, **slides)

    first = conv("block.0.conv1", x, 3, 16, "relu")
    second = conv("block.0.conv2", first, 16, 16)
    joined = b.op("binary", second, first, name="block.0.add", function="add", activation="relu")
    mean = b.op("reduce", joined, name="pool", function="mean", axes=(1, 2), keepdims=False)
    weight = b.store("head.weight", rng.normal(size=(5, 16)))
    bias = b.store("head.bias", rng.normal(size=5))
    return b.finish(b.op("linear", mean, weight, bias, name="head", activation=""), mean)


def quantized(program: Program, scale: float = 0.05) -> Program:
    """The same with u8 activations of one scale and int8 weights in its convolutions."""
    values, arrays = dict(program.values), dict(program.arrays)
    for name in ("pixels", "block.0.conv1", "block.0.conv2", "block.0.add"):
        params = UINT8.span(-128 * scale, 127 * scale)
        values[name] = Value(values[name].shape, UINT8, params)
    for name in ("block.0.conv1.weight", "block.0.conv2.weight"):
        reals = arrays[name].codes
        params = INT8_WEIGHT.fit(reals, axis=0)
        codes = INT8_WEIGHT.encode(reals, params).astype(np.int8)
        arrays[name] = Stored(codes, INT8_WEIGHT, params)
    return program.changed(values=values, arrays=arrays)


def pixels(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_reference_in_true_fp32(name: str, threads: int) -> None:
    program = network()
    compiled = backends.get(name).compile(program, threads)
    assert compiled.threads == threads
    for n in (1, 4, 1):
        got, want = compiled(pixels(n)), interpret(program, pixels(n))
        assert len(got) == len(want) == 2  # in the program's order
        for a, b in zip(got, want, strict=True):
            # a sum of 144 products: 144 eps, far below bf16's 2**-8
            assert np.abs(a - b).max() <= 144 * 2**-24 * np.abs(b).max()


@pytest.mark.parametrize("name", FILES)
def test_equals_the_reference_in_int8(name: str) -> None:
    program = quantized(network())
    got = backends.get(name).compile(program)(pixels(4))[1]
    want = interpret(program, pixels(4))[1]
    # a mean of 64 codes, a few of which round the other way
    assert np.abs(got - want).max() <= 2 * 0.05
    assert np.abs(got - want).mean() <= 0.05 / 8


@pytest.mark.parametrize("name", FILES)
def test_a_result_survives_the_next_call(name: str) -> None:
    compiled = backends.get(name).load(to_onnx(network()))
    given = pixels(2)
    first = compiled(given)
    kept = [output.copy() for output in first]
    given[:] = 0
    compiled(pixels(2, seed=9))
    for output, copy in zip(first, kept, strict=True):
        assert np.array_equal(output, copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("integer", [False, True])
def test_a_profile_names_the_programs_ops(name: str, integer: bool) -> None:
    program = quantized(network()) if integer else network()
    profile = backends.get(name).compile(program).profile([pixels(1)], runs=10)
    known = {op.name for op in program.ops} | {"pixels", REST}
    assert set(profile) <= known
    assert {"block.0.conv1", "block.0.conv2", "head"} <= set(profile)
    assert all(time >= 0 for time in profile.values())
    assert sum(profile.values()) > 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "inputs",
    [(), (pixels(1), pixels(1)), (pixels(1)[:, :2],), (pixels(1).astype(np.complex64),)],
    ids=["none", "two", "channels", "type"],
)
def test_inputs_that_do_not_fit(name: str, inputs: tuple[np.ndarray, ...]) -> None:
    compiled = backends.get(name).load(to_onnx(network()))
    with pytest.raises(InputError, match="inputs"):
        compiled(*inputs)
    assert compiled(pixels(1))[0].shape == (1, 5)  # and it still works


@pytest.mark.parametrize("name", FILES)
def test_bytes_that_are_no_model(name: str) -> None:
    with pytest.raises(InputError, match="cannot load this ONNX model"):
        backends.get(name).load(b"not a model")


def test_no_more_threads_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    backends.check_threads(2)
    with pytest.raises(InputError, match="from 1 to 2 here, but got 3"):
        backends.check_threads(3)


def test_an_unknown_backend_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(InputError, match=r"eager, .*openvino.*'onnx'.*mean 'onnxruntime'"):
        backends.get("onnx")
    with pytest.raises(InputError, match=r"Did you mean 'torch.compile'\?"):
        backends.get("compile")
    with pytest.raises(InputError, match="got 'zzz'") as caught:
        backends.get("zzz")
    assert "Did you mean" not in str(caught.value)


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        backends, "find_spec", lambda name: None if name == "openvino" else real(name)
    )
    assert "openvino" not in backends.available()
    with pytest.raises(MissingExtra, match=r"pip install 'lighten\[openvino\]'"):
        backends.get("openvino")


@pytest.mark.parametrize("name", backends.available())
def test_every_row_is_what_it_says(name: str) -> None:
    backend = backends.get(name)
    assert backend.name == name
    assert tuple(backend.missing(network())) == ()


def test_ops_without_an_onnx_form_are_named() -> None:
    program = network()
    strange = Op("unary", "strange", ("head",), ("y",), {"function": "no such thing"})
    values = {**program.values, "y": Value((5,))}
    program = program.changed(ops=(*program.ops, strange), values=values, outputs=("y",))
    assert unwritable(program) == ("strange",)
    for name in FILES:
        assert tuple(backends.get(name).missing(program)) == ("strange",)


def test_fused_nodes_are_traced_back_to_what_they_are_made_of() -> None:
    import onnx
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="l.conv"),
        helper.make_node("Relu", ["a"], ["b"], name="l.conv/Relu.t1"),
        helper.make_node("Add", ["b", "x"], ["y"], name="l.add"),
    ]
    whole = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", whole, ["n", 1, 4, 4])],
        [helper.make_tensor_value_info("y", whole, ["n", 1, 4, 4])],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")],
    )
    data = helper.make_model(graph).SerializeToString()
    names = Names(data, ["l.conv", "l.add"])
    assert names.owner(["b_nchwc_kernel_time"], "Conv") == "l.conv"
    assert names.owner(["l.conv_token_12_kernel_time"], "QLinearConv") == "l.conv"
    assert names.owner(["l.conv/Relu.t1"]) == "l.conv"
    assert names.owner(["l.conv/WithoutBiases", "l.add"]) == "l.conv"
    assert names.owner(["y"]) == "l.add"
    assert names.owner(["Transpose_token_3_kernel_time"], "Transpose") == REST
    assert names.owner([]) == REST
    assert Names(data).owner(["l.conv/Relu.t1"]) == "l.conv/Relu.t1"


@pytest.mark.skipif("openvino" not in FILES, reason="openvino is not installed")
@pytest.mark.parametrize("integer", [False, True])
def test_openvino_runs_each_convolution_in_the_precision_it_claims(integer: bool) -> None:
    program = quantized(network()) if integer else network()
    compiled = backends.get("openvino").compile(program)
    compiled(pixels(1))
    (request,) = compiled._requests.values()
    kernels = [
        str(op.get_rt_info()["primitiveType"].value)
        for op in request.compiled.get_runtime_model().get_ordered_ops()
        if str(op.get_rt_info()["layerType"].value) == "Convolution"
    ]
    assert len(kernels) == 2
    assert all(kernel.endswith("_I8" if integer else "_f32") for kernel in kernels), kernels


@pytest.mark.parametrize("name", backends.targets())
def test_zeros_around_a_max_pool_stay_zeros(name: str) -> None:
    """onnxruntime fuses them into the pool's own padding, which is −∞."""
    b = Builder()
    x = b.op("unary", b.input("x", (2, 6, 6)), function="neg")
    x = b.op("pad", x, pads=(0, 1, 1, 0, 1, 1), value=0.0)
    window = {"kernel": (3, 3), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
    program = b.finish(b.op("pool", x, function="max", ceil=False, include_pad=False, **window))
    given = np.abs(np.random.default_rng(0).normal(size=(2, 2, 6, 6))).astype(np.float32)
    (found,) = backends.get(name).compile(program)(given)
    assert np.allclose(found, interpret(program, given)[0], atol=1e-6)


@pytest.mark.parametrize("name", backends.targets())
def test_truth_choice_and_places_that_flow(name: str) -> None:
    b = Builder()
    tokens, x = b.input("tokens", (5,)), b.input("x", (5, 3))
    two, zero = b.store("two", np.float32(2)), b.store("zero", np.float32(0))
    seen = b.op("reshape", b.op("binary", two, tokens, function="less"), shape=(5, 1))
    chosen = b.op("where", seen, x, zero)
    same = b.op("binary", tokens, two, function="equal")
    picked = b.op("gather", x, tokens, axis=0)
    program = b.finish(chosen, same, picked)
    rng = np.random.default_rng(0)
    given = (rng.integers(0, 5, (4, 5)), rng.normal(size=(4, 5, 3)).astype(np.float32))
    for found, wanted in zip(
        backends.get(name).compile(program)(*given), interpret(program, *given), strict=True
    ):
        assert np.allclose(found, wanted, atol=1e-6)


PINNED_FIRST = """
import os, time
import numpy as np
from lighten import backends
from tests.test_backends import wide

x, program = np.zeros((1, 64, 56, 56), np.float32), wide()
one, cores = backends.get("openvino").compile(program, 1), os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(cores)})
one(x)
os.sched_setaffinity(0, cores)
two, end = backends.get("openvino").compile(program, 2), time.monotonic() + 30

def ticks():
    found = []
    for thread in os.listdir("/proc/self/task"):
        fields = open(f"/proc/self/task/{thread}/stat").read().rpartition(")")[2].split()
        found.append(int(fields[11]))
    return sorted(found)

before = ticks()
while ticks()[-2] < before[-2] + 5 and time.monotonic() < end:
    two(x)
print(ticks()[-2] - before[-2])
"""


def wide() -> Program:
    """A convolution that two threads share."""
    b = Builder()
    x = b.input("x", (64, 56, 56))
    weight = b.store("w", np.ones((64, 64, 3, 3), np.float32))
    sliding = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}
    return b.finish(b.op("conv", x, weight, name="conv", **sliding))


def test_openvino_has_two_threads_though_it_was_first_called_on_one_core() -> None:
    pytest.importorskip("openvino")
    if not Path("/proc/self/task").is_dir() or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs /proc and two cores")
    command = [sys.executable, "-c", PINNED_FIRST]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) >= 5
