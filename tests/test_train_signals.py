"""Distillation signals against their papers (rows F1, F2, F4; the cheap part of F28)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lighten.errors import RecipeError
from lighten.train.losses import cross_entropy
from lighten.train.roles import consensus
from lighten.train.signals import (
    TABLE,
    View,
    attention_distance,
    feature_distance,
    in_use,
    matched,
    named,
    soft_answers,
    soft_targets,
    uniform,
)
from lighten.train.taps import Speaker


def logits(seed: int, rows: int = 6, classes: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def gradient(of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.clone().requires_grad_()
    (found,) = torch.autograd.grad(of(point), point)
    return found


def test_soft_targets_is_the_definition() -> None:
    s, t, temperature = logits(0), logits(1), 3.0
    total = 0.0
    for said, told in zip(s, t, strict=True):
        p, q = (told / temperature).softmax(0), (said / temperature).softmax(0)
        total += float(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))
    wanted = temperature**2 * total / len(s)
    assert soft_targets(s, t, temperature).item() == pytest.approx(wanted, rel=1e-12)
    assert soft_targets(t, t, temperature).item() == pytest.approx(0.0, abs=1e-15)


def test_a_cold_teacher_gives_hard_targets_and_t_1_does_not() -> None:
    t = logits(1)
    hard = F.one_hot(t.argmax(1), 10).double()

    def told(temperature: float) -> Tensor:  # the gradient at s = 0 is T(q − p), q uniform
        at_zero = gradient(lambda s: soft_targets(s, t, temperature), torch.zeros_like(t))
        return 0.1 - at_zero * len(t) / temperature

    assert torch.allclose(told(1e-3), hard, atol=1e-9)
    assert torch.allclose(told(1.0), t.softmax(1))
    assert (told(1.0) - hard).abs().max() > 0.05
    assert torch.allclose(told(1e6), torch.full_like(t, 0.1), atol=1e-5)


def test_hot_soft_targets_match_logits() -> None:
    s, t = (z - z.mean(1, keepdim=True) for z in (logits(0), logits(1)))
    hot = gradient(lambda z: soft_targets(z, t, 1000.0), s)
    wanted = gradient(lambda z: matched(z, t), s)
    assert (hot - wanted).norm() / wanted.norm() < 0.01
    warm = gradient(lambda z: soft_targets(z, t, 2.0), s)
    assert (warm - wanted).norm() / wanted.norm() > 0.05


def test_t_squared_keeps_the_gradient_size() -> None:
    s, t = logits(0), logits(1)
    sizes = [gradient(lambda z, T=T: soft_targets(z, t, T), s).norm() for T in (20.0, 200.0)]
    assert sizes[0] / sizes[1] == pytest.approx(1.0, abs=0.1)


def test_label_smoothing_is_distillation_from_a_uniform_teacher() -> None:
    z, y, epsilon = logits(0), torch.tensor([0, 1, 2, 3, 4, 9]), 0.1
    smoothed = cross_entropy(z, y, epsilon)
    constant = epsilon * torch.log(torch.tensor(10.0, dtype=torch.float64))
    taught = (1 - epsilon) * cross_entropy(z, y) + epsilon * uniform(z)
    assert torch.allclose(smoothed, taught + constant, rtol=1e-12, atol=0)
    same = soft_targets(z, torch.zeros_like(z), 1.0)
    assert torch.allclose(uniform(z), same, rtol=1e-12, atol=0)
    by_labels = gradient(lambda s: cross_entropy(s, y, epsilon), z)
    by_teacher = gradient(lambda s: (1 - epsilon) * cross_entropy(s, y) + epsilon * uniform(s), z)
    assert torch.allclose(by_labels, by_teacher, rtol=1e-12, atol=1e-15)


def test_yes_no_targets_are_two_class_targets() -> None:
    s, t = logits(0), logits(1)
    zeros = torch.zeros(s.numel(), 1, dtype=s.dtype)
    two = [torch.cat([zeros, z.reshape(-1, 1)], 1) for z in (s, t)]
    assert torch.allclose(soft_answers(s, t, 3.0), soft_targets(two[0], two[1], 3.0))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_an_ensemble_speaks_the_mean_of_probabilities(temperature: float) -> None:
    zs = [logits(seed) for seed in range(3)]
    voice = consensus([View(z) for z in zs], "cross_entropy", temperature).answer
    wanted = torch.stack([(z / temperature).softmax(1) for z in zs]).mean(0)
    assert torch.allclose((voice / temperature).softmax(1), wanted, rtol=1e-6)
    voice = consensus([View(z) for z in zs], "binary_cross_entropy", temperature).answer
    wanted = torch.stack([(z / temperature).sigmoid() for z in zs]).mean(0)
    assert torch.allclose((voice / temperature).sigmoid(), wanted, rtol=1e-6)
    voice = consensus([View(z) for z in zs], "mse", temperature).answer
    assert torch.allclose(voice, torch.stack(zs).mean(0))


@pytest.mark.parametrize("distance", [feature_distance, attention_distance])
def test_feature_distances_are_zero_at_equality_only(
    distance: Callable[[Tensor, Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 4, 6, 6), torch.randn(3, 4, 6, 6)
    assert distance(a, a).item() == pytest.approx(0.0, abs=1e-12)
    assert distance(a, 2.5 * a).item() == pytest.approx(0.0, abs=1e-6)
    assert 0.01 < distance(a, b).item() < 4.0
    pooled = F.avg_pool2d(a, 2)
    assert distance(a, pooled) < distance(b, pooled)


def test_attention_knows_no_width() -> None:
    a = torch.randn(3, 4, 6, 6)
    assert attention_distance(a, torch.cat([a, a], 1)).item() == pytest.approx(0.0, abs=1e-6)


def test_names_are_read() -> None:
    signal = named("features:stage2=layer3.1", 0.5)
    assert (signal.student_path, signal.teacher_path) == ("stage2", "layer3.1")
    assert named("attention:layer2", 1.0).teacher_path == "layer2"
    with pytest.raises(RecipeError, match=", ".join(TABLE)):
        named("hint", 1.0)
    with pytest.raises(RecipeError, match=r"student\.path=teacher\.path"):
        named("features", 1.0)
    with pytest.raises(RecipeError, match="written task"):
        named("task:layer1", 1.0)


def test_without_a_teacher_the_task_is_all() -> None:
    default = (("soft_targets", 0.9), ("task", 0.1))
    assert [(s.text, s.weight) for s in in_use(default, False)] == [("task", 1.0)]
    assert [(s.text, s.weight) for s in in_use(default, True)] == list(default)
    smooth = (("task", 0.9), ("uniform", 0.1))
    assert [(s.text, s.weight) for s in in_use(smooth, False)] == list(smooth)
    with pytest.raises(RecipeError, match="at least one signal"):
        in_use((("task", 0.0),), True)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.head = nn.Linear(3, 2)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layer1(x).mean((2, 3)))
        return out


def test_features_are_read_and_hooks_taken_away() -> None:
    net = Blocks().eval()
    x = torch.randn(2, 1, 8, 8)
    speaker = Speaker(net, ["layer1"])
    view = speaker([x])
    assert torch.equal(view.features["layer1"], net.layer1(x))
    assert torch.equal(view.answer, net(x))
    speaker.close()
    assert not net.layer1._forward_hooks
    with pytest.raises(RecipeError, match="no module 'layer9'"):
        Speaker(net, ["layer9"])


def test_features_of_a_block_of_a_lifted_network() -> None:
    lift = pytest.importorskip("lighten.network.lift").lift
    net = Blocks()
    x = torch.randn(4, 1, 8, 8)
    lifted = lift(net, x)
    speaker = Speaker(lifted, ["layer1", "head"])
    for mode in (False, True):  # so that running statistics, updated unequally, play no part
        net.train(mode)
        lifted.train(mode)
        view = speaker([x])
        assert torch.allclose(view.answer, net(x), atol=1e-6)
        assert torch.allclose(view.features["layer1"], net.layer1(x), atol=1e-6)
        assert torch.equal(view.features["head"], view.answer)
    view.answer.sum().backward()  # type: ignore[no-untyped-call]
    assert lifted.get_parameter("head.weight").grad is not None
    with pytest.raises(RecipeError, match="computes nothing at 'unused'"):
        Speaker(lifted, ["unused"])
