"""The demo's network: a residual CNN for 8 x 8 digits, wide enough to have something to lose."""

from __future__ import annotations

from torch import Tensor, nn

from lighten.zoo.parts import convolution, head

WIDTHS = (64, 112)  # at 8 x 8 and at 4 x 4


class Residual(nn.Module):
    """Two convolutions around an identity shortcut (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width, activation=None)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(x + self.second(self.first(x)))
        return out


def digits_cnn(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """A stem, two residual blocks at 8 x 8, one at 4 x 4: 0.44 M parameters, 14.1 M MAC."""
    wide, deep = WIDTHS
    return nn.Sequential(
        convolution(channels, wide),
        Residual(wide),
        Residual(wide),
        convolution(wide, deep, stride=2),
        Residual(deep),
        head(deep, classes),
    )
