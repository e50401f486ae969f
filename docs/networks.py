"""The zoo, and what people bring, as tables: how much of each network can be cut, and why not more.

python docs/networks.py          # rewrites docs/networks.md
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import torch

from lighten import zoo
from lighten.network import Graph, share, trace

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.architectures import ARCHITECTURES

PAGE = Path(__file__).parent / "networks.md"
SMALL = 64  # ImageNet networks are traced at this side; MACs are per sample at that size
HEAD = """# Networks: what can be cut

Written by `python docs/networks.py`, checked by `tests/test_docs.py`. *Share* is the part of all
convolution and linear MACs in layers of which a slice of the weight, on its output or its input
side, lies in a group that can be cut. Groups are found by labels, not by recognising
architectures; anything left alone says why. ImageNet networks are traced at 64×64 here.

| network | input | MACs | parameters | groups | blocks | share | left alone |
|---|---|---|---|---|---|---|---|
"""
BROUGHT = """
## Networks that people bring

`transformers` models of small random configurations (`tests/architectures.py`). For each one,
`tests/test_architectures.py` cuts 30 % of every group and proves the result equal to the masked
network, forward and backward; trains it for a step; lowers the network to a program that equals it;
and runs the cut one in onnxruntime. Attention is cut by whole heads, with the queries that share
keys and values; what is normalised over, or leaves the network, stays.

| network | MACs | groups | of heads | blocks | share | left alone, and why |
|---|---|---|---|---|---|---|
"""


def row(name: str) -> str:
    """One zoo network's line."""
    channels, *sides = zoo.TABLE[name].input_shape
    shape = (channels, *(min(side, SMALL) for side in sides))
    graph = trace(zoo.build(name).eval(), torch.zeros(2, *shape))
    alone = "; ".join(f"`{layer}`: {reason}" for layer, reason in graph.left_alone.items())
    size = "×".join(map(str, shape))
    return (
        f"| {name} | {size} | {graph.macs / 1e6:.2f} M | {graph.parameters / 1e6:.3f} M "
        f"| {len(graph.groups)} | {len(graph.blocks)} | {100 * share(graph):.0f} % | {alone} |"
    )


def brought(name: str) -> str:
    """One architecture's line."""
    case = ARCHITECTURES[name]
    graph = trace(case.make(), case.inputs)
    heads = sum(len(group.producers[0].slices[0]) > 1 for group in graph.groups)
    return (
        f"| {name} | {graph.macs / 1e6:.2f} M | {len(graph.groups)} | {heads} "
        f"| {len(graph.blocks)} | {100 * share(graph):.0f} % | {_reasons(graph)} |"
    )


def _reasons(graph: Graph) -> str:
    """What is left alone, gathered by reason."""
    layers: dict[str, list[str]] = defaultdict(list)
    for layer, reason in graph.left_alone.items():
        layers[reason].append(layer)
    return "; ".join(
        f"{reason}: `{found[0]}`" + (f" and {len(found) - 1} more" if found[1:] else "")
        for reason, found in layers.items()
    )


def main() -> None:
    """Write the page."""
    lines = [*map(row, zoo.TABLE), BROUGHT.rstrip("\n"), *map(brought, ARCHITECTURES)]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
