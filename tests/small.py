"""A network that trains in a second, for tests of the whole road: `tests/small.py:network`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import nn

from lighten import api
from lighten.core.recipe import Training
from lighten.core.task import Task

WHERE = f"{Path(__file__)}:network"


class Residual(nn.Module):
    """A residual block that can be dropped, with an inner width that can be cut."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(inner)))


def untrained() -> nn.Module:
    """For 1×8×8 digits: 16 channels, one residual block of 32, a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16, 32),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


@cache
def digits() -> Task:
    """The digits inside scikit-learn."""
    return api.load_task("builtin:digits")


@cache
def trained() -> nn.Module:
    """It, after three epochs: well above 90 %."""
    net = untrained()
    training = Training(epochs=3, batch=32, lr=0.1, signals=(("task", 1.0),))
    api.train(net, digits(), training)
    return net


def network() -> nn.Module:
    """What `tests/small.py:network` names on the command line: trained, the same every time."""
    torch.set_num_threads(1)
    return trained()
