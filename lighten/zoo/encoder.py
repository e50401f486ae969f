"""An encoder of images: embeddings whose cosine says how alike two images are.

Source: Hadsell, Chopra & LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping",
with the residual blocks of He et al. 2016.
"""

from __future__ import annotations

from torch import nn

from lighten.zoo.digits import Residual
from lighten.zoo.parts import convolution, head


def encoder(channels: int = 3, dimensions: int = 32) -> nn.Sequential:
    """Embeddings `[dimensions]`, not normalised, of images `[channels, H, W]`.

    Widths 24, 48 and 96 at a half, a quarter and an eighth of the side, a residual block at each
    of the last two, the mean over positions, one linear layer.
    """
    return nn.Sequential(
        convolution(channels, 24, stride=2),
        convolution(24, 48, stride=2),
        Residual(48),
        convolution(48, 96, stride=2),
        Residual(96),
        head(96, dimensions),
    )
