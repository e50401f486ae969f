"""Programs that several tests run: a residual network as it comes out of `lower`, not yet fused."""

from __future__ import annotations

import numpy as np

from lighten.program.build import Builder
from lighten.program.ir import Program


def conv_norm(b: Builder, x: str, width: int, name: str, stride: int = 1, relu: bool = True) -> str:
    """Conv 3x3, BatchNorm, ReLU with random weights."""
    rng = np.random.default_rng(len(b.ops))
    channels = b.values[x].shape[0]
    w = b.store(f"{name}.w", rng.normal(0, np.sqrt(2 / (9 * channels)), (width, channels, 3, 3)))
    x = b.op(
        "conv", x, w, name=name, strides=(stride,) * 2, pads=(1,) * 4, dilations=(1, 1), groups=1
    )
    scale = b.store(f"{name}.scale", rng.uniform(0.7, 1.3, width))
    shift = b.store(f"{name}.shift", rng.normal(0, 0.3, width))
    x = b.op("affine", x, scale, shift, axis=0)
    return b.op("unary", x, function="relu") if relu else x


def resnet(widths: tuple[int, ...] = (16, 32, 64), depth: int = 3, size: int = 32) -> Program:
    """A CIFAR ResNet with option-A shortcuts (strided slices, zero-padded channels)."""
    b = Builder()
    x = conv_norm(b, b.input("x", (3, size, size)), widths[0], "conv1")
    for stage, width in enumerate(widths, 1):
        for block in range(depth):
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv_norm(b, x, width, f"layer{stage}.{block}.conv1", stride)
            y = conv_norm(b, y, width, f"layer{stage}.{block}.conv2", relu=False)
            if stride == 2:
                for axis in (1, 2):
                    x = b.op("slice", x, axis=axis, start=0, stop=b.values[x].shape[axis], step=2)
                more = width - b.values[x].shape[0]
                x = b.op("pad", x, pads=(more // 2, 0, 0, more - more // 2, 0, 0), value=0.0)
            x = b.op("unary", b.op("binary", y, x, function="add"), function="relu")
    x = b.op("reduce", x, function="mean", axes=(1, 2), keepdims=False)
    rng = np.random.default_rng(0)
    w = b.store("linear.w", rng.normal(0, 0.3, (10, widths[-1])))
    return b.finish(b.op("linear", x, w, b.store("linear.b", rng.normal(0, 1, 10)), name="linear"))
