"""LeNet-300-100 (LeCun et al. 1998, section III) and LeNet-5 as the Caffe examples define it."""

from __future__ import annotations

from torch import nn


def lenet_300_100(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """784-300-100-classes with ReLU, on 28 x 28 images: 266,200 MAC."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * 28 * 28, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


def lenet5(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """Conv 20 @ 5 x 5, pool, conv 50 @ 5 x 5, pool, 500 ReLU, classes: 2,293,000 MAC.

    On 28 x 28 images. Like its source it has no ReLU after the convolutions: the max pooling is
    their nonlinearity.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )
