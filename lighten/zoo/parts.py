"""What several families are made of: convolution units, the squeeze-and-excite gate, a start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Activation = type[nn.Module]


def convolution(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = nn.ReLU,
) -> nn.Sequential:
    """A "same"-padded convolution without bias, BatchNorm, and the activation where one is named.

    >>> [type(layer).__name__ for layer in convolution(3, 8)]
    ['Conv2d', 'BatchNorm2d', 'ReLU']
    """
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def head(inputs: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Global average pooling, dropout where it is above zero, and the linear classifier."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means (Hu et al. 2018)."""

    def __init__(
        self, channels: int, squeezed: int, activation: Activation, gate: Activation
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return x * scale


def divisible(width: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, never under 90 % of `width` (Howard et al. 2017).

    >>> divisible(18.0), divisible(20.0), divisible(3.0)
    (24, 24, 8)
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * width else rounded + divisor


def initialise_(net: nn.Module, generator: torch.Generator) -> None:
    """Kaiming normal over the fan-in for every weight, zero biases, BatchNorm at identity.

    Source: He et al. 2015, "Delving Deep into Rectifiers", equation 10.
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
