"""MobileNet V1 (Howard et al. 2017), V2 (Sandler et al. 2018), V3-Large (Howard et al. 2019)."""

from __future__ import annotations

from torch import nn

from lighten.zoo.inverted import Inverted, InvertedResidual
from lighten.zoo.parts import convolution, divisible, head

# V1, table 1: output width and stride of each depthwise-separable pair
V1 = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)

# V2, table 2: expansion, output width, repeats, first stride
V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# V3-Large, table 1: kernel, expanded width, output width, gate?, hard swish?, stride
V3 = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenet_v1(classes: int = 1000, channels: int = 3, width: float = 1.0) -> nn.Sequential:
    """Thirteen depthwise-separable pairs: 4.23 M parameters, 0.57 G MAC at 224 x 224."""
    inputs = divisible(32 * width)
    layers = [convolution(channels, inputs, stride=2)]
    for planes, stride in V1:
        outputs = divisible(planes * width)
        layers.append(convolution(inputs, inputs, 3, stride, groups=inputs))
        layers.append(convolution(inputs, outputs, 1))
        inputs = outputs
    return nn.Sequential(*layers, head(inputs, classes))


def mobilenet_v2(classes: int = 1000, channels: int = 3, width: float = 1.0) -> nn.Sequential:
    """Seventeen inverted residuals: 3.50 M parameters, 0.30 G MAC at 224 x 224."""
    inputs = divisible(32 * width)
    layers: list[nn.Module] = [convolution(channels, inputs, stride=2, activation=nn.ReLU6)]
    for expansion, planes, repeats, first in V2:
        outputs = divisible(planes * width)
        for number in range(repeats):
            stride = first if number == 0 else 1
            layers.append(
                InvertedResidual(Inverted(inputs, inputs * expansion, outputs, stride=stride))
            )
            inputs = outputs
    last = divisible(1280 * max(1.0, width))
    layers.append(convolution(inputs, last, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, head(last, classes, dropout=0.2))


def mobilenet_v3(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """V3-Large, gated inverted residuals: 5.48 M parameters, 0.22 G MAC at 224 x 224."""
    layers: list[nn.Module] = [convolution(channels, 16, stride=2, activation=nn.Hardswish)]
    inputs = 16
    for kernel, expanded, outputs, gated, swish, stride in V3:
        spec = Inverted(
            inputs,
            expanded,
            outputs,
            kernel,
            stride,
            activation=nn.Hardswish if swish else nn.ReLU,
            squeezed=divisible(expanded / 4) if gated else 0,
            gate=nn.Hardsigmoid,
        )
        layers.append(InvertedResidual(spec))
        inputs = outputs
    tail = (
        convolution(inputs, 960, 1, activation=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(960, 1280),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(1280, classes),
    )
    return nn.Sequential(*layers, *tail)
