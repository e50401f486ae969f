"""The zoo as a table: how much of each network can be cut, and why not the rest.

python docs/networks.py          # rewrites docs/networks.md
"""

from __future__ import annotations

from pathlib import Path

import torch

from lighten import zoo
from lighten.network import share, trace

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


def row(name: str) -> str:
    """One network's line."""
    channels, *sides = zoo.TABLE[name].input_shape
    shape = (channels, *(min(side, SMALL) for side in sides))
    graph = trace(zoo.build(name).eval(), torch.zeros(2, *shape))
    alone = "; ".join(f"`{layer}`: {reason}" for layer, reason in graph.left_alone.items())
    size = "×".join(map(str, shape))
    return (
        f"| {name} | {size} | {graph.macs / 1e6:.2f} M | {graph.parameters / 1e6:.3f} M "
        f"| {len(graph.groups)} | {len(graph.blocks)} | {100 * share(graph):.0f} % | {alone} |"
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(HEAD + "\n".join(row(name) for name in zoo.TABLE) + "\n")


if __name__ == "__main__":
    main()
