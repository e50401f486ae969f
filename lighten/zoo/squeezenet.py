"""SqueezeNet 1.1 (Iandola et al. 2016): Fire modules, no linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# (squeeze, expand) of each Fire module; a string is a max pooling
PLAN: tuple[tuple[int, int] | str, ...] = (
    (16, 64),
    (16, 64),
    "pool",
    (32, 128),
    (32, 128),
    "pool",
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)


class Fire(nn.Module):
    """Squeeze to `s` channels by 1 x 1, expand to `e` by 1 x 1 beside `e` by 3 x 3.

    Over `i` input channels and `p` pixels it costs `p (i s + s e + 9 s e)` MAC and has
    `i s + 10 s e + s + 2 e` parameters.
    """

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.relu(self.squeeze(x))
        sides = (self.relu(self.expand1x1(narrow)), self.relu(self.expand3x3(narrow)))
        return torch.cat(sides, dim=1)


def squeezenet(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """Eight Fire modules: 1.24 M parameters, 0.35 G MAC at 224 x 224."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 3, 2), nn.ReLU(), _pool()]
    width = 64
    for step in PLAN:
        if isinstance(step, str):
            layers.append(_pool())
            continue
        squeeze, expand = step
        layers.append(Fire(width, squeeze, expand))
        width = 2 * expand
    tail = (nn.Dropout(0.5), nn.Conv2d(width, classes, 1), nn.ReLU())
    return nn.Sequential(*layers, *tail, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
