"""Lowering rules for layers with weights: convolution, linear, normalisation, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lighten.network.lower_step import Constant, Flow, Step, Unsupported, numpy

MUCH = float(np.finfo(np.float32).max / 2)  # subtracted from the scores of what is not seen


def spread(sizes: Any, count: int, default: Sequence[int] = ()) -> tuple[int, ...]:
    """`count` integers from one or many: torch writes [2] for [2, 2], and [] for the default."""
    given = (sizes,) if isinstance(sizes, int) else tuple(sizes or default)
    return tuple(int(size) for size in (given * count if len(given) == 1 else given))


def same_pads(kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """padding="same": the odd one goes at the end, as torch does."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))


def spatial(step: Step, x: Flow) -> int:
    """The number of spatial dimensions; an input without a batch is refused."""
    weight = step.constant("weight")
    assert weight is not None
    if x.rank != weight.ndim:
        raise Unsupported("its input has no batch dimension")
    return weight.ndim - 2


def conv(step: Step) -> Flow:
    """Convolution of any number of spatial dimensions."""
    x = step.flow("input", leading=True)
    count = spatial(step, x)
    kernel = tuple(step["weight"].tensor.shape[2:])
    dilations = spread(step["dilation"], count)
    padding = step["padding"]
    if padding == "same":
        pads = same_pads(kernel, dilations)
    else:
        pads = spread(0 if padding == "valid" else padding, count) * 2
    inputs = [x.name, step.weight("weight"), step.weight("bias")]
    return step.emit(
        "conv",
        inputs if inputs[2] else inputs[:2],
        step.shape,
        strides=spread(step["stride"], count),
        pads=pads,
        dilations=dilations,
        groups=step["groups"],
        activation="",
    )


def conv_transpose(step: Step) -> Flow:
    """Transposed convolution."""
    x = step.flow("input", leading=True)
    count = spatial(step, x)
    inputs = [x.name, step.weight("weight"), step.weight("bias")]
    return step.emit(
        "conv_transpose",
        inputs if inputs[2] else inputs[:2],
        step.shape,
        strides=spread(step["stride"], count),
        pads=spread(step["padding"], count) * 2,
        dilations=spread(step["dilation"], count),
        output_padding=spread(step["output_padding"], count),
        groups=step["groups"],
        activation="",
    )


def linear(step: Step) -> Flow:
    """x · wᵀ + b on the last axis."""
    x = step.flow("input")
    x.axis(-1)
    inputs = [x.name, step.weight("weight"), step.weight("bias")]
    return step.emit("linear", inputs if inputs[2] else inputs[:2], step.shape, activation="")


def linear_transposed(step: Step, x: Flow, weight: Constant, bias: str = "") -> Flow:
    """x · w (+ b) with a stored w [in, out]."""
    x.axis(-1)
    stored = step.draft.constant(Constant(weight.tensor.T.contiguous(), f"{weight.name}.T"))
    inputs = [x.name, stored] + ([bias] if bias else [])
    return step.emit("linear", inputs, step.shape, activation="")


def matmul(step: Step) -> Flow:
    """A product of two flows, or of one with a constant matrix."""
    a, b = step["self"], step.arguments.get("other", step.arguments.get("mat2"))
    if isinstance(a, Flow) and isinstance(b, Constant) and b.tensor.ndim == 2:
        return linear_transposed(step, a, b)
    names = []
    for operand in (a, b):
        if isinstance(operand, Constant):
            if operand.tensor.ndim < 2:
                raise Unsupported("a constant operand must be a matrix")
            names.append(step.store("operand", operand.sample(step.rank, step.layout)))
        elif operand.rank < 3 or operand.layout.axis >= operand.rank - 2:
            raise Unsupported("it mixes the samples of a batch")
        else:
            names.append(operand.name)
    return step.emit("matmul", names, step.shape)


def addmm(step: Step) -> Flow:
    """bias + x · w."""
    if step["alpha"] != 1 or step["beta"] != 1 or step.constant("mat2") is None:
        raise Unsupported("only bias + x · w with a constant w is supported")
    bias = step.constant("self")
    if bias is None or bias.ndim != 1:
        raise Unsupported("its bias must be a constant vector")
    return linear_transposed(step, step.flow("mat1"), step["mat2"], step.weight("self"))


def batch_norm(step: Step) -> Flow:
    """Normalisation by running statistics: one scale and one shift per channel."""
    x = step.flow("input", leading=True)
    mean, variance = step.constant("running_mean"), step.constant("running_var")
    if mean is None or variance is None:
        raise Unsupported("it has no running statistics, so its result depends on the batch")
    scale = 1.0 / np.sqrt(numpy(variance).astype(np.float64) + step["eps"])
    weight, bias = step.constant("weight"), step.constant("bias")
    if weight is not None:
        scale = scale * numpy(weight)
    shift = -numpy(mean).astype(np.float64) * scale
    if bias is not None:
        shift = shift + numpy(bias)
    inputs = [x.name, step.store("scale", scale), step.store("shift", shift)]
    return step.emit("affine", inputs, step.shape, axis=0)


def group_norm(step: Step) -> Flow:
    """Normalisation over groups of channels of one sample."""
    return grouped(step, step.flow("input", leading=True), step["num_groups"])


def instance_norm(step: Step) -> Flow:
    """Each channel a group of its own; running statistics, where kept, make it a BatchNorm."""
    if step.constant("running_mean") is not None and not step["use_input_stats"]:
        return batch_norm(step)
    x = step.flow("input", leading=True)
    return grouped(step, x, x.shape[0])


def grouped(step: Step, x: Flow, groups: int) -> Flow:
    """group_norm with its weights written out where they are absent."""
    channels = x.shape[0]
    weight = step.weight("weight") or step.store("weight", np.ones(channels, np.float32))
    bias = step.weight("bias") or step.store("bias", np.zeros(channels, np.float32))
    settings = {"groups": groups, "epsilon": float(step["eps"])}
    return step.emit("group_norm", [x.name, weight, bias], step.shape, **settings)


def layer_norm(step: Step) -> Flow:
    """Normalisation over the trailing axes."""
    return trailing(step, step["eps"], rms=False)


def rms_norm(step: Step) -> Flow:
    """The same without the mean; torch's default ε is that of float32."""
    epsilon = step["eps"]
    return trailing(step, torch.finfo(torch.float32).eps if epsilon is None else epsilon, rms=True)


def trailing(step: Step, epsilon: float, *, rms: bool) -> Flow:
    """layer_norm over as many trailing axes as `normalized_shape` has."""
    x = step.flow("input")
    axes = len(spread(step["normalized_shape"], 1))
    for axis in range(axes):
        x.axis(-1 - axis)
    inputs = [x.name, step.weight("weight"), step.weight("bias") if not rms else ""]
    while not inputs[-1]:
        inputs.pop()
    return step.emit("layer_norm", inputs, step.shape, axes=axes, epsilon=float(epsilon), rms=rms)


def attention(step: Step) -> Flow:
    """scaled_dot_product_attention written out: softmax(q·kᵀ·scale + mask)·v."""
    query, key, value = (part(step, name) for name in ("query", "key", "value"))
    if step["enable_gqa"]:
        key, value = (grouped_heads(step, x, query.shape[-3]) for x in (key, value))
    scale = step["scale"] or 1.0 / math.sqrt(query.shape[-1])
    last = len(key.shape) - 1
    turned = step.transpose(key, [*range(last - 1), last, last - 1])
    shape = (*step.shape[:-1], key.shape[-2])
    scores = step.emit("matmul", [query.name, turned.name], shape)
    scores = step.binary(scores, step.store("scale", np.float32(scale)), "mul", shape)
    mask = attention_mask(step, shape)
    if mask:
        scores = step.binary(scores, mask, "add", shape)
    weights = step.emit("softmax", [scores.name], shape, axis=len(shape) - 1)
    return step.emit("matmul", [weights.name, value.name], step.shape)


def part(step: Step, name: str) -> Flow:
    """Queries, keys or values; those that are the same in every sample are stored."""
    found = step[name]
    if isinstance(found, Constant):
        if name == "key":
            raise Unsupported("its key must depend on the input")
        array = found.sample(step.rank, step.layout)
        return Flow(step.store(name, array), tuple(array.shape), step.layout)
    if found.layout.axis >= found.rank - 2:
        raise Unsupported("it mixes the samples of a batch")
    return step.flow(name)


def grouped_heads(step: Step, x: Flow, count: int) -> Flow:
    """Keys or values whose heads serve several queries each, repeated to `count` heads."""
    axis = len(x.shape) - 3
    where = step.store("heads", np.arange(x.shape[axis]).repeat(count // x.shape[axis]))
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return step.emit("gather", [x.name, where], shape, axis=axis)


def attention_mask(step: Step, shape: Sequence[int]) -> str:
    """What to add to the scores; "" where every key is seen."""
    mask = step["attn_mask"]
    if step["is_causal"]:
        return step.store("mask", unseen(np.tril(np.ones(shape[-2:], bool))))
    if mask is None:
        return ""
    if isinstance(mask, Constant):
        seen = mask.sample(len(shape) + (step.layout.merged == 1), step.layout)
        return step.store("mask", unseen(seen))
    if mask.dtype != torch.bool:
        return str(mask.name)
    hidden = step.binary(mask, step.store("one", np.float32(1)), "sub", mask.shape)
    return step.binary(hidden, step.store("much", np.float32(MUCH)), "mul", mask.shape).name


def unseen(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A truth mask as what is added to scores; other masks are that already."""
    return np.where(mask, 0.0, -MUCH) if mask.dtype == bool else mask


def embedding(step: Step) -> Flow:
    """Rows of a stored table, by index."""
    indices = step.flow("indices")
    return step.emit("gather", [step.weight("weight"), indices.name], step.shape, axis=0)
