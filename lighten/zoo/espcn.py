"""Efficient sub-pixel super-resolution (Shi et al. 2016): all work at the low resolution."""

from __future__ import annotations

from torch import nn


def espcn(channels: int = 1, scale: int = 2) -> nn.Sequential:
    """`[channels, h, w]` to `[channels, scale·h, scale·w]`, values 0 to 1.

    Widths 64 and 32 as published, ReLU in place of tanh. 21 k parameters at one channel and ×2.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 64, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, channels * scale**2, 3, padding=1),
        nn.PixelShuffle(scale),
    )
