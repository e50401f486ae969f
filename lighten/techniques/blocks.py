"""Layer pruning: a residual branch is dropped whole; its shortcut stays (C4). No settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lighten.core.device import Device
from lighten.core.protocols import Knobs, Need
from lighten.core.recipe import Edit
from lighten.errors import RecipeError
from lighten.network.graph import Block, Graph
from lighten.techniques.surgery import Surgery

name = "blocks"
order = 20


def places(graph: Graph) -> Sequence[Block]:
    """Every residual branch whose output has the shape of its shortcut."""
    return graph.blocks


def knobs(place: Block, graph: Graph, device: Device) -> Knobs:
    """To drop it is the only choice."""
    return Knobs(({},))


def needs(edit: Edit, graph: Graph) -> Iterable[Need]:
    """Nothing."""
    return ()


def apply_(
    surgery: Surgery, edits: Sequence[Edit], graph: Graph, stats: Mapping[Need, Any]
) -> None:
    """Write all drops into the surgery. Raises `RecipeError` for a block that is not there."""
    known = {block.name for block in graph.blocks}
    for edit in edits:
        if edit.place not in known:
            raise RecipeError(f"The network has no residual block {edit.place!r} to drop.")
        surgery.drop.append(edit.place)
