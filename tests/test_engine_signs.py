"""Networks of signs in the engine: the interpreter's numbers, exactly, and packed in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lighten
from lighten import backends
from lighten.emit import ISAS, bits, integers
from lighten.engine.executable import Network
from lighten.engine.explain import explain
from lighten.engine.plan import plan
from lighten.engine.steps import Step
from lighten.formats.integer import Scale
from lighten.formats.signs import SIGN, TERNARY, Binary
from lighten.kernels.layout import Halo
from lighten.program import Builder, Program, interpret
from lighten.program.fuse import fuse
from lighten.program.ir import Stored
from lighten.program.spec import check
from lighten.store import load, save
from tests.test_emit import HERE

SETS = [bits.with_counts(integers.with_dot(ISAS[name])) for name in HERE]
ONE = Scale(np.float32(1), np.float32(0))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))


def coarse(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers in steps of an eighth: sums of them are exact in float32."""
    return (rng.integers(-8, 9, shape) / 8).astype(np.float32)


class Net:
    """A program being built, whose weights are signs."""

    def __init__(self, seed: int = 0) -> None:
        self.rng, self.b = np.random.default_rng(seed), Builder()

    def weight(self, *shape: int, kind: str = "binary") -> str:
        rng, count = self.rng, shape[0]
        planes = {"binary": 1, "multi": 3}.get(kind, 0)
        if planes:
            codes = rng.integers(0, 1 << planes, shape).astype(np.uint8)
            scale = (2.0 ** -np.arange(planes) * rng.integers(1, 4, (count, 1))).astype(np.float32)
            stored = Stored(codes, Binary(planes), Scale(scale, np.zeros(count, np.float32), 0))
        else:
            codes = rng.integers(-1, 2, shape).astype(np.int8)
            scale = rng.integers(1, 4, count).astype(np.float32)
            stored = Stored(codes, TERNARY, Scale(scale, np.zeros(count, np.float32), 0))
        name = self.b.store("w", np.zeros(shape))
        self.b.arrays[name] = stored
        return name

    def conv(self, x: str, filters: int, taps: int = 3, kind: str = "binary", **more: Any) -> str:
        w = self.weight(filters, self.b.values[x].shape[0], taps, taps, kind=kind)
        said = {"strides": (1, 1), "pads": (taps // 2,) * 4, "dilations": (1, 1), "groups": 1}
        bias = self.b.store("b", coarse(self.rng, filters))
        return self.b.op("conv", x, w, bias, **{**said, **more})

    def norm(self, x: str) -> str:
        channels = self.b.values[x].shape[0]
        scale = coarse(self.rng, channels)
        scale[scale == 0] = -0.25
        names = [self.b.store("s", scale), self.b.store("t", coarse(self.rng, channels) / 8)]
        return self.b.op("affine", x, *names, axis=0)

    def signs(self, x: str, size: float = 1.0) -> str:
        """The value rounded to ± size."""
        params = replace(ONE, scale=np.float32(size))
        self.b.values[x] = replace(self.b.values[x], format=SIGN, params=params)
        return x

    def sign_of(self, x: str) -> str:
        return self.signs(self.b.op("cast", x))


def chain(kinds: tuple[str, ...], channels: int) -> Program:
    """Sign, convolution, normalisation, … with a step, and a linear layer behind."""
    net = Net()
    x = net.b.input("x", (channels, 9, 7))
    for at, kind in enumerate(kinds):
        x = net.signs(net.norm(x), 0.5)
        x = net.conv(x, channels + at, kind=kind, strides=(1 + at, 1), pads=(1, 0, 1, 2))
    x = net.sign_of(x)
    shape = net.b.values[x].shape
    x = net.b.op("reshape", x, shape=(int(np.prod(shape)),))
    return net.b.finish(net.b.op("linear", x, net.weight(10, int(np.prod(shape)))))


def real_shortcuts(channels: int) -> Program:
    """Two blocks of Bi-Real Net: x + norm(conv(sign x)); the signs of a block are an output."""
    net = Net()
    x = net.b.input("x", (channels, 6, 6))
    for _ in range(2):
        s = net.sign_of(x)
        x = net.b.op("binary", net.norm(net.conv(s, channels)), x, function="add")
    return net.b.finish(x, s)


def read_twice() -> Program:
    """Binary that a pool, an addition and a convolution read, and one of an input."""
    net = Net()
    x = net.signs(net.b.input("x", (24, 8, 8)), 2.0)
    pooled = net.b.op(
        "pool",
        x,
        function="max",
        kernel=(2, 2),
        strides=(2, 2),
        pads=(0, 0, 0, 0),
        dilations=(1, 1),
        ceil=False,
        include_pad=False,
    )
    y = net.conv(x, 24, strides=(2, 2))
    z = net.signs(net.b.op("binary", y, pooled, function="add"))
    return net.b.finish(net.conv(z, 40, 1, kind="ternary"), z)


def activated(channels: int) -> Program:
    """A convolution whose results are activated, then their signs: relu leaves none below zero."""
    net = Net()
    x = net.sign_of(net.b.input("x", (channels, 5, 5)))
    y = net.b.op("unary", net.conv(x, channels), function="relu6")
    y = net.b.op("binary", y, net.b.op("unary", x, function="neg"), function="add")
    x = net.signs(net.b.op("unary", net.conv(net.signs(y), channels), function="relu"))
    return net.b.finish(net.conv(x, 8))


PROGRAMS = {
    "activated": activated(40),
    "chain": chain(("binary", "ternary", "multi"), 40),
    "narrow": chain(("binary", "binary"), 5),
    "wide": chain(("binary",), 300),
    "shortcuts": real_shortcuts(64),
    "ragged shortcuts": real_shortcuts(20),
    "read twice": read_twice(),
}


def inputs(program: Program, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [coarse(rng, count, *program.values[name].shape) for name in program.inputs]


@pytest.mark.parametrize("isa", SETS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_network_of_signs_is_exact(name: str, isa: Any) -> None:
    program = check(PROGRAMS[name])
    x = inputs(program)
    made = plan(program, isa)
    for got, wanted in zip(Network(made)(*x), interpret(program, *x), strict=True):
        np.testing.assert_array_equal(got, wanted)
    layers = [op.name for op in program.ops if op.kind in ("conv", "linear")]
    counted = [step.op for step in made.steps if getattr(step, "kernel", "") == "binary"]
    assert counted == layers and not made.interpreted


def test_signs_are_packed_by_the_kernel_that_makes_them() -> None:
    made = plan(PROGRAMS["chain"], SETS[0])
    kernels = [step.kernel for step in made.steps if isinstance(step, Step)]
    # signs of the input and of what is reshaped; the others never were floats
    assert kernels.count("signs") == 2 and kernels.count("binary") == 4
    held = {name: v for name, v in made.program.values.items() if v.format == SIGN}
    assert len(held) == 4
    for name, value in held.items():
        layout = made.layouts[name]
        assert layout.with_halo(Halo()).sample == 4 * -(-value.shape[0] // 32) * np.prod(
            value.shape[1:], dtype=int
        )


def test_real_shortcuts_are_added_where_signs_are_counted() -> None:
    """Row B17: no op is left between a block's convolution and the next block's signs."""
    made = plan(PROGRAMS["shortcuts"], SETS[0])
    kernels = [step.kernel for step in made.steps if isinstance(step, Step)]
    adding = [op for op in made.program.ops if op.kind == "conv" and op.get("residual")]
    assert len(adding) == 2 and kernels.count("binary") == 2
    assert not {"affine", "pointwise"} & set(kernels)


def test_what_is_explained_is_what_was_counted() -> None:
    network = Network(plan(PROGRAMS["wide"], SETS[0]))
    told = {one.op: one for one in explain(network, inputs(PROGRAMS["wide"], 1), runs=2)}
    assert told["conv"].kernel == "binary" and told["conv"].format == "signs"
    assert 0 < told["conv"].ceiling < 1.5


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_batches_agree(threads: int) -> None:
    program = PROGRAMS["shortcuts"]
    network = Network(plan(program, SETS[0]), threads)
    x = inputs(program, 17)
    for got, wanted in zip(network(*x), interpret(program, *x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_what_reads_signs_as_numbers_multiplies_them() -> None:
    """In groups, or by weights of floats: no layer counts, and the numbers are right."""
    net = Net()
    x = net.sign_of(net.b.input("x", (8, 6, 6)))
    w = net.b.store("w", coarse(net.rng, 8, 4, 3, 3))
    said = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 2}
    y = net.b.op("conv", x, w, **said)
    program = net.b.finish(y)
    made, given = plan(program, SETS[0]), inputs(program)
    assert "binary" not in [step.kernel for step in made.steps if isinstance(step, Step)]
    np.testing.assert_array_equal(Network(made)(*given)[0], interpret(program, *given)[0])


def test_other_backends_give_the_same_signs() -> None:
    program = PROGRAMS["chain"]
    x = inputs(program)
    wanted = interpret(program, *x)[0]
    for name in ("eager", "onnxruntime"):
        if name in backends.available():
            got = backends.get(name).compile(fuse(program))(*x)[0]
            np.testing.assert_array_equal(got, wanted, err_msg=name)


def test_folding_keeps_signs() -> None:
    program = PROGRAMS["chain"]
    folded = fuse(program)
    affine = [op for op in folded.ops if op.kind == "affine"]
    formats = {folded.arrays[op.inputs[1]].format for op in folded.ops if op.kind == "conv"}
    assert len(affine) == 1 and formats == {SIGN, TERNARY, Binary(3)}
    x = inputs(program)
    for got, wanted in zip(interpret(folded, *x), interpret(program, *x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_file_holds_one_bit_for_each_sign(tmp_path: Path) -> None:
    program = PROGRAMS["wide"]
    path = tmp_path / "model.lighten"
    save(program, path)
    back = load(path)
    x = inputs(program, 1)
    wanted = interpret(program, *x)[0]
    np.testing.assert_array_equal(interpret(back, *x)[0], wanted)
    for _ in range(2):  # compiled, then found as it was kept
        np.testing.assert_array_equal(lighten.load(path)(*x), wanted)
    for name, stored in program.arrays.items():
        np.testing.assert_array_equal(back.arrays[name].codes, stored.codes)
        assert back.arrays[name].format == stored.format
    signs = sum(s.codes.size for s in program.arrays.values() if s.format == SIGN)
    others = sum(4 * s.codes.size for s in program.arrays.values() if s.format != SIGN)
    scales = sum(8 * len(s.codes) for s in program.arrays.values() if s.format == SIGN)
    assert path.stat().st_size < signs // 8 + others + scales + 8192 < 4 * signs / 20
