"""Functions of one tensor in ONNX (opset 17): a row of FUNCTIONS gives the result tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi, sqrt

from lighten.program.ir import Op
from lighten.program.onnx_out import Writer


def plain(kind: str) -> Callable[[Writer, str, Op], str]:
    """A function that ONNX has under the name `kind`."""
    return lambda w, x, op: w.node(kind, x)


def gelu(w: Writer, x: str, op: Op) -> str:
    inside = w.node("Erf", w.node("Mul", x, w.scalar(sqrt(0.5))))
    half = w.node("Mul", x, w.scalar(0.5))
    return w.node("Mul", half, w.node("Add", inside, w.scalar(1.0)))


def gelu_tanh(w: Writer, x: str, op: Op) -> str:
    cube = w.node("Mul", w.node("Mul", w.node("Mul", x, x), x), w.scalar(0.044715))
    inside = w.node("Tanh", w.node("Mul", w.node("Add", x, cube), w.scalar(sqrt(2 / pi))))
    half = w.node("Mul", x, w.scalar(0.5))
    return w.node("Mul", half, w.node("Add", inside, w.scalar(1.0)))


SAME_NAME = (
    "relu sigmoid tanh exp log sqrt neg abs reciprocal erf sin cos sign floor round softplus"
)
FUNCTIONS: Mapping[str, Callable[[Writer, str, Op], str]] = {
    **{name: plain(name.capitalize()) for name in SAME_NAME.split()},
    "hardswish": plain("HardSwish"),
    "relu6": lambda w, x, op: w.node("Clip", x, w.scalar(0), w.scalar(6)),
    "hardsigmoid": lambda w, x, op: w.node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda w, x, op: w.node("Mul", x, w.node("Sigmoid", x)),
    "mish": lambda w, x, op: w.node("Mul", x, w.node("Tanh", w.node("Softplus", x))),
    "rsqrt": lambda w, x, op: w.node("Reciprocal", w.node("Sqrt", x)),
    "square": lambda w, x, op: w.node("Mul", x, x),
    "leaky_relu": lambda w, x, op: w.node("LeakyRelu", x, alpha=float(op["slope"])),
    "elu": lambda w, x, op: w.node("Elu", x, alpha=float(op["slope"])),
    "clip": lambda w, x, op: w.node("Clip", x, w.scalar(op["low"]), w.scalar(op["high"])),
}
