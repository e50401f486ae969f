"""Ops that are others by another name, written as those: fewer ops for everything else to know."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from lighten.network.calls import bound

aten = torch.ops.aten


def without_synonyms(graph: fx.Graph) -> None:
    """Every glu is a split, a sigmoid and a product; every exchange of dimensions a permute; what
    is written into a part is joined to the rest.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in SYNONYMS:
            before = set(graph.nodes)
            with graph.inserting_before(node):
                made = SYNONYMS[node.target](node)
            if made is node:
                continue
            for new in set(graph.nodes) - before:
                new.meta.update({k: v for k, v in node.meta.items() if k != "val"})
            made.meta.setdefault("val", node.meta["val"])
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def _glu(node: fx.Node) -> fx.Node:
    """a · sigmoid(b), a and b being the halves."""
    graph, named = node.graph, bound(node)
    halves = graph.call_function(aten.chunk.default, (named["self"], 2, named["dim"]))
    first, second = (graph.call_function(operator.getitem, (halves, i)) for i in (0, 1))
    gate = graph.call_function(aten.sigmoid.default, (second,))
    return graph.call_function(aten.mul.Tensor, (first, gate))


def _moved(node: fx.Node) -> fx.Node:
    """movedim: the dimensions that are not named keep their order."""
    named, rank = bound(node), node.meta["val"].ndim
    pair = [named[name] for name in ("destination", "source")]
    to, source = ([d % rank for d in ([x] if isinstance(x, int) else x)] for x in pair)
    others = iter([d for d in range(rank) if d not in source])
    places = dict(zip(to, source, strict=True))
    return _permuted(node, [places[d] if d in places else next(others) for d in range(rank)])


def _swapped(node: fx.Node) -> fx.Node:
    """swapaxes, swapdims and .mT."""
    rank = node.meta["val"].ndim
    given: tuple[Any, ...] = node.args[1:] or (-2, -1)
    order = list(range(rank))
    a, b = (dim % rank for dim in given)
    order[a], order[b] = order[b], order[a]
    return _permuted(node, order)


def _permuted(node: fx.Node, order: list[int]) -> fx.Node:
    return node.graph.call_function(aten.permute.default, (bound(node)["self"], order))


def _baddbmm(node: fx.Node) -> fx.Node:
    """bias + a · b; a bias that counts nothing is not read, whatever it holds."""
    graph, named = node.graph, bound(node)
    product = graph.call_function(aten.bmm.default, (named["batch1"], named["batch2"]))
    bias = named["self"]
    if named["alpha"] != 1:
        product = graph.call_function(aten.mul.Tensor, (product, named["alpha"]))
    if named["beta"] == 0:
        return product
    if named["beta"] != 1:
        bias = graph.call_function(aten.mul.Tensor, (bias, named["beta"]))
    return graph.call_function(aten.add.Tensor, (bias, product))


def _copied(node: fx.Node) -> fx.Node:
    """copy: the source in the shape and the type of what it was written over."""
    graph, named = node.graph, bound(node)
    old, new = named["self"], named["src"]
    if new.meta["val"].dtype != old.meta["val"].dtype:
        made = graph.call_function(aten.type_as.default, (new, old))
        made.meta["val"], new = node.meta["val"], made
    if new.meta["val"].shape != old.meta["val"].shape:
        new = graph.call_function(aten.expand_as.default, (new, old))
    return new  # type: ignore[no-any-return]


def _batch_norm(node: fx.Node) -> fx.Node:
    """What making writes functional leaves of a BatchNorm, which must still train."""
    *tensors, momentum, epsilon = node.args
    made = node.graph.call_function(
        aten.batch_norm.default, (*tensors, False, momentum, epsilon, True)
    )
    for result in list(node.users):  # the first of three
        result.replace_all_uses_with(made)
        node.graph.erase_node(result)
    made.meta["val"] = node.meta["val"][0]
    return made


def _sliced(node: fx.Node) -> fx.Node:
    """slice_scatter: what lies before, the new part, what lies after."""
    graph, named = node.graph, bound(node)
    x, dim, start, end = named["self"], named["dim"], named["start"] or 0, named["end"]
    size = x.meta["val"].shape[dim]
    whole = start == 0 and (end is None or end == sys.maxsize)
    if whole and named["step"] == 1:
        return named["src"]  # type: ignore[no-any-return]
    if named["step"] != 1 or not isinstance(size, int):
        return node
    first, last, _ = slice(start, end).indices(size)
    parts = [named["src"]]
    if first > 0:
        parts.insert(0, graph.call_function(aten.slice.Tensor, (x, dim, 0, first)))
    if last < size:
        parts.append(graph.call_function(aten.slice.Tensor, (x, dim, last, size)))
    return graph.call_function(aten.cat.default, (parts, dim))


SYNONYMS: Mapping[Any, Callable[[fx.Node], fx.Node]] = {
    aten.glu.default: _glu,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.baddbmm.default: _baddbmm,
    aten.copy.default: _copied,
    aten.slice_scatter.default: _sliced,
    **{
        op: _moved
        for packet in (aten.movedim, aten.moveaxis)
        for op in (packet.int, packet.intlist)
    },
    **dict.fromkeys((aten.swapaxes.default, aten.swapdims.default, aten.mT.default), _swapped),
}
