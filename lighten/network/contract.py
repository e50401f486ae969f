"""How calls with weights label their result, and which slices of the weights go with which atoms.

conv, linear      read the labels along the contracted dimension (the weight's input side) and
                  make one fresh atom per output channel
grouped           channel j of every group goes together, so the groups stay equally wide
depthwise         the output channel is the input channel's atom
normalisations    carry the channel's atom; GroupNorm joins each of its groups
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lighten.network.calls import Call
from lighten.network.labels import along, compressed, narrowed, spread, together, varying

if TYPE_CHECKING:
    from lighten.network.propagate import Labelling


def contract(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    """The result's labels; joins and freezes what the call makes inseparable."""
    if call.computed:
        return state.unhandled(f"the weight of {call.layer} is computed", [call.input], shape)
    return RULES[call.kind](state, call, shape)


def _channels(state: Labelling, call: Call, dim: int) -> Tensor:
    """The input's labels along `dim`; frozen where they also depend on another dimension."""
    labels = state.read(call.input)
    others = [d for d in varying(labels) if d != dim % labels.ndim]
    if others:
        state.atoms.freeze(labels, f"{call.layer} does not read it along its channels")
    return along(labels, dim)


def _conv(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    weight = call.weights["weight"]
    source, groups = _channels(state, call, 1), int(call.settings["groups"])
    outputs, inputs = state.tensors[weight].shape[:2]
    follows = groups > 1 and inputs == 1
    role = "follower" if follows else "producer"
    made = state.slot(weight, 0, role)
    if follows:
        state.atoms.join(source.repeat_interleave(outputs // groups), made)
    else:
        state.atoms.join(source, state.slot(weight, 1, "consumer").repeat(groups))
        state.atoms.join(made, made[: outputs // groups].repeat(groups))
    _bias(state, call, made, role)
    return spread(made, shape, 1)


def _conv_transpose(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    weight = call.weights["weight"]
    source, groups = _channels(state, call, 1), int(call.settings["groups"])
    inputs, outputs = state.tensors[weight].shape[:2]
    follows = groups > 1 and inputs == groups
    read = state.slot(weight, 0, "follower" if follows else "consumer")
    state.atoms.join(source, read)
    if follows:
        made = read.repeat_interleave(outputs)
    else:
        state.atoms.join(read, read[: inputs // groups].repeat(groups))
        made = state.slot(weight, 1, "producer").repeat(groups)
    _bias(state, call, made, "follower" if follows else "producer")
    return spread(made, shape, 1)


def _matrix(reads: int, makes: int) -> Callable[[Labelling, Call, tuple[int, ...]], Tensor]:
    """x · w over the last dimension; `reads` and `makes` are the weight's two sides."""

    def rule(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
        weight = call.weights["weight"]
        state.atoms.join(_channels(state, call, -1), state.slot(weight, reads, "consumer"))
        made = state.slot(weight, makes, "producer")
        _bias(state, call, made)
        return spread(made, shape, len(shape) - 1)

    return rule


def _bias(state: Labelling, call: Call, made: Tensor, role: str = "producer") -> None:
    if "bias" in call.weights:
        state.atoms.join(made, state.slot(call.weights["bias"], 0, role))


def _channelwise(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    labels = state.read(call.input)
    channels = _channels(state, call, 1)
    for name in call.weights.values():
        if len(state.tensors[name]) == len(channels):
            state.atoms.join(channels, state.slot(name, 0, "follower"))
    return labels


def _group_norm(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    labels = _channelwise(state, call, shape)
    channels = along(labels, 1)
    grouped = channels.reshape(int(call.settings["groups"]), -1)
    state.atoms.join(grouped, grouped[:, :1].expand(grouped.shape))
    return labels


def _layer_norm(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    labels = state.read(call.input)
    inner = range(len(shape) - int(call.settings["normalized"]), len(shape))
    return state.whole(labels, inner, "is normalised over")


def _embedding(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    state.atoms.freeze(state.read(call.input), "is looked up in a table")
    made = state.slot(call.weights["weight"], 1, "producer")
    return spread(made, shape, len(shape) - 1)


def _elementwise(state: Labelling, call: Call, shape: tuple[int, ...]) -> Tensor:
    return state.read(call.input)


RULES: dict[str, Callable[[Labelling, Call, tuple[int, ...]], Tensor]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _matrix(reads=1, makes=0),
    "projection": _matrix(reads=0, makes=1),
    "channelwise": _channelwise,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "embedding": _embedding,
    "elementwise": _elementwise,
}


def matmul(state: Labelling, left: Tensor, right: Tensor, shape: tuple[int, ...]) -> Tensor:
    """a @ b: the contracted atoms join; rows of a or columns of b pass where the other is free of
    channels; where one varies along the dimensions before (heads), each of those goes as a whole.
    """
    left, right = compressed(left), compressed(right)
    rows, columns = varying(left), varying(right)
    last, before = left.ndim - 1, right.ndim - 2
    if any(d < last - 1 for d in rows) or any(d < before for d in columns):
        return spread_heads(heads(state, (left, right)), shape)
    if rows in ([], [last]) and columns in ([], [before]) and left.ndim > 1 and right.ndim > 1:
        state.atoms.join(along(left, -1), along(right, -2))
        return state.fresh(shape)
    if not rows and columns == [right.ndim - 1]:
        return spread(along(right, -1), shape, len(shape) - 1)
    if rows == [last - 1] and not columns:
        return spread(along(left, -2), shape, len(shape) - 2)
    for labels in (left, right):
        state.atoms.freeze(narrowed(labels), "a matrix product reads it along several dimensions")
    return state.fresh(shape)


def heads(state: Labelling, operands: Sequence[Tensor]) -> Tensor:
    """The operands of one product per head: each head goes as a whole, in all of them.

    Returns the joined labels of the dimensions before the last two, each of size 1 there.
    """
    found: list[Tensor] = []
    for labels in operands:
        whole = together(state.atoms, labels, (-2, -1)) if labels.ndim > 1 else labels
        if any(size > 1 for size in labels.shape[:-2]):
            found.append(whole[..., :1, :1])
    shape = torch.broadcast_shapes(*(labels.shape for labels in found))  # type: ignore[no-untyped-call]
    wide = [labels.expand(shape) for labels in found]
    for labels in wide[1:]:
        state.atoms.join(wide[0], labels)
    return compressed(state.atoms.find(wide[0]))


def spread_heads(joined: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Labels of `shape` that follow the heads along its leading dimensions."""
    return joined[(None,) * (len(shape) - joined.ndim)].expand(shape)
