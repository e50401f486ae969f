"""Walking along a graph."""

from __future__ import annotations

from torch import fx


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Everything the node is computed from, itself included."""
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        top = stack.pop()
        if top not in seen:
            seen.add(top)
            stack += top.all_input_nodes
    return seen
