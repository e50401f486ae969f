"""Sizes written into a graph (views, pads, slices, group counts), rewritten for what is kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn

from lighten.network.calls import aten, bound
from lighten.network.groups import Axis, Coupling


class Kept:
    """Which slices of each tensor stay: `of(node)` is (dim, mask) or None where nothing goes."""

    def __init__(self, coupling: Coupling, gone: Tensor) -> None:
        self._tensors = coupling.tensors
        self._gone = gone

    def of(self, node: Any) -> tuple[int, Tensor] | None:
        """The cut of a node's (first) result."""
        axis = self._tensors.get(node.name) if isinstance(node, fx.Node) else None
        return self._cut(axis) if isinstance(axis, Axis) else None

    def _cut(self, axis: Axis) -> tuple[int, Tensor] | None:
        mask = axis.keeps(self._gone)
        return None if bool(mask.all()) else (axis.dim, mask)


def resize_(graph: fx.Graph, kept: Kept) -> None:
    """Rewrite every literal size that a cut changes."""
    for node in list(graph.nodes):
        if isinstance(node.target, torch._ops.OpOverload):
            rule = RULES.get(node.target._schema.name.split("::")[-1])
            if rule is not None:
                rule(node, kept)


def _set(node: fx.Node, name: str, value: Any) -> None:
    """Give an aten call's argument a new value, by name."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    index = names.index(name)
    if index < len(node.args):
        node.update_arg(index, value)
    else:
        node.update_kwarg(name, value)


def _sizes(node: fx.Node, kept: Kept) -> None:
    cut = kept.of(node)
    if cut is None:
        return
    dim, mask = cut
    name = "shape" if "shape" in bound(node) else "size"
    sizes = list(bound(node)[name])
    if isinstance(sizes[dim], fx.Node):  # heads that a view merged with the batch
        with node.graph.inserting_before(node):
            kept_ones = node.graph.call_function(operator.mul, (sizes[dim], int(mask.sum())))
            sizes[dim] = node.graph.call_function(operator.floordiv, (kept_ones, len(mask)))
        _set(node, name, sizes)
    elif sizes[dim] > 0:
        sizes[dim] = int(mask.sum())
        _set(node, name, sizes)


def _unflatten(node: fx.Node, kept: Kept) -> None:
    cut, named = kept.of(node), bound(node)
    if cut is None:
        return
    sizes, rank = list(named["sizes"]), node.meta["val"].ndim
    start = named["dim"] if named["dim"] >= 0 else named["dim"] + rank - len(sizes) + 1
    index = cut[0] - start
    if 0 <= index < len(sizes) and sizes[index] > 0:
        sizes[index] = int(cut[1].sum())
        _set(node, "sizes", sizes)


def _slice(node: fx.Node, kept: Kept) -> None:
    """The kept ones of the chosen positions, in the numbering after the cut."""
    named = bound(node)
    cut = kept.of(named["self"])
    if cut is None or named["dim"] % node.meta["val"].ndim != cut[0]:
        return
    mask = cut[1]
    chosen = torch.arange(len(mask))[named["start"] : named["end"] : named["step"]]
    places = (mask.cumsum(0) - 1)[chosen[mask[chosen]]].tolist()
    steps = {b - a for a, b in pairwise(places)} or {1}
    if len(steps) == 1:
        node.args = (named["self"], cut[0], places[0], places[-1] + 1, steps.pop())
        return
    owner = node.graph.owning_module
    name = f"places_of_{node.name}"
    owner.register_buffer(name, torch.tensor(places), persistent=False)  # type: ignore[union-attr]
    with node.graph.inserting_before(node):
        index = node.graph.create_node("get_attr", name)
    node.target, node.args, node.kwargs = (
        aten.index_select.default,
        (named["self"], cut[0], index),
        {},
    )


def _split(node: fx.Node, kept: Kept) -> None:
    """Parts of unequal width: every split becomes split_with_sizes."""
    named = bound(node)
    cut = kept.of(named["self"])
    if cut is None or named["dim"] % named["self"].meta["val"].ndim != cut[0]:
        return
    widths = [part.shape[cut[0]] for part in node.meta["val"]]
    sizes = [int(part.sum()) for part in torch.split(cut[1], widths)]
    node.target, node.args = aten.split_with_sizes.default, (named["self"], sizes, cut[0])
    node.kwargs = {}


def _pad(node: fx.Node, kept: Kept) -> None:
    """Padded channels: as many zeros as are kept on each side."""
    cut, named = kept.of(node), bound(node)
    amounts = list(named["pad"])
    rank = node.meta["val"].ndim
    if cut is None or 2 * (rank - cut[0]) > len(amounts):
        return
    index = 2 * (rank - 1 - cut[0])
    begin, end = amounts[index : index + 2]
    source = kept.of(named["self"])
    before = source[1] if source else torch.ones(named["self"].meta["val"].shape[cut[0]]).bool()
    amounts[index] = _edge(cut[1], before, begin)
    amounts[index + 1] = _edge(cut[1].flip(0), before.flip(0), end)
    _set(node, "pad", amounts)


def _edge(after: Tensor, before: Tensor, amount: int) -> int:
    """New amount at one edge: kept padding, or (negative) kept channels that are cropped."""
    return int(after[:amount].sum()) if amount >= 0 else -int(before[:-amount].sum())


def _group_norm(node: fx.Node, kept: Kept) -> None:
    cut = kept.of(node)
    if cut is not None:
        groups = bound(node)["num_groups"]
        _set(node, "num_groups", groups * int(cut[1].sum()) // len(cut[1]))


def _conv(node: fx.Node, kept: Kept) -> None:
    """Depthwise: as many groups as channels."""
    named = bound(node)
    source, weight = kept.of(named["input"]), named["weight"].meta["val"]
    if source is not None and named["groups"] == len(source[1]) and 1 in weight.shape[:2]:
        _set(node, "groups", int(source[1].sum()))


def _attention(node: fx.Node, kept: Kept) -> None:
    """The temperature stays that of the original width."""
    named = bound(node)
    if kept.of(named["query"]) is not None and named["scale"] is None:
        _set(node, "scale", named["query"].meta["val"].shape[-1] ** -0.5)


RULES: Mapping[str, Callable[[fx.Node, Kept], None]] = {
    **dict.fromkeys(
        "view reshape _unsafe_view expand zeros ones full empty new_zeros new_ones".split(),
        _sizes,
    ),
    "new_full": _sizes,
    "unflatten": _unflatten,
    "slice": _slice,
    **dict.fromkeys("split split_with_sizes chunk".split(), _split),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "group_norm": _group_norm,
    **dict.fromkeys(
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d".split(), _conv
    ),
    "scaled_dot_product_attention": _attention,
}


# ── modules ───────────────────────────────────────────────────────────────────────────────────


def describe_(module: nn.Module, channels: tuple[int, int]) -> None:
    """Set a module's size attributes from its cut weights; `channels` is (before, after) of what
    it reads.
    """
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvNd) and isinstance(weight, Tensor):
        _describe_conv_(module, weight, channels)
    elif isinstance(module, nn.Linear) and isinstance(weight, Tensor):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.GroupNorm):
        module.num_groups = module.num_groups * channels[1] // channels[0]
        module.num_channels = channels[1]
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = channels[1]
    elif isinstance(module, nn.Embedding) and isinstance(weight, Tensor):
        module.num_embeddings, module.embedding_dim = weight.shape


def _describe_conv_(
    module: nn.modules.conv._ConvNd, weight: Tensor, channels: tuple[int, int]
) -> None:
    inner = weight.shape[0] if module.transposed else weight.shape[1]
    depthwise = module.groups > 1 and module.groups == channels[0]
    if depthwise:
        module.groups = channels[1]
    module.in_channels = inner if module.transposed else inner * module.groups
    outer = weight.shape[1] * module.groups if module.transposed else weight.shape[0]
    module.out_channels = outer
