"""Programs of codes in the engine: the same bits as their emulation, on every instruction set."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lighten
from lighten import store, zoo
from lighten.backends.eager import activations
from lighten.backends.native import Native
from lighten.emit import ISAS, integers
from lighten.emit.target import target
from lighten.engine.codes import has_codes
from lighten.engine.executable import Network
from lighten.engine.explain import explain
from lighten.engine.object_file import object_file
from lighten.engine.plan import instructions, plan
from lighten.formats.integer import INT8_WEIGHT, UINT8, Scale
from lighten.network import lower
from lighten.program import Builder, Program, interpret
from lighten.program.emulate import emulate
from lighten.program.fuse import fuse
from lighten.program.integers import in_codes, layer
from lighten.program.ir import Stored
from lighten.program.quantize import quantization
from tests.programs import resnet
from tests.random_programs import SHAPES, random_program
from tests.random_programs import STEPS as ANY
from tests.test_emit_integers import SETS
from tests.test_lower import lively

QUICK, MANY = 6, 200


def scale(rng: random.Random, step: float = 0.05) -> Scale:
    zero = rng.choice([0, 0, 128, 255, rng.randint(1, 254)])
    return Scale(np.float32(step * rng.uniform(0.5, 1.5)), np.float32(zero))


def coded(program: Program, scales: dict[str, Scale]) -> Program:
    """The program with values rounded to codes."""
    values = dict(program.values)
    for name, params in scales.items():
        values[name] = replace(values[name], format=UINT8, params=params)
    return program.changed(values=values)


def weight(b: Builder, rng: random.Random, shape: tuple[int, ...]) -> str:
    """int8 weights in full range, now and then a filter of zeros."""
    draw = np.random.default_rng(rng.randrange(1 << 30))
    codes = draw.integers(-127, 127, shape, np.int8, endpoint=True)
    codes[rng.randrange(shape[0])] *= rng.choice([0, 1])
    steps = draw.uniform(0.5, 1.5, shape[0]).astype(np.float32) / 127
    name = b.store("w", codes.astype(np.float32))
    params = Scale(steps / np.sqrt(np.prod(shape[1:]), dtype=np.float32), np.zeros_like(steps), 0)
    b.arrays[name] = Stored(codes, INT8_WEIGHT, params)
    return name


def bias(b: Builder, rng: random.Random, count: int) -> str:
    return b.store("b", np.random.default_rng(rng.randrange(99)).normal(0, 0.5, count))


def conv(b: Builder, rng: random.Random, x: str) -> str:
    """Any convolution: odd sizes, steps, paddings, ragged channels; some depthwise."""
    channels, height, width = b.values[x].shape
    deep = rng.random() < 0.4
    groups = (
        channels if deep else rng.choice([d for d in range(1, channels + 1) if channels % d == 0])
    )
    filters = channels if deep else groups * rng.randint(1, 40 // groups + 1)
    rows, columns = rng.choice([(1, 1), (3, 3), (3, 3), (5, 5), (2, 3), (1, 7)])
    pads = tuple(rng.randint(0, 3) for _ in range(4))
    steps = (rng.randint(1, 2), rng.randint(1, 3)) if rng.random() < 0.5 else (1, 1)
    apart = (rng.randint(1, 2), 1 if deep else rng.randint(1, 2))
    if height + pads[0] + pads[2] <= 2 * rows or width + pads[1] + pads[3] <= 2 * columns:
        return x
    w = weight(b, rng, (filters, channels // groups, rows, columns))
    more = (bias(b, rng, filters),) if rng.random() < 0.7 else ()
    active = rng.choice(["", "relu", "relu6"])
    given = {"strides": steps, "pads": pads, "dilations": apart, "groups": groups}
    return b.op("conv", x, w, *more, **given, activation=active)


def linear(b: Builder, rng: random.Random, x: str) -> str:
    shape = b.values[x].shape
    x = b.op("reshape", x, shape=(shape[0] * shape[1] * shape[2],))
    filters, active = rng.randint(1, 40), rng.choice(["", "relu"])
    w = weight(b, rng, (filters, b.values[x].shape[0]))
    return b.op("linear", x, w, bias(b, rng, filters), activation=active)


def pool(b: Builder, rng: random.Random, x: str) -> str:
    how = rng.choice(["max", "average"])
    before = 1 if how == "max" and rng.random() < 0.5 else 0
    side = rng.choice([2, 3])
    given: dict[str, Any] = {"strides": (rng.randint(1, 2),) * 2, "pads": (before,) * 4}
    given |= {"ceil": False, "include_pad": False, "dilations": (1, 1)}
    if min(b.values[x].shape[1:]) < side:
        return x
    return b.op("pool", x, function=how, kernel=(side, side), **given)


def combined(b: Builder, rng: random.Random, x: str) -> str:
    other = conv(b, rng, x)
    if rng.random() < 0.5 or b.values[other].shape != b.values[x].shape:
        other = b.op("reduce", x, function="mean", axes=(1, 2), keepdims=True)
    return b.op("binary", x, other, function=rng.choice(["add", "mul"]))


def moved(b: Builder, rng: random.Random, x: str) -> str:
    channels, height, _ = b.values[x].shape
    kind = rng.choice(["concat", "slice", "pad"])
    if kind == "concat":
        return b.op("concat", x, x, axis=0)
    if kind == "pad":
        return b.op("pad", x, pads=(0, 1, 0, rng.randint(0, 3), 1, 2), value=0.0)
    return b.op("slice", x, axis=rng.choice([0, 1]), start=0, stop=min(channels, height), step=1)


STEPS: dict[str, Callable[[Builder, random.Random, str], str]] = {
    "conv": conv,
    "linear": linear,
    "pool": pool,
    "combined": combined,
    "moved": moved,
}


def drawn(kind: str, seed: int) -> tuple[Program, np.ndarray]:
    """A few ops, the last of the kind, every value rounded to codes."""
    rng, b = random.Random(f"{kind} {seed}"), Builder()
    size = (rng.choice([1, 3, 4, 16, 20, 33]), rng.randint(4, 12), rng.randint(4, 18))
    start = x = b.op("cast", b.input("x", size))
    if rng.random() < 0.5:
        x = conv(b, rng, x)
    x = STEPS[kind](b, rng, x)
    if x == start:
        x = b.op("unary", x, function="relu")
    program = b.finish(x)
    scales = {name: scale(rng) for name in program.values if name != "x"}
    for op in program.ops:  # what only moves keeps its scale
        if op.kind in ("concat", "slice", "pad", "reshape") or op.get("function") == "max":
            scales[op.output] = scales[op.inputs[0]]
    draw = np.random.default_rng(seed).normal(0, 5, (rng.choice([1, 3]), *size))
    return coded(program, scales), draw.astype(np.float32)


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("kind", STEPS)
def test_every_kernel_gives_the_bits_of_the_emulation(kind: str, isa: str) -> None:
    for seed in range(QUICK):
        program, x = drawn(kind, seed)
        network = Network(plan(program, SETS[isa]), threads=1 + seed % 2)
        (found,), (wanted,) = network(x), emulate(network.plan.program, x)
        np.testing.assert_array_equal(found, wanted, err_msg=f"{kind} {seed}")


@pytest.mark.soak
@pytest.mark.parametrize("kind", STEPS)
def test_many_more_programs(kind: str) -> None:
    for seed in range(QUICK, MANY):
        program, x = drawn(kind, seed)
        isa = list(SETS.values())[seed % len(SETS)]
        network = Network(plan(program, isa))
        (found,), (wanted,) = network(x), emulate(network.plan.program, x)
        np.testing.assert_array_equal(found, wanted, err_msg=f"{kind} {seed}")


def made(name: str, joins: bool = True) -> tuple[Program, np.ndarray]:
    """A network of the zoo, quantized."""
    torch.manual_seed(0)
    channels, *sides = zoo.TABLE[name].input_shape
    x = torch.randn(2, channels, *(min(side, 64) for side in sides))
    program = fuse(lower(lively(zoo.build(name)).eval(), x))
    return quantization(program, [(x.numpy(),)], run=activations, joins=joins), x.numpy()


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("joins", [False, True])
def test_a_residual_network_is_exact(isa: str, joins: bool) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    program = quantization(fuse(resnet(depth=1, size=16)), [(x,)], joins=joins)
    network = Network(plan(program, SETS[isa]))
    (found,), (wanted,) = network(x), emulate(network.plan.program, x)
    np.testing.assert_array_equal(found, wanted)
    added = [op for op in network.plan.program.ops if op.kind == "binary"]
    assert bool(added) != joins  # additions are made by convolutions, or are ops of their own


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3"])
def test_networks_of_the_zoo_are_exact_and_all_in_codes(name: str) -> None:
    program, x = made(name)
    network = Native().compile(program)
    (found,), (wanted,) = network(x), emulate(network.plan.program, x)
    np.testing.assert_array_equal(found, wanted)
    casts = [op for op in network.plan.program.ops if op.kind == "cast"]
    assert [op.inputs[0] for op in casts] == list(program.inputs)
    exact = interpret(program, x)[0]
    assert np.abs(found - exact).max() < 0.3 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["squeezenet", "unet"])
def test_what_has_no_kernel_of_codes_runs_in_floats(name: str) -> None:
    program, x = made(name, joins=False)
    network = Native().compile(program)
    casts = [op for op in network.plan.program.ops if op.kind == "cast"]
    assert len(casts) > 1 and not network.plan.interpreted
    (found,), (wanted,) = network(x), interpret(program, x)
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_float_layer_may_add_codes() -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    program = fuse(resnet(depth=2, size=16))
    layers = [op.name for op in program.ops if op.kind == "conv" and "1.conv2" not in op.name]
    program = quantization(program, [(x,)], layers, joins=True)
    network = Native().compile(program)
    (found,), (wanted,) = network(x), interpret(program, x)
    kernels = {step.kernel for step in network.plan.steps}  # type: ignore[union-attr]
    assert "direct_codes" in kernels and kernels & {"direct", "winograd"}
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def agrees(seed: int) -> None:
    """A random program of all kinds of ops, quantized, is what its formats say."""
    rng = np.random.default_rng(seed)
    steps = ["conv", *(str(step) for step in rng.choice(list(ANY), 4)), "conv"]
    program = fuse(random_program(SHAPES[seed % len(SHAPES)], steps, seed))
    given = [rng.normal(size=(3, *program.values[i].shape)) for i in program.inputs]
    inputs = tuple(x.astype(np.float32) for x in given)
    program = quantization(program, [inputs], joins=bool(seed % 2))
    (found,), (wanted,) = Native().compile(program)(*inputs), interpret(program, *inputs)
    largest = max(np.abs(wanted).max(), 1e-6)
    assert np.abs(found - wanted).max() < 0.25 * largest, seed


@pytest.mark.parametrize("seed", [34, 53, 61, *range(1000, 1010)])  # the first three were wrong
def test_random_programs_mean_the_same(seed: int) -> None:
    agrees(seed)


@pytest.mark.soak
def test_many_random_programs_mean_the_same() -> None:
    for seed in range(300):
        agrees(seed)


def tokens(active: str = "gelu") -> tuple[Program, np.ndarray]:
    """A feed-forward part over rows of tokens, with its shortcut."""
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", (7, 24))
    w1, w2 = (b.store(n, rng.normal(0, 0.2, s)) for n, s in (("w1", (40, 24)), ("w2", (24, 40))))
    b1, b2 = b.store("b1", rng.normal(0, 0.1, 40)), b.store("b2", rng.normal(0, 0.1, 24))
    y = b.op("unary", b.op("linear", x, w1, b1), function=active)
    y = b.op("binary", b.op("linear", y, w2, b2), x, function="add")
    given = rng.normal(0, 1, (3, 7, 24)).astype(np.float32)
    return quantization(b.finish(y), [(given,)], joins=True), given


@pytest.mark.parametrize("isa", SETS)
def test_rows_of_codes_are_exact(isa: str) -> None:
    program, x = tokens("relu")
    network = Network(plan(program, SETS[isa]))
    kernels = [step.kernel for step in network.plan.steps]  # type: ignore[union-attr]
    assert kernels.count("linear_codes") == 2
    np.testing.assert_array_equal(network(x)[0], emulate(network.plan.program, x)[0])


def test_an_activation_of_a_layers_own_is_computed_before_it_is_rounded() -> None:
    program, x = tokens("gelu")
    network = Native().compile(program)
    assert [op.get("activation") for op in network.plan.program.ops if op.kind == "linear"][:1] == [
        "gelu"
    ]
    found, wanted = network(x)[0], interpret(program, x)[0]
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_inputs_and_outputs_may_be_rounded_themselves() -> None:
    program, x = drawn("conv", 1)
    both = {program.inputs[0]: scale(random.Random(0))}
    network = Native().compile(coded(program, both))
    np.testing.assert_array_equal(network(x)[0], emulate(network.plan.program, x)[0])
    assert not any(
        value.format == UINT8
        for name, value in network.plan.program.values.items()
        if name in (*network.plan.program.inputs, *network.plan.program.outputs)
    )


def test_sums_that_may_overflow_are_not_computed_in_codes() -> None:
    b, rng = Builder(), random.Random(0)
    x = b.op("cast", b.input("x", (8, 5, 5)))
    w = weight(b, rng, (4, 8, 3, 3))
    big = b.store("big", np.full(4, 1e6))
    sliding = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}
    y = b.op("conv", x, w, big, **sliding)
    program = coded(b.finish(y), {x: Scale(np.float32(1e-3), np.float32(3))})
    assert not in_codes(program.ops[1], program)
    network = Native().compile(program)
    assert "direct_codes" not in [step.kernel for step in network.plan.steps]  # type: ignore[union-attr]
    small = program.changed(arrays={**program.arrays, big: Stored(np.ones(4, np.float32))})
    assert in_codes(small.ops[1], small)


def test_a_filter_of_zeros_still_has_its_bias() -> None:
    b = Builder()
    x = b.op("cast", b.input("x", (4, 3, 3)))
    codes = np.zeros((2, 4, 1, 1), np.int8)
    codes[1] = 1
    w = b.store("w", codes.astype(np.float32))
    tiny = np.array([np.finfo(np.float32).tiny, 1.0], np.float32)
    b.arrays[w] = Stored(codes, INT8_WEIGHT, Scale(tiny, np.zeros(2, np.float32), 0))
    sliding = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1}
    y = b.op("conv", x, w, b.store("b", np.array([0.75, 0.0])), **sliding)
    program = coded(b.finish(y), {x: Scale(np.float32(1.0), np.float32(0))})
    assert in_codes(program.ops[1], program) and layer(program.ops[1], program).bias[0] == 2**23
    (found,) = Native().compile(program)(np.ones((1, 4, 3, 3), np.float32))
    np.testing.assert_array_equal(found[0, :, 0, 0], [0.75, 4.0])


def test_vnni_is_used_for_codes_alone() -> None:
    program, _ = drawn("conv", 0)
    assert has_codes(program) and instructions(program) == integers.instructions()
    floats = fuse(resnet(depth=1, size=8))
    assert instructions(floats).name in ISAS


def test_a_file_of_codes_is_found_compiled_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))
    program, x = made("resnet20")
    store.save(program, tmp_path / "eight.lighten")
    wanted = Native().compile(program)(x)[0]
    first = lighten.load(tmp_path / "eight.lighten")
    np.testing.assert_array_equal(first(x), wanted)
    again = lighten.load(tmp_path / "eight.lighten")
    np.testing.assert_array_equal(again(x), wanted)
    assert again._found is not None


def test_explain_tells_what_runs_in_int8() -> None:
    program, x = made("resnet20")
    told = {op.op: op for op in explain(Native().compile(program), (x,), runs=3)}
    assert told["layer1.0.conv1"].format == "int8" and told["layer1.0.conv1"].ceiling > 0
    assert told["layer1.0.conv1"].kernel == "direct_codes"


@pytest.mark.parametrize("cpu", ["znver4", "avx2", "x86-64", "neon"])
def test_an_object_file_is_made_for_other_processors(cpu: str) -> None:
    program, _ = drawn("conv", 0)
    made = object_file(program, "net", target(cpu))
    assert made.code[:4] == b"\x7fELF" and ("+vnni" in made.header) == (cpu == "znver4")
