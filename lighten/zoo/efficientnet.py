"""EfficientNet-B0 (Tan & Le 2019, table 1), without its drop-connect."""

from __future__ import annotations

from torch import nn

from lighten.zoo.inverted import Inverted, InvertedResidual
from lighten.zoo.parts import convolution, head

# kernel, expansion, output width, repeats, first stride
B0 = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def efficientnet_b0(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """Sixteen gated inverted residuals with SiLU: 5.29 M parameters, 0.39 G MAC at 224 x 224."""
    layers: list[nn.Module] = [convolution(channels, 32, stride=2, activation=nn.SiLU)]
    inputs = 32
    for kernel, expansion, outputs, repeats, first in B0:
        for number in range(repeats):
            spec = Inverted(
                inputs,
                inputs * expansion,
                outputs,
                kernel,
                first if number == 0 else 1,
                activation=nn.SiLU,
                squeezed=inputs // 4,
                gate_activation=nn.SiLU,
            )
            layers.append(InvertedResidual(spec))
            inputs = outputs
    layers.append(convolution(inputs, 1280, 1, activation=nn.SiLU))
    return nn.Sequential(*layers, head(1280, classes, dropout=0.2))
