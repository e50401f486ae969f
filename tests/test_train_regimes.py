"""Each kind of network gets the optimiser it is usually trained with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lighten import api
from lighten.errors import RecipeError
from lighten.network import lift
from lighten.train import regime
from tests import small


def test_a_cnn_that_normalises_batches_learns_by_sgd() -> None:
    assert regime(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))).optimizer == "sgd"


def test_a_network_that_normalises_layers_learns_by_adamw() -> None:
    assert regime(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))).optimizer == "adamw"


def test_a_traced_network_is_known_by_its_operations() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4))
    assert regime(net).optimizer == regime(lift(net, torch.zeros(1, 4))).optimizer == "adamw"
    batch = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))
    assert regime(lift(batch, torch.zeros(2, 4))).optimizer == "sgd"


def test_batch_statistics_decide_over_layer_norms() -> None:
    both = nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4))
    assert regime(both).optimizer == "sgd"


def test_answers_that_are_no_classes_are_learnt_by_adamw() -> None:
    assert regime(nn.Conv2d(1, 4, 3), names_samples=False).optimizer == "adamw"


def test_only_transformers_need_the_gentlest_rate() -> None:
    plain, layered = nn.Conv2d(1, 4, 3), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    assert regime(plain, False).gentle == 5 * regime(layered, False).gentle
    assert regime(layered, False) == regime(layered)


def test_trained_weights_learn_gently() -> None:
    net, task = nn.Linear(64, 10), small.digits()
    fresh, started = (api.usual_training(net, task, "adamw", s) for s in (False, True))
    assert started.lr < fresh.lr
    assert started.weight_decay == fresh.weight_decay == 0.01


def test_an_unknown_optimizer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="sgd, adamw"):
        api.usual_training(nn.Linear(64, 10), small.digits(), "adam")
