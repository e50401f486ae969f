"""ResNet-20/32/44/56 for 32 x 32 images, option-A shortcuts (He et al. 2016, section 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class OptionABlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut that has no parameters.

    Where the block widens, the shortcut takes every second pixel and appends zero channels, half
    of them before and half behind: the channels of the sum are shifted against those of `x`.
    """

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.padding = (planes - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """`x` itself, or subsampled and zero-padded to the block's width."""
        if self.stride == 1 and self.padding == 0:
            return x
        sampled = x[:, :, :: self.stride, :: self.stride]
        return F.pad(sampled, (0, 0, 0, 0, self.padding, self.padding))


class CifarResNet(nn.Module):
    """`6n + 2` layers: a stem and three stages of `n` blocks, 16, 32 and 64 wide."""

    def __init__(self, blocks: int, classes: int, channels: int) -> None:
        super().__init__()
        narrow, middle, wide = WIDTHS
        self.conv1 = nn.Conv2d(channels, narrow, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.layer1 = _stage(narrow, narrow, blocks, 1)
        self.layer2 = _stage(narrow, middle, blocks, 2)
        self.layer3 = _stage(middle, wide, blocks, 2)
        self.linear = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def _stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = OptionABlock(inputs, planes, stride)
    return nn.Sequential(first, *(OptionABlock(planes, planes, 1) for _ in range(blocks - 1)))


def resnet20(classes: int = 10, channels: int = 3) -> CifarResNet:
    """Three blocks per stage: 0.27 M parameters, 40.6 M MAC at 32 x 32."""
    return CifarResNet(3, classes, channels)


def resnet32(classes: int = 10, channels: int = 3) -> CifarResNet:
    """Five blocks per stage: 0.46 M parameters, 68.9 M MAC at 32 x 32."""
    return CifarResNet(5, classes, channels)


def resnet44(classes: int = 10, channels: int = 3) -> CifarResNet:
    """Seven blocks per stage: 0.66 M parameters, 97.2 M MAC at 32 x 32."""
    return CifarResNet(7, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> CifarResNet:
    """Nine blocks per stage: 0.85 M parameters, 125.5 M MAC at 32 x 32."""
    return CifarResNet(9, classes, channels)
