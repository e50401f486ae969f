"""How Torch-Pruning's examples use it on networks that need more than their last layer named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coverage_peer import Heads, Usage
from torch import nn

RATIO = 0.3
ATTENTION = nn.MultiheadAttention
PROJECTIONS = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("qkv",))
COUNTS = ("num_attention_heads", "num_heads")


def attentions(net: nn.Module) -> list[tuple[nn.Module, tuple[nn.Module, ...]]]:
    """Every module that owns query, key and value projections, with them."""
    found = []
    for part in net.modules():
        for names in PROJECTIONS:
            layers = tuple(getattr(part, name, None) for name in names)
            if all(isinstance(layer, nn.Linear) for layer in layers):
                found.append((part, layers))
    return found


def heads(net: nn.Module) -> Heads:
    """Projection → its number of heads, which is what the library asks for."""
    found = {}
    for part, layers in attentions(net):
        for layer in layers:
            config = getattr(part, "config", None)
            count = next((getattr(part, name) for name in COUNTS if hasattr(part, name)), None)
            width = getattr(part, "head_dim", None)
            found[layer] = count or layer.out_features // width or config.num_attention_heads
    return found


def mend(net: nn.Module, pruner: Any) -> None:
    """Write the new counts and widths where a forward pass reads them."""
    for part, layers in attentions(net):
        count = pruner.num_heads[layers[0]]
        width = layers[0].out_features // (3 if len(layers) == 1 else 1)
        values = {
            **dict.fromkeys(COUNTS, count),
            **dict.fromkeys(("attention_head_size", "head_dim"), width // count),
            **dict.fromkeys(("all_head_size", "attn_dim"), width),
        }
        for name, value in values.items():
            if hasattr(part, name):
                setattr(part, name, value)
        if hasattr(part, "num_key_value_groups"):
            part.num_key_value_groups = count // pruner.num_heads[layers[1]]


def _rounded(net: Any, tool: Any) -> dict[str, Any]:
    return {"round_to": net.encoder.layers[0].num_heads}


def _hidden(net: Any, pruner: Any) -> None:
    net.hidden_dim = net.conv_proj.out_channels


def _stock_heads(net: nn.Module) -> Heads:
    """PyTorch's own attention, whose projections lie in one module."""
    return {part: part.num_heads for part in net.modules() if isinstance(part, ATTENTION)}


def _whole_heads(net: nn.Module, tool: Any) -> dict[str, Any]:
    return {"prune_head_dims": False, "prune_num_heads": True, "head_pruning_ratio": RATIO}


def _merging(net: nn.Module, tool: Any) -> dict[str, Any]:
    """A rule for the four neighbours that Swin's patch merging puts side by side."""
    kind = type(next(part for part in net.modules() if type(part).__name__ == "SwinPatchMerging"))

    class Merging(tool.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
            tool.prune_linear_out_channels(layer.reduction, idxs)
            return layer

        def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
            width = self.get_in_channels(layer)
            places = [i + part * width for part in range(4) for i in idxs]
            tool.prune_linear_in_channels(layer.reduction, places)
            tool.prune_layernorm_out_channels(layer.norm, places)
            return layer

        def get_out_channels(self, layer: Any) -> Any:
            return layer.reduction.out_features

        def get_in_channels(self, layer: Any) -> Any:
            return layer.reduction.in_features // 4

    return {
        "customized_pruners": {kind: Merging()},
        "root_module_types": (nn.Linear, nn.LayerNorm, kind),
    }


def _scaled(net: nn.Module, tool: Any) -> dict[str, Any]:
    """A rule for the layer of one's own."""
    from coverage_small import Scaled

    class Rule(tool.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
            gone = set(idxs)
            keep = [i for i in range(len(layer.scale)) if i not in gone]
            layer.scale = self._prune_parameter_and_grad(layer.scale, keep, 0)
            layer.shift = self._prune_parameter_and_grad(layer.shift, keep, 0)
            tool.prune_linear_in_channels(layer.mix, idxs)
            tool.prune_linear_out_channels(layer.mix, idxs)
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: Any) -> Any:
            return len(layer.scale)

        get_in_channels = get_out_channels

    return {"customized_pruners": {Scaled: Rule()}}


SCALED = Usage(last=("last",), options=_scaled)
VIT = Usage(options=_rounded, after=_hidden)
VIT_TOLD = Usage(heads=_stock_heads)
VIT_HF = Usage(last=("net.classifier",), heads=heads, after=mend)
SWIN = Usage(last=("net.classifier",), heads=heads, options=_merging, after=mend)
BERT = Usage(last=("net.pooler",), heads=heads, options=_whole_heads, after=mend)
LLAMA = Usage(last=("net.lm_head",), heads=heads, options=_whole_heads, after=mend)
TIMM = Usage(heads=heads, after=mend)
