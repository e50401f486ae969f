"""Regions of a traced graph that run under a switch (`no_grad`, autocast), written out in place."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from lighten.errors import NetworkError

aten = torch.ops.aten
NO_GRAD = "wrap_with_set_grad_enabled"
AUTOCAST = "wrap_with_autocast"


def without_regions(module: fx.GraphModule) -> None:
    """Every region's ops take the place of the call; results of a `no_grad` region are detached.

    NetworkError for an autocast region that is switched on: its numbers are not float32's.
    """
    graph = module.graph
    while regions := [node for node in graph.nodes if _switch(node)]:
        for node in regions:
            _inline(module, node)
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users and str(node.target).startswith("submod"):
            graph.erase_node(node)


def _switch(node: fx.Node) -> str:
    """Which kind of region the node calls; "" for anything else."""
    name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
    return name if name in (NO_GRAD, AUTOCAST) else ""


def _inline(module: fx.GraphModule, node: fx.Node) -> None:
    settings, region, inputs = _parts(node)
    if _switch(node) == AUTOCAST and settings[2]:
        raise NetworkError(
            "The network computes a part of itself under autocast.",
            "Give the network without torch.autocast; lighten chooses number formats itself.",
        )
    inner = module.get_submodule(str(region.target))
    places = [n for n in inner.graph.nodes if n.op == "placeholder"]  # type: ignore[union-attr]
    values: dict[fx.Node, Any] = dict(zip(places, inputs, strict=True))
    with module.graph.inserting_before(node):
        results = module.graph.graph_copy(inner.graph, values)  # type: ignore[arg-type]
        for copied in values.values():
            if copied.op == "get_attr" and copied not in inputs:
                copied.target = f"{region.target}.{copied.target}"
        if _switch(node) == NO_GRAD and not settings[0]:
            results = fx.map_arg(results, lambda n: _detached(module.graph, n))
    _replace(node, results)


def _parts(node: fx.Node) -> tuple[list[Any], fx.Node, list[Any]]:
    """What the switch is set to, the region's graph, and what goes into it."""
    at = next(i for i, x in enumerate(node.args) if isinstance(x, fx.Node) and x.op == "get_attr")
    return list(node.args[:at]), node.args[at], list(node.args[at + 1 :])  # type: ignore[return-value]


def _detached(graph: fx.Graph, value: fx.Node) -> fx.Node:
    made = graph.call_function(aten.detach.default, (value,))
    made.meta.update(value.meta)
    return made


def _replace(node: fx.Node, results: Any) -> None:
    """Users of the call's results read the written-out values."""
    if isinstance(results, fx.Node):
        results = (results,)
    for user in list(node.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])
            node.graph.erase_node(user)
    if node.users:
        node.replace_all_uses_with(results[0])
    node.graph.erase_node(node)
