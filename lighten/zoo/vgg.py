"""VGG-16 with BatchNorm for 32 x 32 images (Simonyan & Zisserman 2015; Li et al. 2017)."""

from __future__ import annotations

from torch import nn

from lighten.zoo.parts import convolution

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width, convolutions; then a pool


def vgg16_bn(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Thirteen 3 x 3 convolutions and two linear layers: 15.0 M parameters, 0.31 G MAC.

    The sizes of "Pruning Filters for Efficient ConvNets" (Li et al. 2017), table 2.
    """
    layers: list[nn.Module] = []
    width = channels
    for planes, count in STAGES:
        for _ in range(count):
            layers.append(convolution(width, planes))
            width = planes
        layers.append(nn.MaxPool2d(2))
    tail = (nn.Flatten(), nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, classes))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), *tail)
