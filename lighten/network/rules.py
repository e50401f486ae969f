"""What each op does to labels.

Ops that only move data are executed as they are on the labels. Elementwise ops join the labels of
what they combine. Everything else is in the tables below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from lighten.network import contract
from lighten.network.calls import bound
from lighten.network.labels import along, compressed, narrowed, rectangular, spread, varying

if TYPE_CHECKING:
    from lighten.network.propagate import Labelling

Rule = Callable[["Labelling", fx.Node, str], Any]

MOVEMENT = frozenset(
    "view reshape _unsafe_view view_as reshape_as flatten unflatten permute transpose t numpy_T "
    "squeeze unsqueeze cat concat stack slice select split split_with_sizes chunk unbind expand "
    "expand_as repeat pixel_shuffle pixel_unshuffle movedim swapaxes swapdims "
    "flip roll narrow repeat_interleave".split()
)
# movements that must not act along a dimension that is cut: name → argument naming the dimension
IN_PLACE = {"select": "dim", "unbind": "dim", "roll": "dims", "narrow": "dim"}
ELEMENTWISE = frozenset(
    "relu relu6 hardtanh hardswish hardsigmoid silu gelu mish softplus leaky_relu elu celu selu "
    "sigmoid tanh clamp clamp_min clamp_max neg abs exp log sqrt rsqrt reciprocal square sign erf "
    "add sub rsub mul div pow maximum minimum where clone contiguous to _to_copy type_as detach "
    "alias dropout feature_dropout alpha_dropout logsigmoid softsign tanhshrink hardshrink "
    "softshrink threshold rrelu nan_to_num lerp addcmul addcdiv sin cos fake_quantize "
    "zeros_like ones_like full_like".split()
)
SPATIAL = frozenset(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d max_pool2d_with_indices "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_linear1d upsample_bicubic2d upsample_trilinear3d lp_pool2d".split()
)
REDUCTION = frozenset("mean sum amax amin var std prod logsumexp max min".split())
ALONG = frozenset("softmax _softmax log_softmax _log_softmax cumsum cumprod".split())
COUNTING = frozenset("arange linspace eye tril_indices triu_indices scalar_tensor".split())
CREATION = frozenset("zeros ones full empty new_zeros new_ones new_full".split())
PADDING = frozenset(
    "pad constant_pad_nd reflection_pad1d reflection_pad2d "
    "replication_pad1d replication_pad2d".split()
)


def _movement(state: Labelling, node: fx.Node, name: str) -> Any:
    """Execute the op on the labels."""
    if name in IN_PLACE:
        dims = bound(node)[IN_PLACE[name]]
        labels = state.read(node.all_input_nodes[0])
        state.whole(labels, [dims] if isinstance(dims, int) else dims, f"{name} fixes its place")

    def value(source: fx.Node) -> Any:
        return state.read(source) if state.is_tensor(source) else state.values[source]

    args: Any
    args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
    if name in ("view", "_unsafe_view"):
        return compressed(args[0].reshape(args[1]))
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    return list(result) if isinstance(result, (list, tuple)) else compressed(result)


def _elementwise(state: Labelling, node: fx.Node, name: str) -> Tensor:
    """Join what meets; an operand that is broadcast over another's channels is frozen."""
    operands = [state.read(n) for n in node.all_input_nodes if state.is_tensor(n)]
    shape = shape_of(node)
    if not operands:
        return state.fresh(shape)
    aligned = [labels[(None,) * (len(shape) - labels.ndim)] for labels in operands]
    taken = {d for labels in aligned for d in varying(labels)}
    joined: list[Tensor] = []
    fixed: set[int] = set()
    for labels in aligned:
        if any(labels.shape[d] == 1 and shape[d] > 1 for d in taken):
            state.atoms.freeze(narrowed(labels), "is spread over the channels of another tensor")
            fixed |= {d for d in range(len(shape)) if labels.shape[d] > 1}
        else:
            joined.append(labels.expand(shape))
    if not joined:
        return state.fresh(shape, "is an outer product")
    for labels in joined[1:]:
        state.atoms.join(joined[0], labels)
    result = compressed(state.atoms.find(joined[0]))
    return state.whole(result, fixed, "meets a tensor that is spread over other channels")


def _spatial(state: Labelling, node: fx.Node, name: str) -> Any:
    """Resampling over space: channels stay, positions change. Maxima may come with their places."""
    results = node.meta["val"]
    labels = state.read(node.all_input_nodes[0])
    labels = state.whole(labels, range(2, labels.ndim), f"{name} mixes positions that are cut")
    channels = along(rectangular(state.atoms, labels), 1)
    if isinstance(results, Tensor):
        return spread(channels, results.shape, 1)
    return [spread(channels, result.shape, 1) for result in results]


def _reduction(state: Labelling, node: fx.Node, name: str) -> Any:
    """A reduction: fine over space and inside heads, frozen over channels. max and min give their
    places too, or compare two tensors.
    """
    if name in ("max", "min"):
        if "other" in bound(node):
            return _elementwise(state, node, name)
        if isinstance(node.meta["val"], (list, tuple)):
            return [_reduced(state, node, name, tuple(x.shape)) for x in node.meta["val"]]
    return _reduced(state, node, name, shape_of(node))


def _reduced(state: Labelling, node: fx.Node, name: str, shape: tuple[int, ...]) -> Tensor:
    labels = state.read(node.all_input_nodes[0])
    dims = bound(node).get("dim")
    every = list(range(labels.ndim))
    over = every if dims in (None, []) else [dims] if isinstance(dims, int) else list(dims)
    over = [d % labels.ndim for d in over]
    labels = state.whole(labels, over, f"{name} is taken over its channels")
    if set(over) & set(varying(labels)):
        return state.fresh(shape)
    for dim in over:
        labels = labels.narrow(dim, 0, 1)
    if len(shape) == labels.ndim:
        return labels
    kept = [d for d in every if d not in over]
    return labels.permute(*kept, *over).flatten(len(kept)).select(-1, 0) if over else labels


def _along(state: Labelling, node: fx.Node, name: str) -> Tensor:
    labels = state.read(node.all_input_nodes[0])
    return state.whole(labels, [bound(node)["dim"]], f"{name} runs over its channels")


def _creation(state: Labelling, node: fx.Node, name: str) -> Tensor:
    """A constant fill: one free atom per channel."""
    shape = shape_of(node)
    dim = 1 if len(shape) > 1 else 0
    return spread(state.atoms.fresh(shape[dim]), shape, dim) if shape else state.fresh(shape)


def _counting(state: Labelling, node: fx.Node, name: str) -> Tensor:
    """A constant that is the same whatever is cut."""
    return state.fresh(shape_of(node))


def _index(state: Labelling, node: fx.Node, name: str) -> Any:
    """Known places: executed on the labels, which stay whole along the dimensions indexed."""
    named = bound(node)
    given = named["indices"] if name == "index" else [named["index"]]
    first = 0 if name == "index" else named["dim"]
    places = [i if i is None else state.constant(i) for i in given]
    if any(place is None for place, i in zip(places, given, strict=True) if i is not None):
        inputs = [n for n in node.all_input_nodes if state.is_tensor(n)]
        return state.unhandled(f"{name} depends on the input", inputs, shape_of(node))
    labels = state.read(named["self"])
    dims = [first + at for at, place in enumerate(places) if place is not None]
    labels = state.whole(labels, dims, f"{name} fixes its place")
    if name == "index":
        return compressed(torch.ops.aten.index.Tensor(labels, places))
    where: Any = places[0]
    return compressed(torch.index_select(labels, first, where))


def _padding(state: Labelling, node: fx.Node, name: str) -> Tensor:
    """Zeros around: a padded position goes with its slice; padded channels are free."""
    labels, shape = state.read(node.all_input_nodes[0]), shape_of(node)
    named = bound(node)
    amounts = named["pad"] if "pad" in named else named["padding"]
    constant = name == "constant_pad_nd" or named.get("mode", "reflect") == "constant"
    for index in range(len(amounts) // 2):
        dim, (begin, end) = labels.ndim - 1 - index, amounts[2 * index : 2 * index + 2]
        if dim not in varying(labels):
            size = list(labels.shape)
            size[dim] = shape[dim]
            labels = labels.narrow(dim, 0, 1).expand(size)
            continue
        if not constant or begin < 0 or end < 0:
            state.atoms.freeze(labels, f"{name} copies its channels")
        vector = along(labels, dim)
        vector = torch.cat(
            [state.atoms.fresh(max(begin, 0)), vector, state.atoms.fresh(max(end, 0))]
        )
        vector = vector[max(-begin, 0) : len(vector) - max(-end, 0)]
        labels = spread(vector, [*labels.shape[:dim], shape[dim], *labels.shape[dim + 1 :]], dim)
    return labels


def _matmul(state: Labelling, node: fx.Node, name: str) -> Tensor:
    left, right = (state.read(n) for n in node.args[:2])  # type: ignore[arg-type]
    return contract.matmul(state, left, right, shape_of(node))


def _attention(state: Labelling, node: fx.Node, name: str) -> Tensor:
    """softmax(q k^T) v: whole heads where there are several, else q's features join k's."""
    named, shape = bound(node), shape_of(node)
    query, key, value = (state.read(named[part]) for part in ("query", "key", "value"))
    mask = named["attn_mask"]
    masks = [state.read(mask)] if isinstance(mask, fx.Node) and state.is_tensor(mask) else []
    if any(d < x.ndim - 2 for x in (query, key, value, *masks) for d in varying(x)):
        if named["enable_gqa"]:
            times = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(times, -3) for x in (key, value))
        return contract.spread_heads(contract.heads(state, (query, key, value, *masks)), shape)
    for labels in (query, key, value):
        state.freeze_along(labels, [labels.ndim - 2], "attention reads it along its positions")
    state.atoms.join(along(query, -1), along(key, -1))
    return spread(along(value, -1), shape, len(shape) - 1)


RULES: tuple[tuple[frozenset[str], Rule], ...] = (
    (MOVEMENT, _movement),
    (ELEMENTWISE, _elementwise),
    (SPATIAL, _spatial),
    (REDUCTION, _reduction),
    (ALONG, _along),
    (CREATION, _creation),
    (COUNTING, _counting),
    (PADDING, _padding),
    (frozenset(("index", "index_select")), _index),
    (frozenset(("matmul", "bmm", "mm")), _matmul),
    (frozenset(("scaled_dot_product_attention",)), _attention),
)

# rules that take labels along several dimensions at once; all others get them along one
OPEN = (_movement, _elementwise, _spatial, _reduction, _along, _matmul, _attention, _index)


def rule_of(node: fx.Node, name: str) -> Rule | None:
    """The rule for an op, or None where it is unknown."""
    for table, rule in RULES:
        if name in table:
            return rule
    pointwise = torch.Tag.pointwise in node.target.tags  # type: ignore[union-attr]
    return _elementwise if pointwise else None


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's result at batch 1."""
    return tuple(int(size) for size in node.meta["val"].shape)
