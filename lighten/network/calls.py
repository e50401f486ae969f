"""One way to look at a call with weights: as a module, or as a function with free weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

aten = torch.ops.aten

# function → kind; the rest of the arguments are read by name from the op's schema
FUNCTIONS: dict[Any, str] = {
    **{getattr(aten, f"conv{n}d").default: "conv" for n in (1, 2, 3)},
    **{getattr(aten, f"conv{n}d").padding: "conv" for n in (1, 2, 3)},
    aten.conv_transpose1d.default: "conv_transpose",
    aten.conv_transpose2d.input: "conv_transpose",
    aten.conv_transpose3d.input: "conv_transpose",
    aten.linear.default: "linear",
    aten.addmm.default: "projection",
    aten.matmul.default: "projection",
    aten.mm.default: "projection",
    aten.batch_norm.default: "channelwise",
    aten.instance_norm.default: "channelwise",
    aten.prelu.default: "channelwise",
    aten.group_norm.default: "group_norm",
    aten.layer_norm.default: "layer_norm",
    aten.rms_norm.default: "layer_norm",
    aten.embedding.default: "embedding",
}
MODULES: tuple[tuple[Any, str], ...] = (
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), "conv"),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), "conv_transpose"),
    (nn.Linear, "linear"),
    (nn.modules.batchnorm._BatchNorm, "channelwise"),
    (nn.GroupNorm, "group_norm"),
    (nn.LayerNorm, "layer_norm"),
    (nn.Embedding, "embedding"),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), "elementwise"),
)
# what a projection (x · w, with w stored as [in, out]) calls its arguments
PROJECTION = {"mat1": "input", "mat2": "weight", "other": "weight"}
WEIGHTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Call:
    """A node with weights: its `kind`, the node it reads, the names of its weights by role.

    A "projection" is a linear layer whose weight is [in, out].

    `weights` maps "weight", "bias", "running_mean", "running_var" to full parameter names; a role
    whose tensor is computed rather than stored is in `computed`.
    """

    kind: str
    input: fx.Node
    weights: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    layer: str = ""


def bound(node: fx.Node) -> dict[str, Any]:
    """An aten call's arguments by name, defaults filled in."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((a.name for a in arguments), node.args, strict=False))
    return {a.name: given.get(a.name, node.kwargs.get(a.name, a.default_value)) for a in arguments}


def as_call(node: fx.Node, modules: Mapping[str, nn.Module]) -> Call | None:
    """The node as a call with weights, or None where it is none."""
    if node.op == "call_module":
        return _of_module(node, modules[str(node.target)])
    if node.op != "call_function" or node.target not in FUNCTIONS:
        return None
    call = _of_function(node)
    free = call.kind == "projection" and not _is_stored_matrix(call, modules)
    return None if free else call


def _is_stored_matrix(call: Call, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a product's second operand is a stored parameter [in, out]."""
    if "weight" not in call.weights:
        return False
    owner, _, leaf = call.weights["weight"].rpartition(".")
    return bool(getattr(modules[owner], leaf).ndim == 2)


def _of_module(node: fx.Node, module: nn.Module) -> Call | None:
    kind = next((kind for types, kind in MODULES if isinstance(module, types)), None)
    if kind is None or not isinstance(node.args[0], fx.Node):
        return None
    weights = {
        role: f"{node.target}.{role}" for role in WEIGHTS if getattr(module, role, None) is not None
    }
    settings = {
        "groups": getattr(module, "num_groups", getattr(module, "groups", 1)),
        "normalized": len(getattr(module, "normalized_shape", ())),
    }
    return Call(kind, node.args[0], weights, settings, layer=str(node.target))


def _of_function(node: fx.Node) -> Call:
    named = bound(node)
    if FUNCTIONS[node.target] == "projection":
        named = {"bias" if "mat1" in named else "input": named["self"]} | {
            PROJECTION[name]: value for name, value in named.items() if name in PROJECTION
        }
    values = {role: named.get(role) for role in WEIGHTS}
    stored = {
        role: str(value.target)
        for role, value in values.items()
        if isinstance(value, fx.Node) and value.op == "get_attr"
    }
    computed = tuple(r for r, v in values.items() if isinstance(v, fx.Node) and r not in stored)
    source = next(named[name] for name in ("indices", "input", "self") if name in named)
    settings = {
        "groups": named.get("num_groups", named.get("groups", 1)),
        "normalized": len(named.get("normalized_shape") or ()),
    }
    layer = stored.get("weight", node.name).removesuffix(".weight")
    return Call(FUNCTIONS[node.target], source, stored, settings, computed, layer)
