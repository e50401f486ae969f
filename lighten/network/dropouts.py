"""Dropout kept through torch's functionalisation, which would remove it without a word."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
KINDS = {
    "dropout": aten.dropout.default,
    "feature_dropout": aten.feature_dropout.default,
    "alpha_dropout": aten.alpha_dropout.default,
    "feature_alpha_dropout": aten.feature_alpha_dropout.default,
}


def hide_(graph: fx.Graph) -> None:
    """Put an op that torch does not know in each dropout's place."""
    names = {target: name for name, target in KINDS.items()}
    for node in graph.nodes:
        if node.target in names:
            x, p, train = node.args
            node.args = (x, float(p), train, names[node.target])
            node.target = torch.ops.lighten.dropped.default


def show_(graph: fx.Graph) -> None:
    """Put the dropouts back."""
    for node in graph.nodes:
        if node.target is torch.ops.lighten.dropped.default:
            *arguments, name = node.args
            node.target, node.args = KINDS[name], tuple(arguments)


@torch.library.custom_op("lighten::dropped", mutates_args=())
def _dropped(x: Tensor, p: float, train: bool, kind: str) -> Tensor:
    return x.clone()


@_dropped.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


_dropped.register_autograd(lambda ctx, gradient: (gradient, None, None, None))
