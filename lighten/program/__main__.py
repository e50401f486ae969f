"""`python -m lighten.program`: a tiny network, fused, then in int8."""

from __future__ import annotations

import numpy as np

from lighten.program.build import Builder
from lighten.program.fuse import fuse
from lighten.program.interpret import interpret
from lighten.program.ir import Program
from lighten.program.quantize import quantization
from lighten.program.show import show

SLIDING = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


def tiny() -> Program:
    """Convolution, BatchNorm and ReLU twice, a residual add, the mean, a linear layer."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("image", (3, 8, 8))
    for name in ("conv1", "conv2"):
        channels = b.values[x].shape[0]
        weight = b.store(f"{name}.weight", rng.normal(0, 0.2, (8, channels, 3, 3)))
        y = b.op("conv", x, weight, name=name, **SLIDING)
        scale = b.store(f"{name}.scale", rng.uniform(0.5, 1.5, 8))
        shift = b.store(f"{name}.shift", rng.normal(0, 0.1, 8))
        y = b.op("unary", b.op("affine", y, scale, shift, axis=0), function="relu")
        x = b.op("binary", x, y, name="add", function="add") if name == "conv2" else y
    x = b.op("reduce", x, name="mean", function="mean", axes=(1, 2), keepdims=False)
    weight = b.store("linear.weight", rng.normal(0, 0.2, (4, 8)))
    return b.finish(b.op("linear", x, weight, b.store("linear.bias", rng.normal(0, 1, 4))))


def main() -> None:
    """Print the network in its three forms, and how far apart their answers are."""
    program = tiny()
    samples = np.random.default_rng(1).normal(size=(64, 3, 8, 8)).astype(np.float32)
    fused = fuse(program)
    eight = quantization(fused, [(samples,)])
    (exact,) = interpret(program, samples)
    for title, form in (("as traced", program), ("fused", fused), ("in int8", eight)):
        (y,) = interpret(form, samples)
        error = abs(y - exact).max() / abs(exact).max()
        print(f"-- {title}: {len(form.ops)} ops, largest error {error:.1e} of the largest answer")
        print(show(form), end="\n\n")


if __name__ == "__main__":
    main()
