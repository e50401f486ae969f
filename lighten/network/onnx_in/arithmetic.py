"""ONNX ops that compute numbers, by torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce as fold
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lighten.formats.integer import Integer, Scale
from lighten.network.fake_quantize import fake_quantize
from lighten.network.onnx_in.arguments import Arguments, NotKnown

Rule = Callable[[Arguments], Any]


def unary(function: Callable[[Tensor], Tensor]) -> Rule:
    """One function of every number."""
    return lambda a: function(a.tensor())


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    """Two or more operands, from the left."""
    return lambda a: fold(function, [a.tensor(i) for i in range(len(a.values))])


def _clip(a: Arguments) -> Tensor:
    low, high = (
        float(a.known(i).reshape(-1)[0]) if a.has(i) else a.get(name)
        for i, name in ((1, "min"), (2, "max"))
    )
    return torch.clamp(a.tensor(), low, high) if (low, high) != (None, None) else a.tensor()


def _hard_sigmoid(a: Arguments) -> Tensor:
    return torch.clamp(a.tensor() * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1)


def _elu(a: Arguments) -> Tensor:
    return F.elu(a.tensor(), a.get("alpha", 1.0))


def _gelu(a: Arguments) -> Tensor:
    return F.gelu(a.tensor(), approximate=a.get("approximate", "none"))


def _prelu(a: Arguments) -> Tensor:
    x, slope = a.tensor(), a.tensor(1)
    return torch.relu(x) - slope * torch.relu(-x)


def _gemm(a: Arguments) -> Tensor:
    x = a.tensor(0).t() if a.get("transA") else a.tensor(0)
    y = a.tensor(1).t() if a.get("transB") else a.tensor(1)
    result: Tensor = a.get("alpha", 1.0) * (x @ y)
    return result + a.get("beta", 1.0) * a.tensor(2) if a.has(2) else result


def _softmax(function: Callable[..., Tensor]) -> Rule:
    """Along one axis; before opset 13, over all axes from it on."""

    def rule(a: Arguments) -> Tensor:
        x = a.tensor()
        if a.opset >= 13:
            return function(x, dim=a.get("axis", -1))
        axis = a.get("axis", 1) % x.ndim
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return rule


def _reduction(function: Callable[..., Tensor]) -> Rule:
    def rule(a: Arguments) -> Tensor:
        x, axes = a.tensor(), a.setting("axes", 1)
        if axes is None or not len(axes):
            if a.get("noop_with_empty_axes"):
                return x
            axes = range(x.ndim)
        return function(x, tuple(axes), bool(a.get("keepdims", 1)))

    return rule


def _largest(a: Arguments) -> Tensor:
    if a.get("select_last_index"):
        raise NotKnown("ArgMax of the last of equal numbers is not supported")
    return torch.argmax(a.tensor(), a.get("axis", 0), bool(a.get("keepdims", 1)))


def _layer_norm(a: Arguments) -> Tensor:
    x = a.tensor()
    axis = a.get("axis", -1) % x.ndim
    scale = a.tensor(1)
    bias = a.tensor(2) if a.has(2) else None
    return F.layer_norm(x, x.shape[axis:], scale, bias, a.get("epsilon", 1e-5))


def _norm(order: int) -> Rule:
    return _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, order, axes, keep))


def _cumsum(a: Arguments) -> Tensor:
    if a.get("exclusive") or a.get("reverse"):
        raise NotKnown("an exclusive or reverse CumSum is not supported")
    return torch.cumsum(a.tensor(), int(a.known(1).reshape(-1)[0]))


def _mod(a: Arguments) -> Tensor:
    return torch.fmod(a.tensor(0), a.tensor(1)) if a.get("fmod") else a.tensor(0) % a.tensor(1)


DTYPES = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float32,
    16: torch.float32,
}


def _cast(a: Arguments) -> Tensor:
    if a["to"] not in DTYPES:
        raise NotKnown(f"a cast to element type {a['to']} is not supported")
    return a.tensor().to(DTYPES[a["to"]])


def quantize(a: Arguments) -> Tensor:
    """The real numbers that the codes stand for: rounded to the format, and still reals."""
    x, scale = a.tensor(), a.known(1)
    zero = a.known(2) if a.has(2) else np.zeros(scale.shape, np.uint8)
    axis = a.get("axis", 1) % x.ndim if scale.size > 1 else None
    form = Integer(8 * zero.dtype.itemsize, zero.dtype.kind == "i", False)
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return fake_quantize(x, form, Scale(torch.as_tensor(scale), torch.as_tensor(zero), axis))


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """Whole numbers are divided towards zero."""
    whole = not (x.is_floating_point() or y.is_floating_point())
    return torch.div(x, y, rounding_mode="trunc" if whole else None)


ARITHMETIC: Mapping[str, Rule] = {
    "Relu": unary(torch.relu),
    "Sigmoid": unary(torch.sigmoid),
    "Tanh": unary(torch.tanh),
    "Exp": unary(torch.exp),
    "Log": unary(torch.log),
    "Sqrt": unary(torch.sqrt),
    "Erf": unary(torch.erf),
    "Abs": unary(torch.abs),
    "Neg": unary(torch.neg),
    "Reciprocal": unary(torch.reciprocal),
    "Sin": unary(torch.sin),
    "Cos": unary(torch.cos),
    "Floor": unary(torch.floor),
    "Ceil": unary(lambda x: -torch.floor(-x)),
    "Round": unary(torch.round),
    "Sign": unary(torch.sign),
    "Softplus": unary(F.softplus),
    "Softsign": unary(lambda x: x / (1 + x.abs())),
    "HardSwish": unary(F.hardswish),
    "Mish": unary(F.mish),
    "Swish": lambda a: a.tensor() * torch.sigmoid(a.get("alpha", 1.0) * a.tensor()),
    "Identity": unary(lambda x: x),
    "Dropout": unary(lambda x: x),
    "LeakyRelu": lambda a: F.leaky_relu(a.tensor(), a.get("alpha", 0.01)),
    "HardSigmoid": _hard_sigmoid,
    "Elu": _elu,
    "Gelu": _gelu,
    "PRelu": _prelu,
    "Clip": _clip,
    "Add": binary(torch.add),
    "Sum": binary(torch.add),
    "Sub": binary(torch.sub),
    "Mul": binary(torch.mul),
    "Div": binary(_divide),
    "Max": binary(torch.maximum),
    "Min": binary(torch.minimum),
    "Pow": lambda a: torch.pow(a.tensor(0), _exponent(a)),
    "Mod": _mod,
    "Equal": binary(torch.eq),
    "Less": binary(torch.lt),
    "LessOrEqual": binary(torch.le),
    "Greater": binary(torch.gt),
    "GreaterOrEqual": binary(torch.ge),
    "And": binary(torch.logical_and),
    "Or": binary(torch.logical_or),
    "Not": unary(torch.logical_not),
    "IsNaN": unary(torch.isnan),
    "Where": lambda a: torch.where(a.tensor(0), a.tensor(1), a.tensor(2)),
    "Cast": _cast,
    "MatMul": binary(torch.matmul),
    "Gemm": _gemm,
    "Einsum": lambda a: torch.einsum(a["equation"], [a.tensor(i) for i in range(len(a.values))]),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "LayerNormalization": _layer_norm,
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceL2": _norm(2),
    "ReduceL1": _norm(1),
    "ArgMax": _largest,
    "CumSum": _cumsum,
    "QuantizeLinear": quantize,
    "DequantizeLinear": lambda a: a.tensor(),
}


def _exponent(a: Arguments) -> Any:
    """A known exponent as a number, so that squares and roots are seen as such."""
    value = a.values[1]
    if isinstance(value, Tensor) or value is None or value.size > 1:
        return a.tensor(1)
    return float(value.reshape(-1)[0])
