"""Pairs of bfloat16: what they hold, the kernels that multiply them, networks that use them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import lighten
from lighten import inspection, store
from lighten.backends.native import Native
from lighten.cli import app
from lighten.emit import ISAS, POINTER, Function, bfloat16, features, host
from lighten.emit.isa import VARIABLE
from lighten.engine import choose, tuning
from lighten.engine.executable import Network
from lighten.engine.explain import error, explain
from lighten.engine.plan import plan
from lighten.engine.steps import Step
from lighten.errors import InputError
from lighten.kernels import direct_pairs, linear, rounding, share
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window
from lighten.kernels.strided import rows
from lighten.network import lower
from lighten.program.ir import Program
from lighten.subject import Subject
from tests import test_kernels as convolutions
from tests.test_kernels_rows import close, noise, run, zeros

HERE = host().name == "avx512" and bfloat16.FEATURE in features()
here = pytest.mark.skipif(not HERE, reason=f"this processor has no {bfloat16.FEATURE}")
ISA = replace(ISAS["avx512"], name="avx512+bf16", needs=(*ISAS["avx512"].needs, bfloat16.FEATURE))
PAIRS = {"direct_pairs", "round"}


# ── numbers ───────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_is_that_of_torch() -> None:
    """On random numbers, on ties both ways, on all exponents and on infinity."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    ties = bits & np.uint32(0xFFFF0000) | np.uint32(0x8000)
    x = np.concatenate([bits, ties]).view(np.float32)
    x = np.append(x[np.isfinite(x)], np.float32([np.inf, -np.inf, 0.0]))
    wanted = torch.from_numpy(x).bfloat16().float().numpy()
    np.testing.assert_array_equal(bfloat16.nearest(x), wanted)


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_words_hold_the_even_below_and_the_odd_above(count: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, count)).astype(np.float32)
    held = bfloat16.words(x).view(np.uint32)
    low, high = ((part << np.uint32(16)).view(np.float32) for part in (held, held >> 16))
    wanted = bfloat16.nearest(x)
    np.testing.assert_array_equal(low, wanted[:, ::2])
    np.testing.assert_array_equal(high[:, : count // 2], wanted[:, 1::2])
    assert count % 2 == 0 or not high[:, -1].any()


@here
def test_the_instructions_mean_what_numpy_says() -> None:
    def emit(name: str) -> Function:
        f = Function(name, {**dict.fromkeys("abwy", POINTER), **share.COUNT}, ISA)
        low, high = (f.load(f["a"], f.lane, i * f.lane.bytes) for i in range(2))
        words = bfloat16.rounded(f, low, high)
        f.store(words, f["w"])
        total = f.load(f["y"], f.lane, f.lane.bytes)
        f.store(bfloat16.dot(f, words, f.load(f["b"], f.lane), total), f["y"])
        return f

    a, b, y = noise(2 * 16), noise(2 * 16, seed=1), noise(2 * 16, seed=2)
    words, first = zeros(16), y[16:].astype(np.float64)
    run(emit, a, bfloat16.words(b), words, y)
    np.testing.assert_array_equal(words.view(np.uint32), bfloat16.words(a).view(np.uint32))
    products = bfloat16.nearest(a).astype(np.float64) * bfloat16.nearest(b)
    close(y[:16], first + products[::2] + products[1::2], 3e-7)


# ── kernels ───────────────────────────────────────────────────────────────────────────────────


@here
@pytest.mark.parametrize("channels", [1, 2, 15, 17, 32, 33, 49, 63, 96])
def test_rows_are_rounded(channels: int) -> None:
    """Also out of wider rows; nothing beyond the last is read into a pair."""
    wide = rows((5, 100)).sliced(1, 1, channels, 1)
    op = rounding.Rounding(wide)
    x = noise(2, 5, 100)
    x[:, :, channels + 1] = np.nan
    y = zeros(2, *op.target.shape)
    run(lambda name: rounding.emit(name, op, ISA), x, y)
    wanted = bfloat16.words(x[:, :, 1 : channels + 1])
    np.testing.assert_array_equal(y.view(np.uint32), wanted.view(np.uint32))


@here
@pytest.mark.parametrize("channels", [16, 20, 32, 40, 64, 70])
def test_images_are_rounded(channels: int) -> None:
    source = Blocked(channels, 3, 5, 16, Halo(1, 0, 2, 1))
    x = noise(2, channels, 3, 5)
    held, y = source.pack(x), zeros(2, *rounding.words(source).shape)
    run(lambda name: rounding.emit_blocked(name, source, ISA), held, y)
    words = rounding.words(source).unpack(y).view(np.uint32)
    wanted = bfloat16.words(np.moveaxis(x, 1, -1)).view(np.uint32)
    np.testing.assert_array_equal(words, np.moveaxis(wanted, -1, 1))
    rounding.words(source).inside(y)[...] = 0
    assert not y.any(), "the halo must stay zero"


@here
@pytest.mark.parametrize("activation", ["", "relu", "gelu"])
@pytest.mark.parametrize("sizes", [(1, 9, 5), (7, 64, 48), (37, 33, 70), (61, 128, 16), (3, 1, 1)])
def test_linear_layers_of_pairs(sizes: tuple[int, int, int], activation: str) -> None:
    """As exact as float32 sums of the rounded numbers are."""
    count, channels, filters = sizes
    x, w = noise(3, count, channels), noise(filters, channels, seed=1) / channels**0.5
    b, r, y = noise(filters), noise(3, count, filters, seed=2), zeros(3, count, filters)
    view, made = rows((count, filters)), rounding.Rounding(rows((count, channels)))
    op = linear.Linear(made.target, view, activation, view, paired=True)
    block = linear.schedule(op, ISA)
    packed = linear.pack(bfloat16.words(w), block, ISA)
    bias = np.pad(b, (0, -len(b) % (ISA.lanes * block.blocks)))
    given = (bfloat16.words(x), packed, bias, r, y)
    run(lambda name: linear.emit(name, op, block, ISA), *given, samples=3)
    wanted = bfloat16.nearest(x).astype(np.float64) @ bfloat16.nearest(w).T.astype(np.float64)
    wanted = wanted + b + r
    function = {"": lambda v: v, "relu": torch.relu, "gelu": nn.functional.gelu}[activation]
    close(y, function(torch.from_numpy(wanted)).numpy(), 1e-5)


@here
@pytest.mark.parametrize("seed", range(24))
def test_direct_convolutions_of_pairs(seed: int) -> None:
    """Every schedule of convolutions drawn at random, by several threads; what lies in the lanes
    beyond the channels is nobody's.
    """
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    conv = convolutions.drawn(rng, ISA)
    source = replace(conv.source, channels=2 * conv.source.channels)
    conv = replace(conv, source=source, groups=1)
    if seed % 3 == 0:  # one long row
        bare = conv.target.with_halo(Halo()), replace(source, halo=Halo())
        sizes = {"height": source.height, "width": source.width}
        target = replace(bare[0], **sizes)
        added = target if conv.residual else None
        conv = replace(conv, window=Window((1, 1)), source=bare[1], target=target, residual=added)
    shape = (conv.target.channels, source.channels, *conv.window.kernel)
    count = rng.choice((1, 2, 3, 17))
    given = {
        "x": numbers.standard_normal((count, source.channels, source.height, source.width)),
        "w": numbers.standard_normal(shape) / np.sqrt(np.prod(shape[1:])),
        "b": numbers.standard_normal(shape[0]),
        "r": numbers.standard_normal((count, *_size(conv.target))),
    }
    given = {key: value.astype(np.float32) for key, value in given.items()}
    kept = {key: bfloat16.nearest(given[key]) for key in "xw"}
    wanted = convolutions.exact(conv, {**given, **kept})
    found = [c for c in choose.candidates(conv, ISA) if c.kernel is direct_pairs]
    assert found
    for choice in found:
        framed = replace(conv, source=conv.source.with_halo(choice.halo))
        y = convolutions.run(framed, choice, ISA, given)
        far = np.abs(conv.target.unpack(y) - wanted).max() / max(np.abs(wanted).max(), 0.1)
        assert far < convolutions.rounding(conv), (seed, choice)
        conv.target.inside(y)[...] = 0
        assert not y.any(), "the halo must stay zero"


def _size(layout: Blocked) -> tuple[int, int, int]:
    return layout.channels, layout.height, layout.width


def test_an_odd_channel_has_no_pair() -> None:
    """What lies beside it in its block may be anything, and would be multiplied."""
    conv = Conv(Blocked(33, 5, 5, 16), Blocked(32, 5, 5, 16), Window((1, 1)))
    assert not direct_pairs.accepts(conv, ISA)
    even = replace(conv, source=Blocked(34, 5, 5, 16))
    assert direct_pairs.accepts(even, ISA) and not direct_pairs.accepts(even, ISAS["avx512"])


# ── networks ──────────────────────────────────────────────────────────────────────────────────


def cnn() -> tuple[Program, np.ndarray]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 5, stride=2, padding=2), nn.ReLU()]
    net = nn.Sequential(nn.Conv2d(3, 32, 3), *layers, nn.Flatten(), nn.Linear(64 * 25, 10))
    x = torch.randn(5, 3, 12, 12)
    return lower(net.eval(), x[:2]), x.numpy()


def transformer() -> tuple[Program, np.ndarray]:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(5, 24, 64)
    return lower(net, x[:2]), x.numpy()


def kernels(network: Network) -> set[str]:
    return {step.kernel for step in network.plan.steps if isinstance(step, Step)}


@here
@pytest.mark.parametrize("made", [cnn, transformer])
def test_networks_are_within_the_tolerance(made: Any) -> None:
    """And further from float64 than float32 is, on one thread and on two, for any batch."""
    program, x = made()
    network = Native(bf16=True).compile(program)
    assert kernels(network) & PAIRS
    assert 1e-4 < error(network, program, [x]) < tuning.PAIRED
    alone = np.concatenate([network(x[i : i + 1])[0] for i in range(len(x))])
    (together,) = network(x)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-2 * np.abs(alone).max())
    (shared,) = Native(bf16=True).compile(program, 2)(x)
    np.testing.assert_array_equal(shared, together)


@pytest.mark.parametrize("made", [cnn, transformer])
def test_it_is_off_where_nobody_asked(made: Any) -> None:
    network = Network(plan(made()[0], host()))
    assert not kernels(network) & PAIRS
    functions, _ = network.functions()
    assert not any("bf" in line for f in functions for line in f.declarations)
    assert all(array.dtype == np.float32 for array in network.plan.packed.values())
    assert bfloat16.instructions(False) is host()


@here
def test_one_value_is_rounded_once() -> None:
    """Query, key and value read the same pairs."""
    steps = Native(bf16=True).compile(transformer()[0]).plan.steps
    rounded = [
        step.arguments for step in steps if isinstance(step, Step) and step.kernel == "round"
    ]
    assert len(rounded) == len(set(rounded)) == 8  # two layers of: q k v, output, two feed-forward


@here
def test_explain_counts_the_rounding_to_who_reads_it() -> None:
    program, x = transformer()
    told = explain(Native(bf16=True).compile(program), [x], runs=3)
    linears = {op.name for op in program.ops if op.kind == "linear"}
    assert {one.op for one in told if one.kernel == "linear"} == linears


# ── choosing ──────────────────────────────────────────────────────────────────────────────────


@here
def test_what_was_measured_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs where they are the fastest within the tolerance; float32's own records stay its own."""
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    isa, conv = bfloat16.paired(host()), CONV
    options = choose.candidates(conv, isa)
    pair = next(c for c in options if c.kernel is direct_pairs)
    measured = tuning.measure(pair, isa)
    assert 1e-4 < measured.error < tuning.PAIRED
    others = [tuning.Found(c.name, 1.0, 1e-7) for c in options if c is not pair]
    for milliseconds, wanted in ((0.5, True), (2.0, False)):
        tuning.keep(conv, isa, [replace(measured, milliseconds=milliseconds), *others])
        chosen = tuning.pick(conv, isa, options, tuning.tolerance(isa))
        assert (chosen.kernel is direct_pairs) == wanted
    tuning.keep(conv, isa, [replace(measured, milliseconds=0.5, error=0.1), *others])
    assert tuning.pick(conv, isa, options, tuning.tolerance(isa)).kernel is not direct_pairs
    assert tuning.recall(conv, host()) is None


CONV = Conv(Blocked(32, 6, 6, 16), Blocked(32, 6, 6, 16), Window((1, 1)))


def test_small_layers_are_not_worth_rounding() -> None:
    def asked(count: int, channels: int, filters: int) -> bool:
        op = linear.Linear(rows((count, channels)), rows((count, filters)))
        return linear.better_paired(op, ISAS["avx512"])

    assert asked(128, 384, 1536) and asked(1, 384, 1536)
    assert not asked(4, 8, 8) and not asked(1, 64, 64)


# ── asking for it ─────────────────────────────────────────────────────────────────────────────


def saved(folder: Path) -> Path:
    store.save(transformer()[0], folder / "model.lighten")
    return folder / "model.lighten"


def test_a_machine_without_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path)
    monkeypatch.setattr(bfloat16, "features", lambda: frozenset({"avx2"}))
    with pytest.raises(InputError, match=r"bf16 needs a processor with avx512bf16"):
        lighten.load(file, bf16=True)
    assert lighten.load(file).network.plan.isa == host()


@pytest.mark.skipif("avx2" not in features(), reason="this processor has no avx2")
def test_narrower_instructions_refuse_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path)
    monkeypatch.setenv(VARIABLE, "avx2")
    said = CliRunner().invoke(app, ["explain", str(file), "--bf16"])
    problem = said.output + str(said.exception or "")
    assert said.exit_code and "avx512bf16" in problem and "avx2" in problem


@here
def test_a_file_is_loaded_and_timed_in_it(tmp_path: Path) -> None:
    file, (_, x) = saved(tmp_path), transformer()
    plain, paired = lighten.load(file)(x), lighten.load(file, bf16=True)(x)
    assert 1e-4 < np.abs(plain - paired).max() / np.abs(plain).max() < tuning.PAIRED
    said = CliRunner().invoke(app, ["explain", str(file), "--bf16"])
    assert said.exit_code == 0 and "avx512+bf16" in said.output


@here
def test_it_stands_beside_float32_when_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.05)
    program, x = transformer()
    subject = Subject("tokens", None, (x.shape[1:],), stored=program)
    found = inspection.bench([subject], "native", bf16=True)
    assert [row["backend"] for row in found] == ["native", "native, bf16"]
    assert all(row["latency_ms"] > 0 for row in found)


def test_other_backends_do_not_take_it() -> None:
    program, x = transformer()
    subject = Subject("tokens", None, (x.shape[1:],), stored=program)
    with pytest.raises(InputError, match=r"--bf16 is an option of the backend native"):
        inspection.bench([subject], "onnxruntime", bf16=True)
