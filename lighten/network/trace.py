"""A network as a value: its layers, and the groups of channels that can only be cut together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, fx, nn

from lighten.errors import NetworkError
from lighten.network.blocks import find_blocks
from lighten.network.calls import Call, as_call
from lighten.network.cost import BYTES, macs
from lighten.network.graph import Block, Graph, Layer
from lighten.network.groups import Coupling, Reasons, couple
from lighten.network.lift import as_examples, lift
from lighten.network.propagate import Labelling
from lighten.network.weights import fingerprint

# kinds of calls whose output channels can be cut → the side of their weight that makes them
CUTTABLE = {"conv": 0, "conv_transpose": 1, "linear": 0, "projection": 1}


def trace(net: nn.Module, example: Any, ignore: Sequence[str] = ()) -> Graph:
    """The network's layers, groups and blocks; what cannot be cut is left alone with its reason.

    `ignore` names layers, or patterns "re:…" matched against the whole name, whose weights must
    stay as they are. NetworkError where the network cannot be exported, or a name fits no layer.

    >>> from torch import zeros
    >>> graph = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), zeros(1, 4))
    >>> [(group.name, group.size) for group in graph.groups], graph.macs
    ([('0', 8)], 48)
    """
    examples = tuple(value[:1] if value.ndim else value for value in as_examples(example))
    return traced(lift(net, examples), examples, ignore)


def traced(module: fx.GraphModule, examples: Sequence[Tensor], ignore: Sequence[str] = ()) -> Graph:
    """The graph of a module that is lifted already and annotated at batch 1."""
    state = Labelling(module)
    calls = _calls(module, state)
    ignored = _ignored([call.layer for _, call in calls], ignore)
    _freeze_ignored(state, calls, ignored)
    groups, coupling, reasons = couple(state)
    module.meta["coupling"] = coupling
    layers = tuple(_layers(calls, state, reasons))
    return Graph(
        layers=layers,
        groups=groups,
        blocks=_without(find_blocks(module), ignored),
        left_alone={layer.name: layer.uncut for layer in layers if layer.uncut},
        inputs=tuple(tuple(value.shape[1:]) for value in examples),
        fingerprint=_fingerprint(module),
        module=module,
        ignored=tuple(sorted(ignored)),
    )


def share(graph: Graph) -> float:
    """The share of conv and linear MACs that cutting groups can remove.

    A layer counts when a slice of its weight, on the output or on the input side, lies in a group.
    """
    members = [member for group in graph.groups for member in group.members]
    touched = {member.parameter.removesuffix(".weight") for member in members}
    counted = [layer for layer in graph.layers if layer.macs]
    inside = sum(layer.macs for layer in counted if layer.name in touched)
    return inside / max(1, sum(layer.macs for layer in counted))


def coupling_of(graph: Graph) -> Coupling:
    """What the groups mean for every tensor of the traced module."""
    coupling: Coupling = graph.module.meta["coupling"]
    return coupling


def _calls(module: fx.GraphModule, state: Labelling) -> list[tuple[fx.Node, Call]]:
    found = [(node, as_call(node, state.modules)) for node in module.graph.nodes]
    return [(node, call) for node, call in found if call is not None and call.weights]


def _ignored(names: Iterable[str], ignore: Sequence[str]) -> set[str]:
    found: set[str] = set()
    known = list(dict.fromkeys(names))
    for wanted in ignore:
        pattern = wanted.removeprefix("re:")
        if wanted.startswith("re:"):
            hits = {name for name in known if _matches(pattern, name)}
        else:
            hits = {name for name in known if name == wanted or name.startswith(f"{wanted}.")}
        if not hits:
            raise NetworkError(
                f"--ignore {wanted} fits no layer.", f"The layers are: {', '.join(known)}."
            )
        found |= hits
    return found


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise NetworkError(
            f"--ignore re:{pattern} must be a regular expression, but: {error}."
        ) from error


def _freeze_ignored(
    state: Labelling, calls: Iterable[tuple[fx.Node, Call]], ignored: set[str]
) -> None:
    names = {name for _, call in calls if call.layer in ignored for name in call.weights.values()}
    for (name, _), labels in state.slots.items():
        if name in names:
            state.atoms.freeze(labels, "ignored, as asked")


def _without(blocks: Iterable[Block], ignored: set[str]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if not ignored & set(block.layers))


def _layers(
    calls: Iterable[tuple[fx.Node, Call]], state: Labelling, reasons: Reasons
) -> Iterable[Layer]:
    """One per weighted module, in the order of first use; MACs of all its uses."""
    found: dict[str, Layer] = {}
    for node, call in calls:
        settings = _settings(call, state)
        kind = _kind(node, call, state)
        # of one sample, whether or not a view has merged the batch of one with other dimensions
        source, out = tuple(call.input.meta["val"].shape), tuple(node.meta["val"].shape)
        before = found.get(call.layer)
        found[call.layer] = Layer(
            name=call.layer,
            kind=kind,
            input=source[1:],
            output=out[1:],
            macs=macs(kind, settings, source, out) + (before.macs if before else 0),
            parameters=sum(state.tensors[n].numel() for n in _trainable(call, state)),
            activation_bytes=BYTES * prod(out) + (before.activation_bytes if before else 0),
            settings=settings,
            uncut=_uncut(call, reasons),
        )
    return found.values()


def _trainable(call: Call, state: Labelling) -> list[str]:
    return [name for name in call.weights.values() if isinstance(state.tensors[name], nn.Parameter)]


def _kind(node: fx.Node, call: Call, state: Labelling) -> str:
    if node.op == "call_module":
        for base in type(state.modules[call.layer]).__mro__:
            if base.__module__.startswith("torch.nn.modules"):
                return base.__name__.lower()
    dims = node.meta["val"].ndim - 2
    names = {
        "projection": "linear",
        "conv": f"conv{dims}d",
        "conv_transpose": f"convtranspose{dims}d",
    }
    return names.get(call.kind, call.kind.replace("_", ""))


def _settings(call: Call, state: Labelling) -> Mapping[str, Any]:
    """What the cost and the latency model need: weight shape, strides, padding, groups."""
    settings = dict(call.settings)
    if "weight" in call.weights:
        shape = tuple(state.tensors[call.weights["weight"]].shape)
        settings["weight"] = shape[::-1] if call.kind == "projection" else shape
    module = state.modules.get(call.layer)
    for name in ("kernel_size", "stride", "padding", "dilation"):
        if hasattr(module, name):
            settings[name] = getattr(module, name)
    settings.pop("normalized", None)
    return settings


def _uncut(call: Call, reasons: Reasons) -> str:
    """Why the layer's output channels cannot be cut."""
    if call.kind not in CUTTABLE or "weight" not in call.weights:
        return ""
    return "; ".join(reasons.get((call.weights["weight"], CUTTABLE[call.kind]), ()))


def _fingerprint(module: fx.GraphModule) -> str:
    """A hash of the ops with their arguments, and of the weights, every number of them."""
    lines = [f"{n.op} {n.target} {n.args} {n.kwargs}" for n in module.graph.nodes]
    lines.append(fingerprint(module))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
