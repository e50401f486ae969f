"""Super-resolution with all work at the low resolution: sub-pixel convolution (Shi et al. 2016).

The image itself, each pixel repeated, is added before the pixels are shuffled (Du et al. 2021,
"Anchor-based Plain Net"): the layers learn only what is missing, which rounding spares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SubPixel(nn.Module):
    """`[n, c, h, w]` to `[n, c, scale·h, scale·w]`."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.copies = scale**2
        self.detail = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, channels * self.copies, 3, padding=1),
        )
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        anchor = x.repeat_interleave(self.copies, dim=1)
        out: Tensor = self.shuffle(anchor + self.detail(x))
        return out


def espcn(channels: int = 1, scale: int = 2) -> SubPixel:
    """Widths 64 and 32 as published, ReLU in place of tanh: 21 k parameters at one channel, ×2."""
    return SubPixel(channels, scale)


def from_the_anchor_(net: SubPixel) -> None:
    """Let the answer start near the repeated image (Zhang et al. 2019, "Fixup").

    Otherwise the first steps shrink the detail to nothing, and with it every ReLU dies.
    """
    last = net.detail[-1]
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        last.weight.mul_(0.01)
