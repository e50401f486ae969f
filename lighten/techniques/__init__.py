"""What can be done to a network: a table of techniques, each a module with one file here.

A technique is a file that has what `core.protocols.Technique` asks for, and a line in `TABLE`.
"""

from __future__ import annotations

from types import MappingProxyType

from torch import nn

from lighten.core.device import Device
from lighten.core.protocols import Technique
from lighten.core.recipe import Edit, Recipe
from lighten.errors import RecipeError
from lighten.network import cut
from lighten.network.graph import Graph
from lighten.techniques import blocks, channels, quantize, weights
from lighten.techniques.learning import learning
from lighten.techniques.surgery import Surgery

TABLE: dict[str, Technique] = {
    "channels": channels,
    "blocks": blocks,
    "weights": weights,
    "quantize": quantize,
}

__all__ = ["TABLE", "Surgery", "apply", "cuts", "everywhere", "learning", "surgery"]


def surgery(graph: Graph, recipe: Recipe) -> Surgery:
    """What the recipe removes, checked against the graph. Raises `RecipeError`."""
    unknown = sorted({edit.technique for edit in recipe.edits} - set(TABLE))
    if unknown:
        raise RecipeError(f"The technique must be one of {', '.join(TABLE)}, but got {unknown[0]}.")
    planned = Surgery()
    for technique in sorted(TABLE.values(), key=lambda row: row.order):
        technique.apply_(planned, recipe.by(technique.name), graph, MappingProxyType({}))
    return planned


def cuts(recipe: Recipe) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """The slices each group keeps and the blocks that go, as `network.cut` takes them."""
    keep = {edit.place: tuple(edit["keep"]) for edit in recipe.by("channels")}
    return keep, tuple(edit.place for edit in recipe.by("blocks"))


def apply(graph: Graph, recipe: Recipe) -> nn.Module:
    """A new network with everything that the recipe removes gone, in one cut; not trained yet.

    The graph's own module is not touched. Raises `RecipeError` where an edit does not fit.
    """
    planned = surgery(graph, recipe)
    module: nn.Module = cut(graph, planned.keep, tuple(planned.drop))
    return module


def everywhere(technique: str, graph: Graph) -> tuple[Edit, ...]:
    """The technique's strongest edit at every place where it may act.

    >>> everywhere("quantize", graph)  # doctest: +SKIP
    (Edit('quantize', 'conv1', (('bits', 8),)), …)
    """
    row = TABLE[technique]
    device = Device("", "", 1)
    edits = []
    for place in row.places(graph):
        choices = row.knobs(place, graph, device).choices
        if choices:
            edits.append(Edit.of(technique, place.name, **choices[-1]))
    return tuple(edits)
