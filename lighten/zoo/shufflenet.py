"""ShuffleNetV2 1.0x (Ma et al. 2018, table 5): split, filter one half, join, shuffle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lighten.zoo.parts import convolution, head

STAGES = ((116, 4), (232, 8), (464, 4))  # width, units


def shuffle(x: Tensor, groups: int = 2) -> Tensor:
    """Interleave the channels of `groups` equal parts; `[N, C, H, W]` to the same shape.

    >>> shuffle(torch.arange(6.0).reshape(1, 6, 1, 1)).flatten().tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, groups, channels // groups, height, width)
    return parts.transpose(1, 2).reshape(batch, channels, height, width)


class Unit(nn.Module):
    """Half the channels pass untouched, the other half through 1x1, depthwise 3x3, 1x1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = _branch(width // 2, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, dim=1)
        return shuffle(torch.cat((kept, self.branch(worked)), dim=1))


class DownUnit(nn.Module):
    """Both halves of the output read the whole input, at stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.shortcut = nn.Sequential(
            convolution(inputs, inputs, 3, 2, groups=inputs, activation=None),
            convolution(inputs, half, 1),
        )
        self.branch = _branch(inputs, half, 2)

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(torch.cat((self.shortcut(x), self.branch(x)), dim=1))


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(inputs, outputs, 1),
        convolution(outputs, outputs, 3, stride, groups=outputs, activation=None),
        convolution(outputs, outputs, 1),
    )


def shufflenet_v2(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """The 1.0x network: 2.28 M parameters, 0.15 G MAC at 224 x 224."""
    layers: list[nn.Module] = [convolution(channels, 24, stride=2), nn.MaxPool2d(3, 2, 1)]
    inputs = 24
    for width, units in STAGES:
        layers.append(DownUnit(inputs, width))
        layers.extend(Unit(width) for _ in range(units - 1))
        inputs = width
    return nn.Sequential(*layers, convolution(inputs, 1024, 1), head(1024, classes))
