"""DenseNet-121 (Huang et al. 2017, table 1): each layer reads all layers before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lighten.zoo.parts import head

GROWTH = 32
BLOCKS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """BatchNorm-ReLU-1x1-BatchNorm-ReLU-3x3; its output is appended to its input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.norm1(x)))
        out = self.conv2(self.relu(self.norm2(out)))
        return torch.cat((x, out), dim=1)


def densenet121(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """Growth 32, blocks 6-12-24-16: 7.98 M parameters, 2.83 G MAC at 224 x 224."""
    width = 2 * GROWTH
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    for number, count in enumerate(BLOCKS):
        if number:
            layers.append(_transition(width))
            width //= 2
        layers.append(nn.Sequential(*(DenseLayer(width + i * GROWTH) for i in range(count))))
        width += count * GROWTH
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), head(width, classes))


def _transition(width: int) -> nn.Sequential:
    """Half the channels, half the height and width."""
    conv = nn.Conv2d(width, width // 2, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), conv, nn.AvgPool2d(2))
