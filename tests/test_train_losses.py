"""Losses, schedules, optimisers and the choice of answer, against their definitions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lighten.core.recipe import Training
from lighten.errors import DataError, NetworkError, RecipeError
from lighten.train.losses import LOSSES, classes_first, loss_of
from lighten.train.optimizers import OPTIMIZERS, decay_groups, optimizer
from lighten.train.outputs import logits_of, tensors
from lighten.train.schedules import SCHEDULES, rate


def test_cross_entropy_equals_the_loop() -> None:
    torch.manual_seed(0)
    logits, target, smoothing = torch.randn(5, 4).double(), torch.tensor([0, 3, 1, 1, 2]), 0.1
    wanted = 0.0
    for row, label in zip(logits.numpy(), target.numpy(), strict=True):
        log_p = row - math.log(np.exp(row).sum())
        smooth = np.full(4, smoothing / 4)
        smooth[label] += 1 - smoothing
        wanted -= float((smooth * log_p).sum()) / 5
    assert loss_of("cross_entropy", smoothing)(logits, target).item() == pytest.approx(wanted)


def test_cross_entropy_finds_the_class_axis() -> None:
    torch.manual_seed(0)
    tokens, labels = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    by_hand = F.cross_entropy(tokens.reshape(10, 7), labels.reshape(10))
    assert torch.allclose(loss_of("cross_entropy")(tokens, labels), by_hand)
    pixels, mask = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    assert classes_first(pixels, mask) is pixels
    assert classes_first(tokens, labels).shape == (2, 7, 5)


def test_regression_and_yes_no_losses_accept_flat_targets() -> None:
    answer, target = torch.tensor([[0.5], [-1.0]]), torch.tensor([1, 0])
    assert loss_of("mse")(answer, target).item() == pytest.approx((0.25 + 1.0) / 2)
    p = 1 / (1 + np.exp(-answer.numpy().ravel()))
    wanted = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    assert loss_of("binary_cross_entropy")(answer, target).item() == pytest.approx(wanted)
    with pytest.raises(DataError, match="as many numbers"):
        loss_of("mse")(answer, torch.zeros(3))


def test_losses_that_do_not_exist_or_do_not_smooth() -> None:
    with pytest.raises(RecipeError, match=", ".join(LOSSES)):
        loss_of("hinge")
    with pytest.raises(RecipeError, match="label_smoothing"):
        loss_of("mse", 0.1)
    own = loss_of(lambda outputs, target: outputs["a"].sum() + target)
    assert own({"a": torch.ones(2)}, 1).item() == 3.0


@pytest.mark.parametrize(
    "outputs",
    [
        torch.ones(1),
        (torch.ones(1), torch.zeros(1)),
        {"logits": torch.ones(1), "aux": torch.zeros(1)},
        {"out": torch.ones(1)},
        (None, torch.ones(1)),
    ],
    ids=["tensor", "tuple", "logits", "only", "second"],
)
def test_the_answer_among_outputs(outputs: Any) -> None:
    assert logits_of(outputs).item() == 1.0


@pytest.mark.parametrize("outputs", [{"a": torch.ones(1), "b": torch.ones(1)}, (), None, "x"])
def test_no_answer_among_outputs(outputs: Any) -> None:
    with pytest.raises(NetworkError, match="output must be a tensor"):
        logits_of(outputs)


def test_targets_become_tensors_of_the_widths_losses_want() -> None:
    found = tensors(
        {"y": np.int32([1]), "z": (np.float64([0.5]), [1, 2]), "m": np.array([True]), "n": None},
        torch.device("cpu"),
    )
    assert found["y"].dtype == torch.int64
    assert found["z"][0].dtype == torch.float32
    assert found["z"][1].tolist() == [1, 2]
    assert found["m"].dtype == torch.bool
    assert found["n"] is None


def test_cosine_climbs_then_falls_to_nothing() -> None:
    factors = [rate("cosine", step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert factors[55] == pytest.approx(0.5)
    assert factors[-1] < 1e-3
    assert [rate("constant", step, 4, 0.5) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    with pytest.raises(RecipeError, match=", ".join(SCHEDULES)):
        rate("linear", 0, 1, 0.0)


def test_only_weights_decay() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LayerNorm((4, 4)), nn.Linear(4, 2)
    )
    decayed, free = decay_groups([net], 0.1)
    names = {id(p): name for name, p in net.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"0.weight", "3.weight"}
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert len(free["params"]) == 6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_descend(name: str) -> None:
    net = nn.Linear(3, 1)
    found = optimizer([net], Training(optimizer=name, lr=0.05))
    x, y = torch.eye(3), torch.tensor([[1.0], [2.0], [3.0]])
    losses = []
    for _ in range(40):
        loss = F.mse_loss(net(x), y)
        found.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        found.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_nothing_to_optimise_is_said() -> None:
    with pytest.raises(RecipeError, match="parameters that learn"):
        optimizer([nn.ReLU()], Training())
    with pytest.raises(RecipeError, match="sgd, adamw"):
        optimizer([nn.Linear(1, 1)], Training(optimizer="lion"))


def test_l1_is_the_mean_of_absolute_differences() -> None:
    answer, target = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 0.0]])
    assert loss_of("l1")(answer, target).item() == pytest.approx(1.5)


def test_similarity_compares_cosines_of_pairs() -> None:
    """Two embeddings at right angles whose targets lie at 60 degrees: two of four cells differ."""
    answer = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.75**0.5, 0.0]])
    assert loss_of("similarity")(answer, target).item() == pytest.approx(100 * 2 * 0.25 / 4)
    assert loss_of("similarity")(3 * target, target).item() == pytest.approx(0.0, abs=1e-9)
