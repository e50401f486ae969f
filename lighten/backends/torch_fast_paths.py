"""The calls into which torch joins whole layers outside training, written out in plain operations.

`nn.TransformerEncoderLayer` and `nn.MultiheadAttention` make them where no gradients are asked for,
so that is what dynamo captures. Calls with a mask are left as they are, and so refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx


def write_out_(graph: fx.Graph) -> None:
    """Replace the joined calls of a graph."""
    for node in graph.nodes:
        if node.target in PLAIN and not _masked(node):
            node.target, node.kwargs = PLAIN[node.target], {}


def encoder_layer(x: Tensor, dim: int, heads: int, *rest: Any) -> Tensor:
    """A whole layer (Vaswani 2017): attention, then two linear layers, each added to its input.

    `[n, tokens, dim]`; normed before each part, or after.
    """
    qkv, out = rest[0:2], rest[2:4]
    gelu, first, epsilon, *pairs = rest[4:15]
    norms, hidden, last = (pairs[0:2], pairs[2:4]), pairs[4:6], pairs[6:8]

    def normed(y: Tensor, which: int) -> Tensor:
        weight, bias = norms[which]
        return F.layer_norm(y, (dim,), weight, bias, epsilon)

    def mixed(y: Tensor) -> Tensor:
        return _attended((y, y, y), heads, qkv, out)

    def apart(y: Tensor) -> Tensor:
        wide = F.linear(y, *hidden)
        return F.linear(F.gelu(wide) if gelu else F.relu(wide), *last)

    if first:
        x = x + mixed(normed(x, 0))
        return x + apart(normed(x, 1))
    x = normed(x + mixed(x), 0)
    return normed(x + apart(x), 1)


def attention(*given: Any) -> tuple[Tensor, None]:
    """Attention of `[n, tokens, dim]`, its weights not asked for."""
    return _attended(given[:3], given[4], given[5:7], given[7:9]), None


def _attended(given: Any, heads: int, qkv: Any, out: Any) -> Tensor:
    parts = zip(given, qkv[0].chunk(3), qkv[1].chunk(3), strict=True)
    wide = (F.linear(x, w, b) for x, w, b in parts)
    q, k, v = (y.reshape(*y.shape[:2], heads, -1).transpose(1, 2) for y in wide)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return F.linear(mixed, *out)


def _masked(node: fx.Node) -> bool:
    """Whether there is a mask, or the attention's weights are read."""
    if node.target is torch._native_multi_head_attention:
        weights = node.args[10] if len(node.args) > 10 else node.kwargs.get("need_weights", True)
        mask = node.args[9] if len(node.args) > 9 else node.kwargs.get("mask")
        return mask is not None or bool(weights)
    return (node.args[18] if len(node.args) > 18 else node.kwargs.get("mask")) is not None


PLAIN: Mapping[Any, Callable[..., Any]] = {
    torch._transformer_encoder_layer_fwd: encoder_layer,
    torch._native_multi_head_attention: attention,
}
