"""One element at a time: activations and arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf, pi, sqrt
from typing import Any

import numpy as np

from lighten.program.ir import Op

Array = np.ndarray[Any, Any]
_erf = np.vectorize(erf, otypes=[np.float64])


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), without overflow at either end."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def softplus(x: Array) -> Array:
    """log(1 + eˣ)."""
    return np.asarray(np.logaddexp(0, x))


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "softplus": softplus,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "neg": np.negative,
    "abs": np.abs,
    "reciprocal": lambda x: 1 / x,
    "square": np.square,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "sign": np.sign,
    "floor": np.floor,
    "round": np.round,
}
PARAMETRIC: Mapping[str, Callable[[Array, Op], Array]] = {
    "leaky_relu": lambda x, op: np.where(x < 0, op["slope"] * x, x),
    "elu": lambda x, op: np.where(x < 0, op["slope"] * np.expm1(np.minimum(x, 0)), x),
    "clip": lambda x, op: np.clip(x, op["low"], op["high"]),
}
ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "equal": lambda a, b: np.equal(a, b).astype(np.result_type(a, b, np.float32)),
    "less": lambda a, b: np.less(a, b).astype(np.result_type(a, b, np.float32)),
}


def activate(op: Op, x: Array) -> Array:
    """The op's fused activation, if it has one."""
    name = op.get("activation", "")
    return FUNCTIONS[name](x) if name else x


def align(x: Array, rank: int) -> Array:
    """`[n, *shape]` with ones after the batch, so that per-sample shapes broadcast from the end."""
    return x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])


def unary(op: Op, x: Array) -> Array:
    """`function` of every element."""
    name = op["function"]
    return PARAMETRIC[name](x, op) if name in PARAMETRIC else FUNCTIONS[name](x)


def binary(op: Op, a: Array, b: Array) -> Array:
    """`function` of two arrays, broadcast per sample, then the activation."""
    rank = max(a.ndim, b.ndim)
    return activate(op, ARITHMETIC[op["function"]](align(a, rank), align(b, rank)))


def where(op: Op, condition: Array, a: Array, b: Array) -> Array:
    """`a` where the condition is not 0, else `b`; broadcast per sample."""
    rank = max(condition.ndim, a.ndim, b.ndim)
    condition, a, b = (align(x, rank) for x in (condition, a, b))
    return np.where(condition != 0, a, b)
