"""Sums of scaled signs (B16, B21, B22, B24), gradients through signs (B15), solvers (B14, B23)."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten import api
from lighten.backends.native import Native
from lighten.core.recipe import Training
from lighten.errors import NetworkError, RecipeError
from lighten.formats.binary import SUMS, alternating, greedy, nearest, signs, ternary
from lighten.network import lift, lower
from lighten.network.binarize import binarized
from lighten.network.projected import Projected, Signed, projected
from lighten.network.straight_through import BETA, ESTIMATORS, through
from lighten.network.trained_ternary import TrainedTernary, ternary_
from lighten.program.interpret import interpret
from lighten.program.spec import check
from lighten.train import Session, fit, quality, steps_of
from lighten.train.project import WAYS, Project
from tests.small import digits, trained

X = torch.zeros(2, 1, 8, 8)
LAYERS = ("3.conv1", "3.conv2", "6")


def weights(k: int = 100, n: int = 24, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(k, n))


def lost(w: Any, found: Any) -> Any:
    """Squared distance, filter by filter."""
    return np.square(w - found.decode()).reshape(len(w), -1).sum(1)


@pytest.mark.parametrize("name", SUMS)
def test_numpy_and_torch_agree(name: str) -> None:
    w = weights(6, 18).astype(np.float32).reshape(6, 2, 3, 3)
    ours = SUMS[name](w)
    theirs = SUMS[name](torch.from_numpy(w))
    assert ours.codes.dtype == ours.scales.dtype == np.float32
    assert set(np.unique(ours.codes)) <= {-1.0, 0.0, 1.0} and ours.decode().shape == w.shape
    assert np.allclose(theirs.decode().numpy(), ours.decode(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_one_sign_and_the_mean_are_the_nearest(n: int) -> None:
    """Row B16: all 2^n sign vectors tried, each with its own best scale."""
    w = weights(1, n, seed=n)
    best = min(
        np.square(w[0] - max(0.0, float(w[0] @ b) / n) * np.array(b)).sum()
        for b in product((-1.0, 1.0), repeat=n)
    )
    assert np.isclose(lost(w, signs(w))[0], best)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_nearest_ternary_is_the_best_of_all(n: int) -> None:
    w = weights(1, n, seed=n)
    best = min(
        np.square(w[0] - float(w[0] @ b) / max(1, np.abs(b).sum()) * np.array(b)).sum()
        for b in product((-1.0, 0.0, 1.0), repeat=n)
    )
    assert np.isclose(lost(w, nearest(w))[0], best)


def test_ternary_weights_follow_their_threshold() -> None:
    """Row B21: 0.7·E|w|, and the mean of what lies beyond."""
    w = weights()
    found = ternary(w)
    limit = 0.7 * np.abs(w).mean(1, keepdims=True)
    assert np.array_equal(found.codes[0], np.sign(w) * (np.abs(w) > limit))
    beyond = np.where(np.abs(w) > limit, np.abs(w), np.nan)
    assert np.allclose(found.scales[0], np.nanmean(beyond, 1))
    assert (lost(w, nearest(w)) <= lost(w, found) + 1e-9).all()
    assert (lost(w, found) <= lost(w, signs(w))).all()


def test_each_further_sign_leaves_less() -> None:
    """Row B24."""
    w = weights()
    left = [lost(w, greedy(w, bits)) for bits in (1, 2, 3, 4)]
    assert all((after < before).all() for before, after in pairwise(left))
    assert np.allclose(left[0], lost(w, signs(w)))


@pytest.mark.parametrize("bits", [2, 3])
def test_alternation_never_loses(bits: int) -> None:
    """Row B22: non-increasing round by round, and at most what the greedy signs leave."""
    w = weights()
    left = [lost(w, alternating(w, bits, rounds)) for rounds in range(6)]
    assert all((b <= a + 1e-6).all() for a, b in pairwise(left))
    assert (left[0] <= lost(w, greedy(w, bits)) + 1e-6).all()
    assert left[-1].sum() < 0.9 * lost(w, greedy(w, bits)).sum()


def test_filters_of_zeros_stay_zeros() -> None:
    for name, form in SUMS.items():
        assert not np.any(form(np.zeros((2, 8))).decode()), name


FORMULAS = {
    "identity": lambda x: 1.0,
    "clip": lambda x: float(abs(x) <= 1),
    "polynomial": lambda x: 2 + 2 * x if -1 <= x < 0 else 2 - 2 * x if 0 <= x < 1 else 0.0,
    "swish": lambda x: BETA * (2 - BETA * x * np.tanh(BETA * x / 2)) / (1 + np.cosh(BETA * x)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_change_gradients_and_nothing_else(name: str) -> None:
    """Row B15."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    y = torch.arange(41.0, dtype=torch.float64)
    found = through(x, y, name)
    assert torch.equal(found, y)
    found.sum().backward()
    wanted = torch.tensor([FORMULAS[name](float(v)) for v in x.detach()], dtype=torch.float64)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, wanted)


def learned(way: str, onto: str, epochs: float = 3, **more: Any) -> tuple[nn.Module, Project]:
    net = binarized(trained(), X, LAYERS, onto, **more)
    training = Training(epochs=epochs, batch=32, lr=0.02, precision="float32")
    hook = Project(projected(net).values(), way, steps_of(training, digits().train_size))
    fit(net, digits(), training, trained(), Session((hook,)))
    return net, hook


@pytest.mark.parametrize("way", WAYS)
def test_every_way_ends_in_the_set(way: str) -> None:
    net, _ = learned(way, "ternary", epochs=1)
    for part in projected(net).values():
        rows = part.weight().detach().reshape(len(part.target), -1)
        assert all(len(row.abs().unique()) <= 2 for row in rows)  # zero, and one magnitude


def test_learning_finds_better_signs_than_rounding() -> None:
    task = digits()
    batches = [*task.valid(), *task.test()]
    scores = {way: quality(learned(way, "signs")[0], batches, task.metric) for way in WAYS}
    assert scores["straight-through"] > scores["once"] and scores["admm"] > scores["once"]
    assert scores["straight-through"] > 88


class Residuals:
    def __init__(self, of: Project) -> None:
        self.of = of
        self.seen: list[float] = []

    def before_step(self, step: int) -> None: ...
    def finish(self) -> None: ...
    def after_step(self, step: int) -> None:
        self.seen.append(self.of.residual())


def test_admm_draws_weights_into_the_set() -> None:
    """Row B23: the primal residual falls towards zero while the weights are still free."""
    net = binarized(trained(), X, LAYERS, "nearest")
    training = Training(epochs=8, batch=32, lr=0.02, precision="float32")
    steps = steps_of(training, digits().train_size)
    hook = Project(projected(net).values(), "admm", steps, pull=0.3)
    watch = Residuals(hook)
    fit(net, digits(), training, trained(), Session((hook, watch)))
    free = watch.seen[: hook.first]
    assert free[-1] < 0.2 * free[0]


def test_the_program_has_the_signs() -> None:
    """One sign each is a bit in the program; it answers as the network does, and the engine counts
    signs where both sides have them.
    """
    net, _ = learned("straight-through", "signs", epochs=1, signed=("3.conv2", "6"))
    program = check(lower(net, X))
    stored = program.arrays[program.op("3.conv1").inputs[1]]
    assert stored.format.bits == 1 and set(np.unique(stored.codes)) == {0, 1}
    x = digits().example(32)[0].astype(np.float64)
    got = net.double().eval()(torch.from_numpy(x)).detach().numpy()
    assert np.abs(got - interpret(program, x)[0]).max() <= 1e-4 * np.abs(got).max()
    network = Native().compile(program)
    counted = {step.op for step in network.plan.steps if getattr(step, "kernel", "") == "binary"}
    assert counted == {"3.conv2", "6"}
    # in float32 a number next to zero may get the other sign
    near = np.abs(network(x.astype(np.float32))[0] - got).max(1) <= 1e-4 * np.abs(got).max()
    assert near.mean() > 0.9


def test_the_gradients_of_trained_ternary_weights() -> None:
    """Row B21, TTQ's equations 7 and 8, on one filter counted by hand."""
    layer = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.5, 0.01, -0.4, -0.8]]))
    part = TrainedTernary(layer)
    assert part.weight().tolist()[0] == pytest.approx([0.75, 0.75, 0.0, -0.6, -0.6])
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    (part.weight() * upstream).sum().backward()
    assert part.positive.grad is not None and part.positive.grad.tolist() == [3.0]
    assert part.negative.grad is not None and part.negative.grad.tolist() == [-9.0]
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist()[0] == pytest.approx([0.75, 1.5, 3.0, 2.4, 3.0])


def test_trained_ternary_weights_learn_and_lower() -> None:
    task, training = digits(), Training(epochs=3, batch=32, lr=0.02, precision="float32")
    net = lift(trained(), X)
    for path in LAYERS:
        ternary_(net, path)
    fit(net, task, training, trained())
    assert quality(net, task.valid(), task.metric) > 88
    program = check(lower(net, X))
    rows = program.arrays[program.op("6").inputs[1]].decode()
    assert all(len(np.unique(row)) <= 3 for row in rows)
    x = task.example(16)[0]
    got = net(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(got, interpret(program, x)[0], rtol=1e-4, atol=1e-4)


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(NetworkError, match="projection must be one of signs"):
        Projected(nn.Linear(2, 2), "?")
    with pytest.raises(NetworkError, match="estimator must be one of identity"):
        Signed("?")
    with pytest.raises(NetworkError, match="convolutions and linear"):
        Projected(nn.ReLU(), "signs")
    with pytest.raises(RecipeError, match="way must be one of once"):
        Project([], "?", 3)


def lenet5() -> nn.Module:
    """LeNet-5 with a norm before every sign (Hubara et al. 2016 have one in every layer)."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.BatchNorm2d(20)),
        *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.BatchNorm2d(50), nn.Flatten()),
        *(nn.Linear(800, 500), nn.BatchNorm1d(500), nn.Linear(500, 10), nn.BatchNorm1d(10)),
    )


@pytest.mark.soak
@pytest.mark.shared
@pytest.mark.parametrize(("onto", "signed"), [("signs", ("3", "7", "9")), ("nearest", ())])
def test_a_lenet_of_signs_reads_digits(
    shared_data: Path, onto: str, signed: tuple[str, ...]
) -> None:
    """Rows B14, B21: all weights signs, and all values between layers; at least 98.5 %."""
    task = api.load_task(str(shared_data / "mnist.npz"))
    net = binarized(lenet5(), torch.zeros(2, 1, 28, 28), ("0", "3", "7", "9"), onto, signed)
    training = Training(
        epochs=6, batch=128, optimizer="adamw", lr=3e-3, weight_decay=0.0, precision="float32"
    )
    fit(net, task, training, session=Session(valid_every=2))
    assert quality(net, task.test(), task.metric) >= 98.5


def test_signs_are_one_from_zero_on() -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0])
    found: Tensor = Signed()(x)
    assert found.tolist() == [-1.0, 1.0, 1.0, 1.0]
