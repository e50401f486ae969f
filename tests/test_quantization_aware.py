"""Row B10: what learns rounded is what runs; learned steps (LSQ); few bits, the same door."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten import techniques
from lighten.backends import eager
from lighten.core.recipe import Edit, Training
from lighten.errors import NetworkError
from lighten.formats.integer import INT8_WEIGHT, UINT8, Integer, Scale
from lighten.network import lift, lower
from lighten.network.compressed import (
    Compressed,
    Rounded,
    compressed,
    first_steps,
    roundings,
    weight_format,
)
from lighten.network.fake_quantize import fake_quantize
from lighten.network.rounding import quantization_aware
from lighten.program.interpret import interpret
from lighten.program.ir import Program
from lighten.program.quantize import observe, quantize
from lighten.program.spec import check
from lighten.train import Session, fit, logits, quality, steps_of
from lighten.train.freeze import FreezeNorms
from tests.small import digits, trained

X = torch.zeros(2, 1, 8, 8)


@cache
def quantized() -> Program:
    program = lower(trained(), X)
    seen = observe(program, digits().calibration(256), eager.activations)
    return quantize(program, seen, joins=True)


def moved(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every parameter and statistic changed, some scales negative."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.named_parameters():
            shaken = 1 + 0.2 * torch.randn(value.shape, generator=generator)
            value.mul_(shaken) if "step" not in name else value.add_(0.1 * shaken)
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight[::3] *= -1
                part.running_mean.add_(torch.randn(part.num_features, generator=generator) * 0.1)
    return net


def answers(net: nn.Module, program: Program, x: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    got = net.double().eval()(torch.from_numpy(x)).detach().numpy()
    net.float()
    return got, interpret(check(program), x)[0]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_program_answers_as_the_network_that_learned(bits: int) -> None:
    """In float64, where no code lies on the edge between two: equal to the rounding of scales."""
    widths = dict.fromkeys(("3.conv1", "3.conv2"), bits)
    net = moved(quantization_aware(trained(), quantized(), X, widths))
    program = lower(net, X)
    got, wanted = answers(net, program, digits().example(64)[0].astype(np.float64))
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    stored = program.arrays[program.op("3.conv1").inputs[1]]
    assert stored.format == weight_format(bits) and stored.codes.dtype == np.int8


def test_it_is_rounded_where_its_program_is_and_nowhere_else() -> None:
    """The convolution that only feeds the sum is not; the pooled value has its input's scale."""
    program = lower(quantization_aware(trained(), quantized(), X), X)
    for ours, theirs in zip(program.ops, quantized().ops, strict=True):
        assert (ours.kind, ours.name if ours.kind != "cast" else "") == (
            theirs.kind,
            theirs.name if theirs.kind != "cast" else "",
        )
        a, b = program.values[ours.output], quantized().values[theirs.output]
        assert a.format == b.format and a.shape == b.shape
        if a.params is not None and b.params is not None:
            assert np.isclose(a.params.scale, b.params.scale)
    (total,) = (op for op in program.ops if op.kind == "binary")
    unrounded = [name for name in total.inputs if program.values[name].params is None]
    assert unrounded == [program.op("3.conv2").output]


def test_a_shared_step_stays_shared() -> None:
    net = quantization_aware(trained(), quantized(), X)
    steps = {id(v.params) for v in quantized().values.values() if v.params is not None}
    assert len(roundings(net)) == len(steps)


@pytest.mark.parametrize("signed", [False, True])
def test_the_gradient_of_a_step_is_that_of_lsq(signed: bool) -> None:
    """Esser et al., equation 3: rounding error inside, the code outside; times the gain."""
    form = Integer(4, signed, signed)
    x = torch.linspace(-8, 20, 97)
    step = torch.tensor(0.9, requires_grad=True)
    zero = torch.tensor(0.0)
    upstream = torch.randn(97, generator=torch.Generator().manual_seed(0))
    (fake_quantize(x.requires_grad_(), form, Scale(step, zero), 0.25) * upstream).sum().backward()
    code = (x / step).detach()
    inside = (code > form.low - 0.5) & (code < form.high + 0.5)
    slope = torch.where(inside, code.round() - code, code.clamp(form.low, form.high))
    assert step.grad is not None and x.grad is not None
    torch.testing.assert_close(step.grad, 0.25 * (upstream * slope).sum(), rtol=1e-4, atol=1e-4)
    assert torch.equal(x.grad, upstream * inside)


def test_the_gradient_of_steps_per_channel_is_that_of_each_alone() -> None:
    w = torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0.01, 0.02, 0.5])
    whole = steps.clone().requires_grad_()
    fake_quantize(w, INT8_WEIGHT, Scale(whole, torch.zeros(3), 0)).square().sum().backward()
    for channel in range(3):
        one = steps[channel].clone().requires_grad_()
        alone = fake_quantize(w[channel], INT8_WEIGHT, Scale(one, torch.tensor(0.0)))
        alone.square().sum().backward()
        assert whole.grad is not None and one.grad is not None
        torch.testing.assert_close(whole.grad[channel], one.grad, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_rounded_by_codes_of_float32() -> None:
    """Codes above 128 need more than bfloat16 has: they are found before the result is narrowed."""
    x = torch.linspace(0, 5, 999).bfloat16()
    params = Scale(torch.tensor(0.021), torch.tensor(0.0))
    exact = fake_quantize(x.float(), UINT8, params)
    got = fake_quantize(x, UINT8, params)
    assert got.dtype == torch.bfloat16 and torch.equal(got, exact.bfloat16())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_first_steps_are_no_worse_than_the_largest(bits: int) -> None:
    w = torch.randn(6, 40, generator=torch.Generator().manual_seed(1))
    form = weight_format(bits)

    def error(step: Tensor) -> Tensor:
        params = Scale(step, torch.zeros(6), 0)
        return (form.decode(form.encode(w, params), params) - w).square().sum(1)

    best, largest = error(first_steps(w, form)), error(w.abs().amax(1) / form.high)
    assert (best <= largest).all() and (bits == 8 or (best < 0.8 * largest).any())


def test_frozen_norms_keep_their_statistics() -> None:
    net = quantization_aware(trained(), quantized(), X)
    hook = FreezeNorms(net, 10, 0.5)
    means: list[Tensor] = []
    for step in range(10):
        net.train()
        hook.before_step(step)
        net(torch.randn(8, 1, 8, 8))
        means.append(hook.norms[0].running_mean.clone())  # type: ignore[union-attr]
    assert not torch.equal(means[3], means[4])
    assert all(torch.equal(mean, means[4]) for mean in means[5:])


def test_learning_rounded_thin_and_taught_at_once() -> None:
    """Sparsity, integers and a teacher in one run; the program has all of it."""
    training = Training(epochs=4, batch=32, lr=0.05)
    steps = steps_of(training, digits().train_size)
    edits = [
        Edit.of("weights", name, pattern="block", block=(1, 4), density=0.25, every=4)
        for name in ("3.conv1", "3.conv2")
    ]
    net, hooks = techniques.learning(trained(), X, edits, steps, quantized())
    history = fit(net, digits(), training, trained(), Session(hooks))
    assert [text for text, _ in history.signals] == ["soft_targets", "task"]
    program = lower(net, X)
    got, wanted = answers(net, program, digits().example(64)[0].astype(np.float64))
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    for name in ("3.conv1", "3.conv2"):
        stored = program.arrays[program.op(name).inputs[1]]
        assert stored.format == INT8_WEIGHT and stored.sparsity.density == 0.25
        assert np.count_nonzero(stored.codes) <= 0.25 * stored.codes.size
    task = digits()
    assert (
        quality(net, task.valid(), task.metric) > quality(trained(), task.valid(), task.metric) - 3
    )


@pytest.mark.parametrize("bits", [4, 2])
def test_few_bits_learned_beat_few_bits_rounded(bits: int) -> None:
    """Row B10: learned, the answers are nearer to the whole network's on samples not learned on."""
    task = digits()
    held = [*task.valid(), *task.test()]
    widths = dict.fromkeys(("0", "3.conv1", "3.conv2", "6"), bits)
    training = Training(epochs=3, batch=32, lr=0.02, signals=(("logits", 1.0),))
    steps = steps_of(training, task.train_size)
    net, hooks = techniques.learning(trained(), X, [], steps, quantized(), widths)
    whole, rounded = logits(trained(), held), logits(net, held)
    fit(net, task, training, trained(), Session(hooks))
    error, before = (np.square(found - whole).mean() for found in (logits(net, held), rounded))
    assert error < 0.7 * before


def test_what_cannot_be_rounded_is_said() -> None:
    with pytest.raises(NetworkError, match="2 to 8 bits"):
        weight_format(1)
    with pytest.raises(NetworkError, match="convolutions and linear"):
        Compressed(nn.BatchNorm2d(4))


def test_a_rounded_value_is_one_cast_in_any_network() -> None:
    """Not only in lifted ones: exported, it is the op, and lowers to the same."""
    net = nn.Sequential(nn.Linear(4, 3), Rounded(UINT8, UINT8.span(-1.0, 2.0)))
    program = lower(net, torch.zeros(2, 4))
    assert [op.kind for op in program.ops] == ["linear"]
    assert program.values[program.outputs[0]].format == UINT8
    assert not compressed(lift(net, torch.zeros(2, 4)))
