"""A small U-Net (Ronneberger et al. 2015): a label per pixel, skips joined by concatenation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lighten.zoo.parts import convolution

SCALES = (1, 2, 4, 8)  # of the width: twice as wide at every halving


class UNet(nn.Module):
    """Three halvings down, three learned doublings up; height and width divisible by 8.

    Its convolutions are padded and followed by BatchNorm, so the map has the input's size.
    """

    def __init__(self, classes: int, channels: int, width: int) -> None:
        super().__init__()
        widths = tuple(scale * width for scale in SCALES)
        inputs = (channels, *widths[:-1])
        self.down = nn.ModuleList(_pair(i, o) for i, o in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        rising = tuple(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in rising)
        self.join = nn.ModuleList(_pair(2 * o, o) for _, o in rising)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        out = x
        for number, pair in enumerate(self.down):
            out = pair(out if number == 0 else self.pool(out))
            skips.append(out)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            out = join(torch.cat((skip, up(out)), dim=1))
        labels: Tensor = self.classify(out)
        return labels


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs), convolution(outputs, outputs))


def unet(classes: int = 2, channels: int = 3, width: int = 16) -> UNet:
    """Widths 16 to 128, logits `[classes, H, W]`: 0.48 M parameters, 0.4 G MAC at 96 x 96."""
    return UNet(classes, channels, width)
