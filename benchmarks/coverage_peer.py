"""Torch-Pruning on a network, used as its own examples use it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peers import module
from torch import Tensor, nn

CLASSES = 1000
Heads = dict[nn.Module, int]


@dataclass(frozen=True)
class Usage:
    """What the library asks its user to say about a network.

    `last` names the layers that make the outputs, which must stay; `heads` finds the projections of
    every attention with their number of heads; `options` are further arguments of the pruner;
    `after` mends the attributes that a forward pass relies on, as its examples do.
    """

    last: Sequence[str] = ()
    heads: Callable[[nn.Module], Heads] = field(default=lambda net: {})
    options: Callable[[nn.Module, Any], dict[str, Any]] = field(default=lambda net, tool: {})
    after: Callable[[nn.Module, Any], None] = field(default=lambda net, pruner: None)


def classifiers(net: nn.Module) -> list[nn.Module]:
    """Layers with ImageNet's thousand outputs, by which its examples know the last layer."""
    layers = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return [m for m in layers if len(m.weight) == CLASSES]


def pruned(net: nn.Module, inputs: tuple[Tensor, ...], ratio: float, usage: Usage) -> nn.Module:
    """A copy of `net` without `ratio` of each group's channels, the smallest by magnitude."""
    tool = module("torch_pruning")
    small = copy.deepcopy(net).eval()
    for parameter in small.parameters():
        parameter.requires_grad_(True)
    one = tuple(x[:1] for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tool.pruner.BasePruner(
            small,
            one,  # a tuple: of a lone tensor it would trace the sample without its batch dimension
            importance=tool.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[*map(small.get_submodule, usage.last), *classifiers(small)],
            # the library's defaults are dicts that all pruners of a process would share
            in_channel_groups={},
            out_channel_groups={},
            num_heads=usage.heads(small),
            **usage.options(small, tool),
        )
        for group in pruner.step(interactive=True):
            group.prune()
    usage.after(small, pruner)
    return small
