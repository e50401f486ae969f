"""int8: placement, scales, bias correction, and that two runtimes compute it in int8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from lighten.core.task import Batch
from lighten.errors import ProgramError
from lighten.formats import INT8_WEIGHT, UINT8
from lighten.program import (
    Builder,
    Program,
    activations,
    bias_correction,
    check,
    fuse,
    interpret,
    observe,
    quantization,
    to_onnx,
)
from lighten.program.quantize import int8_weight, quantize
from tests.programs import resnet

RNG = np.random.default_rng(0)
SLIDING = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
KERNEL3 = {**SLIDING, "kernel": (3, 3), "ceil": False, "include_pad": False}


def conv(b: Builder, x: str, width: int, name: str, groups: int = 1, **more: object) -> str:
    channels = b.values[x].shape[0]
    w = b.store(
        "w", RNG.normal(0, np.sqrt(2 * groups / 9 / channels), (width, channels // groups, 3, 3))
    )
    bias = b.store("b", RNG.normal(0, 0.1, width))
    return b.op("conv", x, w, bias, name=name, groups=groups, **{**SLIDING, **more})


def samples(program: Program, n: int = 16) -> np.ndarray:
    shape = program.values[program.inputs[0]].shape
    return np.random.default_rng(1).normal(size=(n, *shape)).astype(np.float32)


def in_int8(program: Program, layers: list[str] | None = None, **more: object) -> Program:
    batches = [Batch((samples(program),), None)]
    return check(quantize(program, observe(program, batches), layers, **more))


def mixture() -> Program:
    """Concatenation, both pools, a depthwise layer, squeeze-excite, a linear layer on sequences."""
    b = Builder()
    x = conv(b, b.input("x", (3, 12, 12)), 16, "stem", activation="relu")
    y = conv(b, x, 16, "depthwise", groups=16, activation="relu6")
    x = b.op("concat", x, y, axis=0)
    x = b.op("pool", x, name="maximum", function="max", **{**KERNEL3, "strides": (2, 2)})
    x = conv(b, x, 32, "middle", activation="relu")
    squeezed = b.op("reduce", x, function="mean", axes=(1, 2), keepdims=True)
    w = b.store("w", RNG.normal(0, 0.2, (32, 32, 1, 1)))
    how = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1}
    gate = b.op("unary", b.op("conv", squeezed, w, name="excite", **how), function="sigmoid")
    x = b.op("binary", x, gate, function="mul")
    x = b.op("pool", x, name="average", function="average", **KERNEL3)
    x = conv(b, x, 32, "last", activation="relu")
    x = b.op("transpose", b.op("reshape", x, shape=(32, 36)), permutation=(1, 0))
    w = b.store("w", RNG.normal(0, 0.2, (8, 32)))
    x = b.op("linear", x, w, b.store("b", RNG.normal(size=8)), name="token", activation="relu")
    x = b.op("reduce", x, function="mean", axes=(0,), keepdims=False)
    w = b.store("w", RNG.normal(0, 0.5, (5, 8)))
    return b.finish(b.op("linear", x, w, b.store("b", RNG.normal(size=5)), name="head"))


PROGRAMS = {"resnet": lambda: fuse(resnet((8, 16), 2, 16)), "mixture": lambda: fuse(mixture())}


@pytest.fixture(params=PROGRAMS)
def program(request) -> Program:
    return PROGRAMS[request.param]()


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def optimised(program: Program, folder: Path) -> tuple[onnxruntime.InferenceSession, Counter[str]]:
    """A session, and how many nodes of each kind onnxruntime runs (portable optimisations)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(to_onnx(program), options)
    nodes = onnx.load(folder / "optimised.onnx").graph.node
    return session, Counter(node.op_type for node in nodes)


def test_onnxruntime_computes_every_layer_in_int8(program, tmp_path):
    eight = in_int8(program)
    session, kinds = optimised(eight, tmp_path)
    convs = sum(op.kind == "conv" for op in program.ops)
    assert kinds["QLinearConv"] == convs and not kinds["Conv"] and not kinds["FusedConv"]
    assert kinds["QGemm"] == 1 and not kinds["Gemm"] and not kinds["Relu"]
    if program.op("head" if "head" in {op.name for op in program.ops} else "linear"):
        x = samples(program, 4)
        (exact,) = interpret(eight, x)
        assert error(session.run(None, {"x": x})[0], exact) < 0.03


def test_openvino_computes_every_layer_in_int8(program):
    openvino = pytest.importorskip("openvino")
    eight = in_int8(program)
    core = openvino.Core()
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.compile_model(core.read_model(to_onnx(eight)), "CPU", how)
    runs: dict[str, list[str]] = {}
    for node in model.get_runtime_model().get_ops():
        said = {key: node.get_rt_info()[key].astype(str) for key in ("layerType", "primitiveType")}
        runs.setdefault(said["layerType"], []).append(said["primitiveType"])
    layers = runs["Convolution"] + runs["FullyConnected"]
    assert len(layers) == sum(op.kind in ("conv", "linear") for op in program.ops)
    assert all(primitive.upper().endswith("I8") for primitive in layers), layers
    x = samples(program, 4)
    assert error(model(x)[0], interpret(eight, x)[0]) < 0.03


def test_residual_adds_and_shortcuts_stay_in_int8(tmp_path):
    eight = in_int8(PROGRAMS["resnet"]())
    _, kinds = optimised(eight, tmp_path)
    assert kinds["QLinearAdd"] == 4 and not kinds["Add"]
    assert kinds["QLinearGlobalAveragePool"] == 1
    floats = {name for name, value in eight.values.items() if value.format != UINT8}
    assert floats == {"x", "linear"}


def test_one_layer_differs_from_onnxruntime_by_one_code_at_most(tmp_path):
    b = Builder()
    x = conv(b, b.input("x", (8, 10, 10)), 16, "one", activation="relu")
    b.op("unary", conv(b, x, 8, "two"), name="y", function="neg")
    program = b.finish("y")
    eight = in_int8(program)
    step = eight.values["two"].params.scale
    session, kinds = optimised(eight, tmp_path)
    assert kinds["QLinearConv"] == 2
    x = samples(program)
    codes = (session.run(None, {"x": x})[0] - interpret(eight, x)[0]) / step
    assert np.abs(codes).max() < 1.01 + 1.0  # one code of `one` may move `two` by one more
    assert (np.abs(codes) > 0.5).mean() < 0.01


def test_int8_is_close_and_a_quarter_of_the_size(program):
    eight = in_int8(program)
    x = samples(program)
    assert error(interpret(eight, x)[0], interpret(program, x)[0]) < 0.08
    big = fuse(resnet((32, 64), 2, 16))
    assert len(to_onnx(in_int8(big))) < 0.30 * len(to_onnx(big))


@pytest.mark.parametrize("calibrator", ["max", "percentile", "mse", "kl"])
def test_every_calibrator_gives_a_sound_program(calibrator):
    program = PROGRAMS["resnet"]()
    eight = in_int8(program, calibrator=calibrator)
    x = samples(program)
    assert error(interpret(eight, x)[0], interpret(program, x)[0]) < 0.15


def test_only_the_chosen_layers_change():
    program = PROGRAMS["resnet"]()
    eight = in_int8(program, ["layer1.0.conv1", "linear"])
    formats = {op.name: eight.arrays[op.inputs[1]].format for op in eight.ops if len(op.inputs) > 2}
    chosen = {name for name, form in formats.items() if form == INT8_WEIGHT}
    assert chosen == {"layer1.0.conv1", "linear"}
    casts = [op for op in eight.ops if op.kind == "cast"]
    # the residual stream is read by the add in float as well, so the layer reads a rounded copy
    assert [op.inputs[0] for op in casts] == [program.op("layer1.0.conv1").inputs[0]]
    assert eight.values[casts[0].inputs[0]].format != UINT8


def test_what_a_float_layer_computes_is_not_rounded_for_an_add():
    program = PROGRAMS["resnet"]()
    spared = "layer1.1.conv2"
    chosen = [op.name for op in program.ops if op.kind in ("conv", "linear") and op.name != spared]
    eight = in_int8(program, chosen)
    (add,) = eight.consumers()[eight.op(spared).output]
    assert add.kind == "binary" and eight.values[eight.op(spared).output].format != UINT8
    assert eight.values[eight.op("layer1.0.conv2").output].format == UINT8


def test_no_layers_is_the_same_program():
    program = PROGRAMS["resnet"]()
    eight = in_int8(program, [])
    assert eight.ops == program.ops
    assert not any(value.params for value in eight.values.values())


def test_carried_values_share_one_scale():
    eight = in_int8(PROGRAMS["mixture"]())
    joined = eight.op(next(op.name for op in eight.ops if op.kind == "concat"))
    names = (*joined.inputs, joined.output, eight.op("maximum").output)
    assert len({id(eight.values[name].params) for name in names}) == 1


def test_a_shared_scale_covers_what_a_float_layer_adds():
    """A U-Net's concat: one part in int8 and above zero, one of a float layer and below it."""
    rng = np.random.default_rng(0)
    b = Builder()
    sliding = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
    eye = b.store("eye", np.eye(2).reshape(2, 2, 1, 1))
    minus = b.store("minus", -3.0 * np.eye(2).reshape(2, 2, 1, 1))
    x = b.input("x", (2, 4, 4))
    above = b.op("conv", x, eye, **sliding, activation="relu")
    below = b.op("conv_transpose", above, minus, **sliding, output_padding=(0, 0), activation="")
    both = b.op("concat", above, below, axis=0)
    last = b.store("last", np.eye(4).reshape(4, 4, 1, 1))
    program = b.finish(b.op("conv", both, last, **sliding, activation=""))
    batch = Batch((rng.standard_normal((32, 2, 4, 4), np.float32),), None)
    quantized = quantize(program, observe(program, [batch]))
    (exact,), (coarse,) = (interpret(p, *batch.inputs) for p in (program, quantized))
    assert np.abs(coarse - exact).max() < 0.02 * np.abs(exact).max()


def test_zero_stays_zero_so_padding_is_exact():
    eight = in_int8(PROGRAMS["resnet"]())
    for value in eight.values.values():
        if value.params is not None:
            assert value.format.decode(np.asarray(value.params.zero_point), value.params) == 0


def test_strange_layers_and_calibrators_are_refused():
    program = PROGRAMS["resnet"]()
    with pytest.raises(ProgramError, match="'nothing' is no convolution"):
        quantize(program, {}, ["nothing"])
    with pytest.raises(ProgramError, match="max, percentile, mse, kl, but got 'best'"):
        quantize(program, {}, None, "best")


def biased(program: Program) -> Program:
    """The program in int8, its weights' codes pushed up by half a step: a systematic error."""
    eight = in_int8(program)
    arrays = {
        name: a
        if a.format != INT8_WEIGHT
        else type(a)(np.minimum(a.codes + 1, 127), a.format, a.params)
        for name, a in eight.arrays.items()
    }
    return eight.changed(arrays=arrays)


def test_bias_correction_takes_the_mean_error_away():
    program = PROGRAMS["resnet"]()
    batches = [Batch((samples(program, 64),), None)]
    before = biased(program)
    after = check(bias_correction(program, before, batches))
    x = samples(program, 64)
    (exact,), (shifted,), (corrected,) = (interpret(p, x) for p in (program, before, after))
    assert np.abs((corrected - exact).mean(0)).max() < 0.3 * np.abs((shifted - exact).mean(0)).max()
    # the first layer reads exactly what was observed: before its activation nothing is left
    x_codes = activations(after, x, keep=["x.int8"])["x.int8"]
    first = {p: p.op("conv1") for p in (program, after)}
    from lighten.program.quantize import _preactivation

    left = _preactivation(after, first[after], x_codes) - _preactivation(program, first[program], x)
    assert np.abs(left.mean((0, 2, 3))).max() < 1e-6


def test_quantization_does_all_of_it():
    program = PROGRAMS["resnet"]()
    x = samples(program)
    eight = check(quantization(program, [(x[:8],), (x[8:],)]))
    by_hand = in_int8(program)
    assert {op.name for op in eight.ops} == {op.name for op in by_hand.ops}
    assert any(name.endswith(".corrected.bias") for name in eight.arrays)


def test_weights_are_symmetric_per_channel_and_never_minus_128():
    w = RNG.normal(size=(8, 4, 3, 3)).astype(np.float32)
    b = Builder()
    stored = int8_weight(b.arrays[b.store("w", w)])
    assert stored.codes.dtype == np.int8 and stored.codes.min() >= -127
    assert np.array_equal(np.abs(stored.codes).max((1, 2, 3)), np.full(8, 127))
    assert np.abs(stored.decode() - w).max() <= stored.params.scale.max() / 2 * 1.0001
