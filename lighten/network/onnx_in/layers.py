"""ONNX nodes with weights as torch modules, so that they can be cut and trained as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lighten.network.onnx_in.arguments import Arguments, Known, Node
from lighten.network.onnx_in.recurrent import KINDS, call_recurrent, recurrent

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
Weights = Sequence[Known | None]


def _filled(module: nn.Module, **arrays: Known | None) -> nn.Module:
    """The module with these numbers, in their own precision's float32."""
    with torch.no_grad():
        for name, array in arrays.items():
            if array is not None:
                getattr(module, name).copy_(torch.from_numpy(np.array(array, np.float32)))
    return module


def _pairs(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Padding at the begin and at the end of each spatial dimension; None for what must be seen
    with the input's size.
    """
    mode = node.get("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID"):
        return None
    pads = tuple(node.get("pads") or (0,) * (2 * rank)) if mode == "NOTSET" else (0,) * (2 * rank)
    return pads[:rank], pads[rank:]


def conv(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """Conv with equal padding on both sides of a dimension."""
    weight, bias = weights[1], weights[2] if len(weights) > 2 else None
    if weight is None or (len(node.inputs) > 2 and node.inputs[2] and bias is None):
        return None
    rank = weight.ndim - 2
    pads = _pairs(node, rank)
    if rank not in CONVS or pads is None or pads[0] != pads[1]:
        return None
    groups = int(node.get("group", 1))
    module = CONVS[rank](
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2:],
        stride=tuple(node.get("strides") or (1,) * rank),  # type: ignore[arg-type]
        padding=pads[0],  # type: ignore[arg-type]
        dilation=tuple(node.get("dilations") or (1,) * rank),  # type: ignore[arg-type]
        groups=groups,
        bias=bias is not None,
    )
    return _filled(module, weight=weight, bias=bias)


def conv_transpose(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """ConvTranspose with equal padding on both sides and no output shape."""
    weight, bias = weights[1], weights[2] if len(weights) > 2 else None
    if weight is None or node.get("output_shape"):
        return None
    rank = weight.ndim - 2
    pads = _pairs(node, rank)
    if rank not in TRANSPOSED or pads is None or pads[0] != pads[1]:
        return None
    groups = int(node.get("group", 1))
    module = TRANSPOSED[rank](
        weight.shape[0],
        weight.shape[1] * groups,
        weight.shape[2:],
        stride=tuple(node.get("strides") or (1,) * rank),  # type: ignore[arg-type]
        padding=pads[0],  # type: ignore[arg-type]
        output_padding=tuple(node.get("output_padding") or (0,) * rank),  # type: ignore[arg-type]
        dilation=tuple(node.get("dilations") or (1,) * rank),  # type: ignore[arg-type]
        groups=groups,
        bias=bias is not None,
    )
    return _filled(module, weight=weight, bias=bias)


def gemm(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """Gemm with a stored second matrix."""
    weight, bias = weights[1], weights[2] if len(weights) > 2 else None
    if weight is None or node.get("transA") or (len(node.inputs) > 2 and bias is None):
        return None
    weight = weight if node.get("transB") else weight.T
    weight = weight * np.float32(node.get("alpha", 1.0))
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    if bias is not None:
        bias = np.broadcast_to(bias * np.float32(node.get("beta", 1.0)), weight.shape[:1])
    return _filled(module, weight=weight, bias=bias)


def matmul(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """MatMul with a stored second matrix."""
    weight = weights[1]
    if weight is None or weight.ndim != 2 or weights[0] is not None:
        return None
    return _filled(nn.Linear(weight.shape[0], weight.shape[1], bias=False), weight=weight.T)


def batch_norm(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """BatchNormalization with stored statistics."""
    rank = ranks.get(node.inputs[0], 4)
    if any(array is None for array in weights[1:5]) or rank not in NORMS:
        return None
    scale, shift, mean, variance = weights[1:5]
    assert scale is not None
    module = NORMS[rank](
        len(scale), float(node.get("epsilon", 1e-5)), 1 - node.get("momentum", 0.9)
    )
    return _filled(module, weight=scale, bias=shift, running_mean=mean, running_var=variance)


def layer_norm(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """LayerNormalization over trailing axes that a stored scale spans."""
    scale, shift = weights[1], weights[2] if len(weights) > 2 else None
    axis, rank = int(node.get("axis", -1)), ranks.get(node.inputs[0])
    axes = -axis if axis < 0 else (rank or 0) - axis
    if scale is None or scale.ndim != axes or len([o for o in node.outputs if o]) > 1:
        return None
    module = nn.LayerNorm(scale.shape, float(node.get("epsilon", 1e-5)), bias=shift is not None)
    return _filled(module, weight=scale, bias=shift)


def embedding(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """Gather of rows of a stored float table."""
    table = weights[0]
    flows = len(weights) > 1 and weights[1] is None
    if table is None or not flows or table.ndim != 2 or node.get("axis", 0) != 0:
        return None
    return _filled(nn.Embedding(*table.shape), weight=table) if table.dtype.kind == "f" else None


def group_norm(node: Node, weights: Weights, ranks: Mapping[str, int]) -> nn.Module | None:
    """InstanceNormalization and GroupNormalization with stored scales, one per channel."""
    scale, shift = weights[1], weights[2]
    if scale is None or shift is None:
        return None
    groups = int(node.get("num_groups", len(scale)))
    if node.kind == "GroupNormalization" and len(scale) == groups:
        return None
    module = nn.GroupNorm(groups, len(scale), float(node.get("epsilon", 1e-5)))
    return _filled(module, weight=scale, bias=shift)


Builder = Callable[[Node, Weights, Mapping[str, int]], nn.Module | None]
# kind → how its module is built from stored weights (None: not here, but as a function)
LAYERS: Mapping[str, Builder] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": group_norm,
    "GroupNormalization": group_norm,
    "Gather": embedding,
    **dict.fromkeys(KINDS, recurrent),
}


def call_layer(a: Arguments) -> Tensor | list[Tensor]:
    """The node's module on its flowing input."""
    assert a.layer is not None
    if isinstance(a.layer, nn.RNNBase):
        return call_recurrent(a)
    result: Any = a.layer(a.tensor(1 if isinstance(a.layer, nn.Embedding) else 0))
    return result  # type: ignore[no-any-return]
