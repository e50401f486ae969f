"""The eager backend gives what the reference interpreter gives, op by op and format by format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lighten.backends import eager_ops
from lighten.backends.eager import Eager, activations
from lighten.errors import ProgramError, UnsupportedOps
from lighten.formats.integer import INT8_WEIGHT, UINT8, Integer
from lighten.program.build import Builder
from lighten.program.interpret import activations as reference_activations
from lighten.program.interpret import interpret
from lighten.program.ir import Program, Stored, Value
from lighten.program.spec import BINARY, FUNCTIONS, KINDS
from tests.programs import resnet

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def slides(rank: int, **changed: Any) -> dict[str, Any]:
    usual = {"strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank}
    return {**usual, **changed}


def window(function: str, rank: int = 2, **changed: Any) -> dict[str, Any]:
    usual = {"function": function, "kernel": (3,) * rank, "ceil": False, "include_pad": False}
    return {**usual, **slides(rank), **changed}


Case = tuple[str, str, tuple[Any, ...], dict[str, Any]]
# kind, its variant, inputs (a shape flows, an array is stored, "" is absent), attributes
CASES: list[Case] = [
    ("conv", "plain", ((4, 9, 8), normal(6, 4, 3, 3), normal(6)), slides(2, groups=1)),
    (
        "conv",
        "uneven pads, strides, dilations, groups, activation",
        ((4, 9, 8), normal(6, 2, 3, 2)),
        {
            "strides": (2, 1),
            "pads": (1, 0, 2, 1),
            "dilations": (1, 2),
            "groups": 2,
            "activation": "silu",
        },
    ),
    ("conv", "1-D", ((2, 9), normal(3, 2, 3), normal(3)), slides(1, groups=1)),
    ("conv", "3-D", ((2, 4, 5, 6), normal(3, 2, 3, 3, 3)), slides(3, groups=1)),
    (
        "conv_transpose",
        "strided",
        ((4, 5, 4), normal(4, 3, 3, 3), normal(6)),
        slides(2, strides=(2, 2), pads=(1,) * 4, groups=2, output_padding=(1, 1)),
    ),
    (
        "conv_transpose",
        "uneven pads, activation",
        ((4, 5, 4), normal(4, 3, 3, 3), normal(3)),
        slides(
            2,
            strides=(2, 1),
            pads=(1, 0, 0, 2),
            groups=1,
            output_padding=(0, 0),
            activation="relu",
            dilations=(1, 2),
        ),
    ),
    ("linear", "vector", ((5,), normal(3, 5), normal(3)), {"activation": "gelu"}),
    ("linear", "many axes", ((2, 3, 5), normal(4, 5)), {}),
    ("affine", "channels", ((3, 4, 5), normal(3), normal(3)), {"axis": 0}),
    ("affine", "last", ((3, 4), normal(4), normal(4)), {"axis": 1}),
    ("group_norm", "weights", ((6, 4), normal(6), normal(6)), {"groups": 3, "epsilon": 1e-3}),
    ("layer_norm", "weights", ((3, 4, 5), normal(5), normal(5)), {"axes": 1, "epsilon": 1e-3}),
    ("layer_norm", "two axes", ((3, 4, 5),), {"axes": 2, "epsilon": 1e-3}),
    ("layer_norm", "rms", ((3, 5), normal(5)), {"axes": 1, "epsilon": 1e-3, "rms": True}),
    ("matmul", "batched", ((2, 3, 4), (2, 4, 5)), {}),
    ("matmul", "ranks differ", ((3, 4), (2, 4, 5)), {}),
    ("matmul", "stored", ((2, 3, 4), normal(4, 5)), {}),
    *(
        ("unary", name, ((3, 40),), {"function": name, "low": -0.5, "high": 0.7, "slope": 0.3})
        for name in FUNCTIONS
    ),
    *(("binary", name, ((3, 4), (4,)), {"function": name}) for name in BINARY),
    ("binary", "stored", ((3, 4), normal(2, 1, 4)), {"function": "sub", "activation": "relu"}),
    ("binary", "stored first", (normal(4), (3, 4)), {"function": "div"}),
    ("where", "broadcast", (normal(3, 1), (3, 4), (4,)), {}),
    ("softmax", "axis", ((3, 4, 5),), {"axis": 1}),
    ("pool", "max", ((2, 7, 6),), window("max", strides=(2, 2), pads=(1,) * 4)),
    ("pool", "max ceil", ((2, 7, 8),), window("max", strides=(2, 3), ceil=True)),
    ("pool", "max uneven", ((2, 7, 6),), window("max", strides=(2, 2), pads=(0, 1, 1, 2))),
    ("pool", "max dilated", ((2, 7, 6),), window("max", dilations=(2, 1))),
    ("pool", "average", ((2, 7, 6),), window("average", strides=(2, 2), pads=(1,) * 4)),
    (
        "pool",
        "average with padding",
        ((2, 7, 6),),
        window("average", pads=(1,) * 4, include_pad=True, strides=(2, 2), ceil=True),
    ),
    (
        "pool",
        "average uneven with padding",
        ((2, 7, 6),),
        window("average", pads=(0, 1, 2, 1), include_pad=True, strides=(2, 2)),
    ),
    (
        "pool",
        "average uneven",
        ((2, 7, 6),),
        window("average", pads=(0, 1, 2, 1), strides=(2, 2), ceil=True),
    ),
    ("pool", "average 1-D", ((2, 7),), window("average", rank=1)),
    ("pool", "max 3-D", ((2, 4, 5, 6),), window("max", rank=3)),
    *(
        ("reduce", name, ((3, 4, 5),), {"function": name, "axes": (0, 2), "keepdims": keep})
        for name, keep in (("mean", True), ("sum", False), ("max", False))
    ),
    ("concat", "flows", ((2, 3), (4, 3)), {"axis": 0}),
    ("concat", "stored", ((2, 3), normal(2, 1)), {"axis": 1}),
    ("slice", "strided", ((3, 9),), {"axis": 1, "start": 1, "stop": -1, "step": 2}),
    ("pad", "value", ((3, 4),), {"pads": (1, 0, 0, 2), "value": -1.5}),
    ("reshape", "flat", ((3, 4),), {"shape": (12,)}),
    ("transpose", "three axes", ((3, 4, 5),), {"permutation": (2, 0, 1)}),
    ("expand", "new axis", ((1, 4),), {"shape": (2, 3, 4)}),
    *(
        ("resize", f"{mode} {corners}", ((2, 4, 3),), settings)
        for mode, corners in (("nearest", False), ("linear", False), ("linear", True))
        for settings in [{"size": (8, 5), "mode": mode, "align_corners": corners}]
    ),
    ("resize", "1-D", ((2, 4),), {"size": (7,), "mode": "linear", "align_corners": False}),
    ("gather", "stored indices", ((3, 4, 5), np.array([[0, 3], [1, 1]])), {"axis": 1}),
    ("cast", "", ((3, 4),), {}),
    *(
        (
            "recurrent",
            f"{name}, reverse {reverse}",
            ((7, 3), normal(gates * 5, 3), normal(gates * 5, 5), normal(gates * 5)),
            {"function": name, "reverse": reverse},
        )
        for name, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1))
        for reverse in (False, True)
    ),
]


def one_op(case: Case) -> Program:
    kind, _, inputs, attributes = case
    builder = Builder()
    names = [
        builder.store(f"w{number}", x)
        if isinstance(x, np.ndarray)
        else builder.input(f"x{number}", x)
        for number, x in enumerate(inputs)
    ]
    if kind == "unary":
        parameters = FUNCTIONS[attributes["function"]]
        attributes = {k: v for k, v in attributes.items() if k in ("function", *parameters)}
    if kind == "layer_norm":
        attributes = {"rms": False, **attributes}
    return builder.finish(builder.op(kind, *names, **attributes))


def positive(case: Case) -> bool:
    return case[3].get("function") in ("log", "sqrt", "rsqrt", "reciprocal", "pow", "div")


def arrays(program: Program, n: int = 3, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = [program.values[name].shape for name in program.inputs]
    normals = [rng.normal(size=(n, *shape)).astype(np.float32) for shape in shapes]
    return [np.abs(x) + np.float32(shift) if shift else 2 * x for x in normals]


def worst(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_every_kind_equals_the_reference(case: Case) -> None:
    program = one_op(case)
    inputs = arrays(program, shift=0.1 if positive(case) else 0.0)
    (found,), (wanted,) = Eager().compile(program)(*inputs), interpret(program, *inputs)
    assert found.dtype == np.float32
    assert worst(found, wanted) < 2e-6


def test_every_kind_has_a_case_and_a_function() -> None:
    assert {case[0] for case in CASES} == set(KINDS) == set(eager_ops.TABLE)
    assert set(FUNCTIONS) == {*eager_ops.FUNCTIONS, *eager_ops.PARAMETRIC}
    assert set(BINARY) == set(eager_ops.ARITHMETIC)


@pytest.mark.parametrize(
    ("table", "axis"), [((9, 4), 0), ((2, 9), 1), ((2, 9, 3), 1)], ids=["rows", "last", "middle"]
)
@pytest.mark.parametrize("stored", [True, False])
def test_gather_by_indices_that_flow(table: tuple[int, ...], axis: int, stored: bool) -> None:
    builder = Builder()
    rows = builder.store("t", normal(*table)) if stored else builder.input("t", table)
    indices = builder.input("indices", (2, 3))
    program = builder.finish(builder.op("gather", rows, indices, axis=axis))
    given = [np.random.default_rng(0).integers(0, 9, (4, 2, 3))]
    given = given if stored else [normal(4, *table), *given]
    (found,), (wanted,) = Eager().compile(program)(*given), interpret(program, *given)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


def quantized(program: Program) -> Program:
    """u8 values of the range the reference sees, int8 weights with a scale per output channel."""
    x = arrays(program)
    seen = reference_activations(program, *x, keep=list(program.values))
    values = {
        name: Value(value.shape, UINT8, UINT8.span(seen[name].min(), seen[name].max()))
        for name, value in program.values.items()
    }
    stored = dict(program.arrays)
    for name, array in program.arrays.items():
        if array.codes.ndim == 4:
            params = INT8_WEIGHT.fit(array.codes, axis=0)
            codes = INT8_WEIGHT.encode(array.codes, params).astype(np.int8)
            stored[name] = Stored(codes, INT8_WEIGHT, params)
    return program.changed(values=values, arrays=stored)


def test_integer_formats_are_rounded_as_the_reference_rounds() -> None:
    program = quantized(resnet((4, 6, 8), 1, 12))
    inputs = arrays(program, 8)
    kept = [op.output for op in program.ops]
    found = Eager().compile(program).activations(*inputs, keep=kept)
    wanted = reference_activations(program, *inputs, keep=kept, dtype=np.float32)
    for name in kept:
        scale = float(program.values[name].params.scale)  # type: ignore[union-attr]
        steps = np.abs(found[name] - wanted[name]) / scale
        on_grid = found[name] / scale
        assert np.abs(on_grid - np.round(on_grid)).max() < 1e-3, name
        # a sum in another order may land on the other side of a half
        assert steps.max() < 1.01 and (steps > 0.5).mean() < 0.01, name


@pytest.mark.parametrize("form", [UINT8, Integer(8, signed=True), INT8_WEIGHT], ids=str)
def test_a_cast_rounds_exactly_and_per_channel(form: Integer) -> None:
    builder = Builder()
    x = builder.input("x", (3, 50))
    program = builder.finish(builder.op("cast", x))
    low, high = np.array([-1.0, -2.0, 0.0]), np.array([1.0, 3.0, 4.0])
    params = form.span(low, high, axis=0)
    values = {**program.values, "cast": Value((3, 50), form, params)}
    program = program.changed(values=values)
    given = arrays(program, 5)
    (found,), (wanted,) = (
        Eager().compile(program)(*given),
        interpret(program, *given, dtype=np.float32),
    )
    np.testing.assert_allclose(found, wanted, rtol=2e-7)  # one code off would be 1e-3
    assert np.abs(found - given[0]).max() > 1e-3


def test_activations_are_those_of_the_reference() -> None:
    program = resnet((4, 6, 8), 1, 12)
    names = ["conv1", program.outputs[0], program.inputs[0]]
    inputs = arrays(program, 5)
    found = activations(program, *inputs, keep=names)
    wanted = reference_activations(program, *inputs, keep=names)
    assert set(found) == set(names)
    assert all(worst(found[name], wanted[name]) < 1e-5 for name in names)


def test_threads_are_put_back() -> None:
    program = resnet((4, 6, 8), 1, 12)
    before = torch.get_num_threads()
    Eager().compile(program, threads=before + 1)(*arrays(program))
    assert torch.get_num_threads() == before


def refuses(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_what_it_cannot_run_or_be_given_is_said() -> None:
    builder = Builder()
    weight = builder.store("w", normal(2, 2, 1, 1, 1, 1))
    x = builder.input("x", (2, 3, 3, 3, 3))
    four = builder.finish(builder.op("conv", x, weight, name="deep", **slides(4), groups=1))
    assert Eager().missing(four) == ["conv deep"]
    refuses(lambda: Eager().compile(four), UnsupportedOps, "eager cannot run 1 op.*conv deep")
    run = Eager().compile(resnet((4, 6, 8), 1, 12))
    refuses(lambda: run(normal(2, 3, 9, 12)), ProgramError, r"'x' must be \[n, 3, 12, 12\]")
    refuses(run, ProgramError, "takes 1 input")


def test_a_mutant_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: a zero point that is off by one is seen."""
    program = quantized(resnet((4, 6, 8), 1, 12))
    values = {
        name: replace(value, params=replace(value.params, zero_point=value.params.zero_point + 1))
        for name, value in program.values.items()
        if value.params is not None
    }
    inputs = arrays(program, 2)
    (found,) = Eager().compile(program.changed(values=values))(*inputs)
    (wanted,) = interpret(program, *inputs, dtype=np.float32)
    assert worst(found, wanted) > 1e-4


def test_a_profile_has_a_time_for_every_op() -> None:
    b = Builder()
    x = b.input("x", (2,))
    program = b.finish(b.op("binary", x, x, function="add"))
    inputs = (np.ones((1, 2), np.float32),)
    times = Eager().compile(program).profile(inputs, runs=3)
    assert list(times) == [op.name for op in program.ops] and min(times.values()) > 0
