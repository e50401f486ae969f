"""Layers with weights in ONNX, written so that runtimes recognise their int8 form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lighten.formats.integer import Float32
from lighten.program.ir import Op, Value
from lighten.program.onnx_functions import FUNCTIONS
from lighten.program.onnx_out import Writer
from lighten.program.spec import weights

SATURATING = ("relu", "relu6")


def sliding(op: Op) -> dict[str, Any]:
    """The attributes that conv and its transpose share."""
    return {
        "strides": list(op["strides"]),
        "pads": list(op["pads"]),
        "dilations": list(op["dilations"]),
        "group": op["groups"],
    }


def _layer(w: Writer, op: Op, kind: str, **attributes: Any) -> str:
    weight, bias = weights(op)
    inputs = [w.real(op.inputs[0]), w.real(weight)]
    if bias:
        inputs.append(w.bias(op.inputs[0], w.program.arrays[weight], bias))
    return activated(w, op, w.node(kind, *inputs, **attributes))


def conv(w: Writer, op: Op) -> str:
    kernel = list(w.shape(op.inputs[1])[2:])
    return _layer(w, op, "Conv", kernel_shape=kernel, **sliding(op))


def conv_transpose(w: Writer, op: Op) -> str:
    more = {"output_padding": list(op["output_padding"])} if any(op["output_padding"]) else {}
    kernel = list(w.shape(op.inputs[1])[2:])
    return _layer(w, op, "ConvTranspose", kernel_shape=kernel, **sliding(op), **more)


def linear(w: Writer, op: Op) -> str:
    if len(w.shape(op.inputs[0])) == 1:
        return _layer(w, op, "Gemm", transB=1)
    weight, bias = weights(op)
    y = w.node("MatMul", w.real(op.inputs[0]), transposed_weight(w, weight))
    return activated(w, op, w.node("Add", y, w.real(bias)) if bias else y)


def transposed_weight(w: Writer, name: str) -> str:
    """[out, in] stored as [in, out], its scale along axis 1."""
    stored = w.program.arrays[name]
    codes = w.constant(np.ascontiguousarray(stored.codes.T))
    if stored.params is None:
        return codes
    turned = replace(stored.params, axis=1)
    return w.decoded(codes, replace(stored, params=turned))


def activated(w: Writer, op: Op, x: str) -> str:
    """The op's fused activation after `x`."""
    name = op.get("activation", "")
    value = w.program.values[op.output]
    if not name or implied(name, value):
        return x
    if name in SATURATING:
        # rounding before a saturation as well changes nothing, and shows the int8 layer
        x = w.rounded(x, value)
    return FUNCTIONS[name](w, x, op)


def implied(activation: str, value: Value) -> bool:
    """Whether rounding to the value's codes saturates just where the activation does.

    The node is left out then: with it between, onnxruntime does not see an int8 convolution.
    """
    if value.params is None or isinstance(value.format, Float32) or value.params.axis is not None:
        return False
    ends = np.array([value.format.low, value.format.high])
    low, high = value.format.decode(ends, value.params)
    ceiling = {"relu": np.inf, "relu6": 6 * (1 + 1e-6)}.get(activation, -1.0)
    return bool(low == 0 and high <= ceiling)
