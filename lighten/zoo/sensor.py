"""A 1-D CNN for windows of sensor or audio samples, after Wang, Yan & Oates 2017 (the "FCN")."""

from __future__ import annotations

from torch import nn

WIDTHS = (64, 96, 96, 64)
KERNELS = (8, 5, 5, 3)


def sensor_cnn(classes: int = 6, channels: int = 6) -> nn.Sequential:
    """Logits `[classes]` of windows `[channels, time]`, of any length from 8 on.

    Four convolutions, the first two with stride 2, the mean over time, one linear layer.
    """
    layers: list[nn.Module] = []
    inputs = channels
    for place, (width, kernel) in enumerate(zip(WIDTHS, KERNELS, strict=True)):
        stride = 2 if place < 2 else 1
        layers += [
            nn.Conv1d(inputs, width, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        ]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(inputs, classes))
