"""Rows C1, C6, C11: zeros come, may go again, and stay exactly zero at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten import api, techniques, zoo
from lighten.core.recipe import Edit, Recipe, Training
from lighten.errors import NetworkError, RecipeError
from lighten.formats.projections import Pattern
from lighten.network import lower, trace
from lighten.network.compressed import Compressed, compressed
from lighten.program.sparsity import sparsity, zeros
from lighten.techniques.weights import thinning
from lighten.train import Session, fit, quality, steps_of
from lighten.train.sparsify import Sparsify, Thinning
from tests.small import digits, trained

X = torch.zeros(2, 1, 8, 8)
CONVS = ("0", "3.conv1", "3.conv2")


def edits(**settings: Any) -> list[Edit]:
    given = {"pattern": "block", "block": (1, 4), "density": 0.25, "every": 4, **settings}
    return [Edit.of("weights", name, **given) for name in CONVS]


def learned(training: Training, *, session: Session | None = None, **settings: Any) -> nn.Module:
    steps = steps_of(training, digits().train_size)
    net, hooks = techniques.learning(trained(), X, edits(**settings), steps)
    found = session or Session()
    fit(net, digits(), training, trained(), Session((*hooks, *found.hooks), found.checkpoint))
    return net


@pytest.mark.parametrize("schedule", ["one-shot", "iterative", "gradual"])
@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
def test_it_ends_as_thin_as_asked_and_still_answers(schedule: str, criterion: str) -> None:
    training = Training(epochs=2, batch=32, lr=0.05, precision="float32")
    net = learned(training, schedule=schedule, criterion=criterion, density=0.5)
    for part in compressed(net).values():
        blocks = part.mask[:, ::4]
        assert blocks.sum() == round(0.5 * blocks.numel())
        assert torch.equal(part.layer.weight != 0, part.mask != 0)  # type: ignore[arg-type]
    task = digits()
    assert quality(net, task.valid(), task.metric) > 85


class Watch:
    """A hook that remembers masks, step by step, and what lies where they are zero."""

    def __init__(self, part: Compressed) -> None:
        self.part = part
        self.masks: list[Tensor] = []
        self.left: list[float] = []

    def before_step(self, step: int) -> None:
        self.masks.append(self.part.mask.clone())

    def after_step(self, step: int) -> None:
        weight: Any = self.part.layer.weight
        self.left.append((weight * (1 - self.part.mask)).abs().max().item())

    def finish(self) -> None: ...


def test_zeros_regrow_until_they_are_frozen_and_then_stay_zero() -> None:
    """Momentum and weight decay work on; after the freeze nothing moves a masked weight."""
    training = Training(epochs=2, batch=32, lr=0.1, weight_decay=0.01, precision="float32")
    steps = steps_of(training, digits().train_size)
    net, hooks = techniques.learning(
        trained(), X, edits(schedule="one-shot", every=2, end=0.0, freeze=0.5), steps
    )
    watch = Watch(compressed(net)["3.conv1"])
    fit(net, digits(), training, trained(), Session((*hooks, watch)))
    frozen = round(0.5 * steps)
    regrown = [
        bool((b > a).any()) for a, b in zip(watch.masks, watch.masks[1:frozen], strict=False)
    ]
    assert any(regrown), "no weight ever came back"
    assert max(watch.left[:frozen]) > 0
    assert all(torch.equal(m, watch.masks[frozen]) for m in watch.masks[frozen:])
    assert watch.left[frozen:] == [0.0] * (steps - frozen)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    training = Training(epochs=1, batch=32, lr=0.05, precision="float32")
    whole = learned(training, criterion="movement")

    class Killed:
        def before_step(self, step: int) -> None: ...
        def finish(self) -> None: ...
        def after_step(self, step: int) -> None:
            if step == 22:  # between two masks
                raise KeyboardInterrupt

    steps = steps_of(training, digits().train_size)
    path = tmp_path / "run.safetensors"
    net, hooks = techniques.learning(trained(), X, edits(criterion="movement"), steps)
    with pytest.raises(KeyboardInterrupt):
        fit(
            net,
            digits(),
            training,
            trained(),
            Session((*hooks, Killed()), path, save_seconds=0.0),
        )
    again, hooks = techniques.learning(trained(), X, edits(criterion="movement"), steps)
    fit(again, digits(), training, trained(), Session(hooks, path))
    for (name, a), (_, b) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_the_density_follows_its_schedule() -> None:
    gradual = Thinning(Pattern(), 0.2, begin=0.1, end=0.6)
    assert [gradual.at(share) for share in (0.0, 0.6, 1.0)] == [1.0, 0.2, 0.2]
    assert np.isclose(gradual.at(0.35), 0.2 + 0.8 * 0.5**3)
    rounds = Thinning(Pattern(), 0.2, schedule="iterative", end=1.0, freeze=1.0)
    steps = [rounds.at(share) for share in (0.0, 0.2, 0.4, 0.6, 0.8)]
    assert np.allclose(np.divide(steps[1:], steps[:-1]), 0.2**0.2) and np.isclose(steps[-1], 0.2)
    assert Thinning(Pattern(), 0.2, schedule="one-shot", begin=0.5).at(0.49) == 1.0


def test_gradients_reach_what_is_masked_only_while_it_may_regrow() -> None:
    torch.manual_seed(0)
    part = Compressed(nn.Linear(4, 2, bias=False))
    hook = Sparsify({"": (part, Thinning(Pattern(), 0.5, "magnitude", "one-shot", freeze=0.5))}, 8)
    for step, reaches in ((0, True), (4, False)):
        hook.before_step(step)
        part.zero_grad()
        part(torch.ones(1, 4)).sum().backward()
        w: Any = part.layer.weight
        share = ((w * part.mask).norm(dim=1) / w.norm(dim=1))[:, None].detach()
        damped = torch.where(part.mask > 0, 1.0, share if reaches else torch.zeros(2, 1))
        assert 0 < share.min() < 1
        torch.testing.assert_close(w.grad, damped)


def test_a_filter_of_zeros_learns_nothing() -> None:
    """Its norm divides by nothing: whatever came back through it would be of any size."""
    part = Compressed(nn.Conv2d(4, 2, 1, bias=False))
    part.pattern = Pattern()
    part.mask[1] = 0
    net = nn.Sequential(part, nn.BatchNorm2d(2))
    (net(torch.randn(8, 4, 3, 3)) * torch.randn(8, 2, 3, 3)).sum().backward()
    gradient: Any = part.layer.weight.grad  # type: ignore[union-attr]
    assert gradient[0].abs().max() > 0 and not gradient[1].any()


def test_the_program_has_the_zeros_and_says_so() -> None:
    """Row C11: the multiplications left are counted as the weights that are not zero."""
    training = Training(epochs=0.5, batch=32, lr=0.05)
    net = learned(training)
    program = lower(net, X)
    found = {layer.layer: layer for layer in zeros(program)}
    stored = program.arrays[program.op("3.conv2").inputs[1]]
    assert stored.sparsity.kind == "block" and stored.sparsity.block == (1, 4, 1, 1)
    assert stored.sparsity.density == 0.25
    layer = found["3.conv2"]
    assert layer.zeros == (stored.decode() == 0).sum() and layer.sparsity >= 0.75
    assert layer.left * layer.weights == layer.macs * (layer.weights - layer.zeros)
    assert found["6"].zeros == 0 and 0 < sparsity(program) < layer.sparsity


BAD: list[tuple[dict[str, Any], str]] = [
    ({"pattern": "stripes"}, "pattern must be one of"),
    ({"density": 2.0}, "between 0 and 1"),
    ({"criterion": "?"}, "criterion must be one of magnitude"),
    ({"schedule": "?"}, "schedule must be one of one-shot"),
    ({"begin": 0.6, "end": 0.5}, "begin ≤ end"),
    ({"every": 0}, "every ≥ 1"),
    ({"fade": -0.1}, "fade must lie between 0 and 1"),
    ({"depth": 3}, "no setting 'depth'"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        thinning(Edit.of("weights", "0", **{"density": 0.5, **settings}))


def test_a_layer_that_is_not_there_is_named() -> None:
    graph = trace(trained(), X)
    with pytest.raises(RecipeError, match="no layer '9'"):
        techniques.apply(graph, Recipe((Edit.of("weights", "9", density=0.5),)))
    with pytest.raises(NetworkError, match="'nowhere' must be a module"):
        techniques.learning(trained(), X, [Edit.of("weights", "nowhere", density=0.5)], 4)
    with pytest.raises(NetworkError, match="convolutions and linear layers"):
        techniques.learning(trained(), X, [Edit.of("weights", "2", density=0.5)], 4)


@pytest.mark.soak
def test_iterative_thinning_beats_one_cut() -> None:
    """Row C6: at 95 % zeros, the mean of three seeds."""
    found: dict[str, list[float]] = {"one-shot": [], "iterative": []}
    task = digits()
    batches = [*task.valid(), *task.test()]
    for schedule, scores in found.items():
        for seed in range(3):
            training = Training(epochs=10, batch=32, lr=0.05, precision="float32", seed=seed)
            net = learned(training, pattern="unstructured", density=0.05, schedule=schedule)
            scores.append(quality(net, batches, task.metric))
    assert np.mean(found["iterative"]) >= np.mean(found["one-shot"])


@pytest.mark.soak
@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "lr", "densities"),
    [
        ("lenet_300_100", 0.1, (0.08, 0.09, 0.26)),
        ("lenet5", 0.05, (0.66, 0.12, 0.08, 0.19)),
    ],
)
def test_a_twelfth_of_the_weights_is_enough(
    shared_data: Path, name: str, lr: float, densities: tuple[float, ...]
) -> None:
    """Row C1: Han's LeNets at his densities, within 0.2 points of the dense network."""
    torch.manual_seed(0)
    task = api.load_task(str(shared_data / "mnist.npz"))
    net = zoo.build(name)
    alone = Training(epochs=5, batch=128, lr=lr, signals=(("task", 1.0),))
    fit(net, task, alone, session=Session(valid_every=0))
    x = torch.zeros(2, 1, 28, 28)
    layers = [layer.name for layer in trace(net, x).layers if layer.macs]
    training = Training(epochs=8, batch=128, lr=lr / 2)
    steps = steps_of(training, task.train_size)
    thin, hooks = techniques.learning(
        net,
        x,
        [Edit.of("weights", n, density=d) for n, d in zip(layers, densities, strict=True)],
        steps,
    )
    fit(thin, task, training, net, Session(hooks, valid_every=0))
    assert 1 - sparsity(lower(thin, x)) <= 1 / 12
    dense, left = (quality(each, task.test(), task.metric) for each in (net, thin))
    assert left >= dense - 0.2
