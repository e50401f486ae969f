"""Residual branches that can be dropped whole (row C4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import fx

from lighten.network.calls import aten
from lighten.network.graph import Block
from lighten.network.lift import DROPOUT
from lighten.network.walk import ancestors


def find_blocks(module: fx.GraphModule) -> tuple[Block, ...]:
    """Every add whose one side is the branch's own input, unchanged: drop the branch, keep that."""
    found: list[Block] = []
    used: Counter[str] = Counter()
    for node in module.graph.nodes:
        shortcut = shortcut_of(node)
        if shortcut is None:
            continue
        layers = _layers(branch(node, shortcut))
        if not layers:
            continue
        name = _common(layers) or node.name
        used[name] += 1
        name = name if used[name] == 1 else f"{name}#{used[name]}"
        found.append(Block(name, node.name, layers))
    return tuple(found)


def shortcut_of(node: fx.Node) -> fx.Node | None:
    """The operand of a residual add that is also what the other operand is computed from."""
    if node.target is not aten.add.Tensor or node.kwargs.get("alpha", 1) != 1:
        return None
    operands = node.args[:2]
    if not all(isinstance(operand, fx.Node) for operand in operands) or operands[0] is operands[1]:
        return None
    left, right = operands
    for shortcut, other in ((left, right), (right, left)):
        same = shortcut.meta["val"].shape == node.meta["val"].shape  # type: ignore[union-attr]
        if same and shortcut in ancestors(other):  # type: ignore[arg-type]
            return shortcut  # type: ignore[return-value]
    return None


def branch(add: fx.Node, shortcut: fx.Node) -> list[fx.Node]:
    """The nodes that nobody needs once `add` is replaced by `shortcut`."""
    dead = {add}
    order = [node for node in add.graph.nodes if node in ancestors(add) and node is not add]
    for node in reversed(order):
        if node is not shortcut and node.op != "placeholder" and set(node.users) <= dead:
            dead.add(node)
    return [node for node in order if node in dead]


def _layers(nodes: Iterable[fx.Node]) -> tuple[str, ...]:
    """The modules that only these nodes call."""
    inside = {node for node in nodes if node.op == "call_module"}
    outside = {
        node.target
        for member in inside
        for node in member.graph.nodes
        if node.op == "call_module" and node not in inside
    }
    ordered = [node for member in list(inside)[:1] for node in member.graph.nodes if node in inside]
    names = dict.fromkeys(str(node.target) for node in ordered)
    return tuple(name for name in names if name not in outside)


def _common(layers: tuple[str, ...]) -> str:
    """The longest module path that these layers lie under; `lift`'s own dropouts lie nowhere."""
    paths = [layer.split(".")[:-1] for layer in layers if not layer.startswith(DROPOUT)]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
