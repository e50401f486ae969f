"""Walking along a graph: what a value is made from, and whose memory it shares."""

from __future__ import annotations

from torch import fx

# Ops that may return their argument's memory without saying so in their schema.
ALIASING = {"flatten", "reshape", "contiguous", "dropout", "feature_dropout", "to", "type_as"}


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


def writes(node: fx.Node) -> bool:
    """Whether the node writes in place."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def shares_memory(node: fx.Node) -> bool:
    """Whether the node may return its first argument's memory (a view, or what it wrote into)."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return False
    short = schema.name.removeprefix("aten::")
    return short in ALIASING or any(result.alias_info is not None for result in schema.returns)


def memory_of(node: fx.Node) -> set[fx.Node]:
    """The node and all before it whose memory it may be a view of."""
    seen = {node}
    while shares_memory(node) and node.args and isinstance(node.args[0], fx.Node):
        node = node.args[0]
        seen.add(node)
    return seen
