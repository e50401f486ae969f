"""Constants that a network's code writes into while it runs (index tables, masks), made once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from lighten.network.walk import ancestors, memory_of, writes

aten = torch.ops.aten

# New tensors that take no more than their number type from another one → what they are filled with.
FRESH: dict[Any, float] = {aten.new_zeros.default: 0.0, aten.new_ones.default: 1.0}


def fold_written(module: fx.GraphModule) -> None:
    """Where in-place writes touch only constants, those are computed here and stored as buffers.

    A constant is what no input, parameter or batch size reaches. The ops run in their order, so
    that every reader outside finds the numbers it would have found.
    """
    graph = module.graph
    steady = _steady(module)
    if not any(writes(node) for node in steady):
        return
    values: dict[fx.Node, Any] = {}
    made: dict[fx.Node, list[tuple[Tensor, str]]] = {}
    for node in list(graph.nodes):
        if node in steady:
            values[node] = _value(module, node, values)
            continue
        for source in [n for n in node.all_input_nodes if n in steady and n.op != "get_attr"]:
            if isinstance(values[source], Tensor):
                name = _stored(module, source, values[source], made)
                with graph.inserting_before(node):
                    get = graph.create_node("get_attr", name)
                get.meta.update(source.meta)
                node.replace_input_with(source, get)
    for node in reversed(list(graph.nodes)):
        if node in steady and not node.users and node.op != "placeholder":
            graph.erase_node(node)


def _steady(module: fx.GraphModule) -> set[fx.Node]:
    """The constants to compute. A new tensor that nothing is written into is none of them: one of
    its sizes may be the batch's. Nor is what an input is written into, there or further on.
    """
    fresh = {node for node in module.graph.nodes if _is_fresh(node)}
    steady = _constants(module, fresh, set())
    reached = set().union(*(ancestors(node) for node in steady if writes(node)))
    flowing = [node for node in module.graph.nodes if writes(node) and node not in steady]
    moved = set().union(*(memory_of(node) for node in flowing))
    moved = {node for node in moved if node.op == "call_function"}
    return _constants(module, fresh & reached, moved)


def _constants(module: fx.GraphModule, fresh: set[fx.Node], moved: set[fx.Node]) -> set[fx.Node]:
    """What no input reaches; `fresh` are new tensors that count as such, `moved` do not."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            if str(node.target) not in parameters:
                found.add(node)
        elif node.op == "call_function" and node not in moved and not _draws(node):
            if node in fresh or all(source in found for source in node.all_input_nodes):
                found.add(node)
    return found


def _is_fresh(node: fx.Node) -> bool:
    """Whether it is a new tensor whose sizes are numbers in the code (or the batch of an export
    that fixed it).
    """
    return node.target in FRESH and all(isinstance(size, int) for size in node.args[1])  # type: ignore[union-attr]


def _draws(node: fx.Node) -> bool:
    """Whether the result is random."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _value(module: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    if node.op == "get_attr":
        owner, _, leaf = str(node.target).rpartition(".")
        value = getattr(module.get_submodule(owner), leaf)
        return value.clone() if isinstance(value, Tensor) else value
    if _is_fresh(node):
        like = node.meta["val"]
        return torch.full(tuple(like.shape), FRESH[node.target], dtype=like.dtype)
    args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
    with torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _stored(
    module: fx.GraphModule,
    node: fx.Node,
    value: Tensor,
    made: dict[fx.Node, list[tuple[Tensor, str]]],
) -> str:
    """The buffer that holds what the node's tensor is at this moment."""
    for kept, name in made.setdefault(node, []):
        if torch.equal(kept, value):
            return name
    name = f"constant_of_{node.name}_{len(made[node])}"
    module.register_buffer(name, value.clone(), persistent=False)
    made[node].append((value.clone(), name))
    return name
