"""How each op kind is said in ONNX (opset 17). A row of WRITERS gives the op's result tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from lighten.errors import ProgramError
from lighten.program.ir import Op
from lighten.program.onnx_functions import FUNCTIONS
from lighten.program.onnx_layers import activated, conv, conv_transpose, linear
from lighten.program.onnx_out import BOOL, FLOAT, Writer
from lighten.program.onnx_recurrent import recurrent
from lighten.program.reference.moves import nearest
from lighten.program.shapes import windows
from lighten.program.spec import weights

# onnxruntime fuses zeros around a max pool into the pool, whose own padding is −∞; not these
ALMOST_ZERO = float(np.finfo(np.float32).tiny)


def unary(w: Writer, op: Op) -> str:
    flowing(w, op, 0)
    return FUNCTIONS[op["function"]](w, w.number(op.inputs[0]), op)


def flowing(w: Writer, op: Op, index: int) -> str:
    """Operand `index`, which must have a batch dimension."""
    name = op.inputs[index]
    if name not in w.program.values:
        raise ProgramError(
            f"{op.kind} {op.name!r}: operand {name!r} is stored, which ONNX out cannot say here.",
            "Run fuse() first: it computes what is constant.",
        )
    return w.real(name)


def aligned(w: Writer, op: Op) -> list[str]:
    """Operands as tensors that broadcast from the end, values with their batch in front."""
    rank = max(len(w.shape(name)) for name in op.inputs)
    tensors = []
    for name in op.inputs:
        shape, tensor = w.shape(name), w.number(name)
        if name in w.program.values and len(shape) < rank:
            full = (1,) * (rank - len(shape)) + shape
            tensor = w.node("Reshape", tensor, w.numbers(0, *full))
        tensors.append(tensor)
    return tensors


def binary(w: Writer, op: Op) -> str:
    result = w.node(op["function"].capitalize(), *aligned(w, op))
    if op["function"] in ("equal", "less"):
        result = w.node("Cast", result, to=FLOAT)
    return activated(w, op, result)


def where(w: Writer, op: Op) -> str:
    condition, a, b = aligned(w, op)
    return w.node("Where", w.node("Cast", condition, to=BOOL), a, b)


def matmul(w: Writer, op: Op) -> str:
    return w.node("MatMul", *aligned(w, op))


def per_channel(w: Writer, name: str, axis: int, rank: int) -> str:
    """A stored `[C]`, shaped to broadcast along per-sample `axis`."""
    return w.constant(w.program.arrays[name].decode().reshape(-1, *(1,) * (rank - 1 - axis)))


def affine(w: Writer, op: Op) -> str:
    scale, shift = (
        per_channel(w, name, op["axis"], len(w.shape(op.inputs[0]))) for name in weights(op)
    )
    return w.node("Add", w.node("Mul", flowing(w, op, 0), scale), shift)


def group_norm(w: Writer, op: Op) -> str:
    shape, groups = w.shape(op.inputs[0]), op["groups"]
    x = w.node("Reshape", flowing(w, op, 0), w.numbers(0, groups, prod(shape) // groups))
    ones = w.constant(np.ones(groups, np.float32))
    zeros = w.constant(np.zeros(groups, np.float32))
    x = w.node("InstanceNormalization", x, ones, zeros, epsilon=op["epsilon"])
    x = w.node("Reshape", x, w.numbers(0, *shape))
    for kind, name in zip(("Mul", "Add"), weights(op), strict=True):
        x = w.node(kind, x, per_channel(w, name, 0, len(shape))) if name else x
    return x


def layer_norm(w: Writer, op: Op) -> str:
    scale, shift = weights(op)
    x, tail = flowing(w, op, 0), w.shape(op.inputs[0])[-op["axes"] :]
    if not op["rms"]:
        factor = w.real(scale) if scale else w.constant(np.ones(tail, np.float32))
        inputs = [x, factor, *([w.real(shift)] if shift else [])]
        return w.node("LayerNormalization", *inputs, axis=-op["axes"], epsilon=op["epsilon"])
    power = reduced(w, "ReduceMean", w.node("Mul", x, x), list(range(-op["axes"], 0)), 1)
    root = w.node("Sqrt", w.node("Add", power, w.scalar(op["epsilon"])))
    y = w.node("Div", x, root)
    y = w.node("Mul", y, w.real(scale)) if scale else y
    return w.node("Add", y, w.real(shift)) if shift else y


def softmax(w: Writer, op: Op) -> str:
    return w.node("Softmax", flowing(w, op, 0), axis=op["axis"] + 1)


def pool(w: Writer, op: Op) -> str:
    kernel, size = tuple(op["kernel"]), w.shape(op.inputs[0])[1:]
    rank, strides, dilations = len(size), op["strides"], op["dilations"]
    pads, x = list(op["pads"]), flowing(w, op, 0)
    counts = windows(op, size, kernel, op["ceil"])
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    # what the last window reaches beyond the padding, which only `ceil` allows
    over = [
        max((counts[a] - 1) * strides[a] + reach[a] - size[a] - pads[a] - pads[rank + a], 0)
        for a in range(rank)
    ]
    extra: dict[str, Any] = {"dilations": list(dilations)} if set(dilations) != {1} else {}
    if op["function"] == "average":
        if extra:
            raise ProgramError(f"{op.kind} {op.name!r}: ONNX has no dilated average pool.")
        extra["count_include_pad"] = int(op["include_pad"] and not any(over))
        if op["include_pad"] and any(over):
            edges = w.numbers(0, 0, *pads[:rank], 0, 0, *pads[rank:])
            x, pads = w.node("Pad", x, edges, w.scalar(0.0)), [0] * (2 * rank)
    pads = [*pads[:rank], *(p + o for p, o in zip(pads[rank:], over, strict=True))]
    kind = {"max": "MaxPool", "average": "AveragePool"}[op["function"]]
    return w.node(kind, x, kernel_shape=list(kernel), strides=list(strides), pads=pads, **extra)


def reduce(w: Writer, op: Op) -> str:
    x, shape = flowing(w, op, 0), w.shape(op.inputs[0])
    axes = sorted(op["axes"])
    spatial = 1 < len(shape) <= 4 and axes == list(range(1, len(shape)))
    if op["function"] == "mean" and spatial:
        y = w.node("GlobalAveragePool", x)
        if op["keepdims"]:
            return y
        # rounded before the flattening as well as after, so that both steps stay in int8
        return w.node("Flatten", w.rounded(y, w.program.values[op.output]))
    behind, keep = [axis + 1 for axis in axes], int(op["keepdims"])
    if op["function"] == "sum":
        return w.node("ReduceSum", x, w.numbers(*behind), keepdims=keep)
    return reduced(w, {"mean": "ReduceMean", "max": "ReduceMax"}[op["function"]], x, behind, keep)


def reduced(w: Writer, kind: str, x: str, axes: list[int], keep: int) -> str:
    """A reduction whose axes became an input in opset 18."""
    if w.opset < 18:
        return w.node(kind, x, axes=axes, keepdims=keep)
    return w.node(kind, x, w.numbers(*axes), keepdims=keep)


def concat(w: Writer, op: Op) -> str:
    sample = next((name for name in op.inputs if name in w.program.values), None)
    parts = []
    for name in op.inputs:
        tensor = w.real(name)
        if name not in w.program.values and sample is not None:  # repeated for every sample
            batch = w.node("Shape", w.real(sample), start=0, end=1)
            full = w.node("Concat", batch, w.numbers(*w.shape(name)), axis=0)
            tensor = w.node("Expand", tensor, full)
        parts.append(tensor)
    return w.node("Concat", *parts, axis=op["axis"] + 1)


def slice_(w: Writer, op: Op) -> str:
    extent = w.shape(op.inputs[0])[op["axis"]]
    start, stop, step = slice(op["start"], op["stop"], op["step"]).indices(extent)
    bounds = [w.numbers(n) for n in (start, stop, op["axis"] + 1, step)]
    return w.node("Slice", flowing(w, op, 0), *bounds)


def pad(w: Writer, op: Op) -> str:
    rank = len(op["pads"]) // 2
    edges = w.numbers(0, *op["pads"][:rank], 0, *op["pads"][rank:])
    pooled = any(
        reader.kind == "pool" and reader["function"] == "max" and op.output in reader.inputs
        for reader in w.program.ops
    )
    value = op["value"] or (ALMOST_ZERO if pooled else 0.0)
    return w.node("Pad", flowing(w, op, 0), edges, w.scalar(value))


def reshape(w: Writer, op: Op) -> str:
    if len(op["shape"]) == 1:
        return w.node("Flatten", flowing(w, op, 0))
    return w.node("Reshape", flowing(w, op, 0), w.numbers(0, *op["shape"]))


def transpose(w: Writer, op: Op) -> str:
    order = [0, *(axis + 1 for axis in op["permutation"])]
    return w.node("Transpose", flowing(w, op, 0), perm=order)


def expand(w: Writer, op: Op) -> str:
    shape, x = w.shape(op.inputs[0]), flowing(w, op, 0)
    ones = (1,) * (len(op["shape"]) - len(shape))
    x = w.node("Reshape", x, w.numbers(0, *ones, *shape)) if ones else x
    return w.node("Expand", x, w.numbers(1, *op["shape"]))


def resize(w: Writer, op: Op) -> str:
    x, old = flowing(w, op, 0), w.shape(op.inputs[0])[1:]
    if op["mode"] == "nearest" and any(new % o for new, o in zip(op["size"], old, strict=True)):
        # runtimes round such ratios differently: take the samples by their number
        for axis, (new, extent) in enumerate(zip(op["size"], old, strict=True), start=2):
            x = w.node("Gather", x, w.constant(nearest(extent, new)), axis=axis)
        return x
    sizes = w.node("Concat", w.node("Shape", x, start=0, end=2), w.numbers(*op["size"]), axis=0)
    corners = "align_corners" if op["align_corners"] else "half_pixel"
    how = {"mode": "linear", "coordinate_transformation_mode": corners}
    if op["mode"] == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        how["nearest_mode"] = "floor"
    return w.node("Resize", x, "", "", sizes, **how)


def gather(w: Writer, op: Op) -> str:
    table, indices = op.inputs
    if table in w.program.values and indices in w.program.values:
        if op["axis"]:
            raise ProgramError(f"gather {op.name!r}: table or indices must be stored.")
        places = w.node("Unsqueeze", w.index(indices), w.numbers(-1))
        return w.node("GatherND", w.real(table), places, batch_dims=1)
    if table in w.program.values:
        return w.node("Gather", w.real(table), w.index(indices), axis=op["axis"] + 1)
    y = w.node("Gather", w.real(table), w.index(indices), axis=op["axis"])
    if op["axis"] == 0:
        return y
    rank = len(w.shape(op.output)) + 1
    order = [op["axis"], *(axis for axis in range(rank) if axis != op["axis"])]
    return w.node("Transpose", y, perm=order)


def cast(w: Writer, op: Op) -> str:
    return w.real(op.inputs[0])


WRITERS: Mapping[str, Callable[[Writer, Op], str]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "matmul": matmul,
    "recurrent": recurrent,
    "affine": affine,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "softmax": softmax,
    "unary": unary,
    "binary": binary,
    "where": where,
    "pool": pool,
    "reduce": reduce,
    "concat": concat,
    "slice": slice_,
    "pad": pad,
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "resize": resize,
    "gather": gather,
    "cast": cast,
}
