"""Structured pruning: slices of a group leave every weight that makes, carries or reads them (C3).

Setting: `keep`, the sorted indices that stay, `of` the group's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lighten.core.device import Device
from lighten.core.protocols import Knobs, Need
from lighten.core.recipe import Edit
from lighten.errors import RecipeError
from lighten.network.graph import Graph, Group
from lighten.techniques.surgery import Surgery

name = "channels"
order = 10


def places(graph: Graph) -> Sequence[Group]:
    """Every group of coupled slices."""
    return graph.groups


def knobs(place: Group, graph: Graph, device: Device) -> Knobs:
    """How many slices may be kept: `{"kept": n}`, most first. Which ones, a criterion says."""
    if place.size < 2:
        return Knobs(reason=f"{place.name} has only {place.size} slice")
    return Knobs(tuple({"kept": kept} for kept in range(place.size, 0, -1)))


def needs(edit: Edit, graph: Graph) -> Iterable[Need]:
    """Gradients: what the default criterion looks at."""
    return (Need("gradients", edit.place),)


def apply_(
    surgery: Surgery, edits: Sequence[Edit], graph: Graph, stats: Mapping[Need, Any]
) -> None:
    """Write all cuts into the surgery. Raises `RecipeError` where one does not fit the graph."""
    sizes = {group.name: group.size for group in graph.groups}
    for edit in edits:
        keep, size = edit["keep"], sizes.get(edit.place)
        if size is None:
            raise RecipeError(f"The network has no group {edit.place!r} to cut.")
        if edit["of"] != size:
            raise RecipeError(f"The group {edit.place} has {size} slices, not {edit['of']}.")
        if not keep or list(keep) != sorted(set(keep)) or not 0 <= keep[0] <= keep[-1] < size:
            raise RecipeError(
                f"What {edit.place} keeps must be ascending indices below {size}, but got {keep}."
            )
        surgery.keep[edit.place] = tuple(keep)
