"""Sparse weights of one layer, learned while it trains (rows C1, C6; block: 1×4 for int8 kernels).

Settings: `pattern` ("unstructured", "block" with `block` extents, "n:m" with `of`), `density`, and
how it comes about: `criterion`, `schedule`, `begin`, `end`, `freeze`, `every`, as `train.sparsify`
defines them. What is not set has its default there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from lighten.core.device import Device
from lighten.core.protocols import Knobs, Need
from lighten.core.recipe import Edit
from lighten.errors import RecipeError
from lighten.formats.projections import Pattern
from lighten.network.graph import Graph, Layer
from lighten.techniques.surgery import Surgery
from lighten.train.sparsify import Thinning

name = "weights"
order = 60
KINDS = ("conv1d", "conv2d", "conv3d", "linear")
PATTERN = ("pattern", "block", "of")
DENSITIES = (0.5, 0.25, 0.125)


def places(graph: Graph) -> Sequence[Layer]:
    """Every convolution and linear layer that is not to be left alone."""
    found = (layer for layer in graph.layers if layer.kind in KINDS)
    return tuple(layer for layer in found if layer.name not in graph.ignored)


def knobs(place: Layer, graph: Graph, device: Device) -> Knobs:
    """Blocks of four input channels of one tap, at a few densities."""
    if place.kind not in KINDS:
        return Knobs(reason=f"{place.name} ({place.kind}) is no convolution or linear layer")
    return Knobs(
        tuple({"pattern": "block", "block": (1, 4), "density": density} for density in DENSITIES)
    )


def needs(edit: Edit, graph: Graph) -> Iterable[Need]:
    """Nothing: scores are taken while it trains."""
    return ()


def apply_(
    surgery: Surgery, edits: Sequence[Edit], graph: Graph, stats: Mapping[Need, Any]
) -> None:
    """Nothing leaves the network. Raises `RecipeError` for a layer or setting that cannot be."""
    kinds = {layer.name: layer.kind for layer in graph.layers}
    for edit in edits:
        if kinds.get(edit.place) not in KINDS:
            raise RecipeError(f"The network has no layer {edit.place!r} whose weights can be thin.")
        thinning(edit)


def thinning(edit: Edit) -> Thinning:
    """The edit's settings, checked. Raises `RecipeError` for one that is unknown or wrong."""
    known = {field.name for field in fields(Thinning)} - {"pattern"}
    given = dict(edit.settings)
    strange = sorted(set(given) - known - set(PATTERN))
    if strange:
        raise RecipeError(f"The edit {name} of {edit.place} has no setting {strange[0]!r}.")
    pattern = Pattern(
        str(given.get("pattern", "unstructured")),
        tuple(given.get("block", ())),  # type: ignore[arg-type]
        int(given.get("of", 4)),  # type: ignore[arg-type]
    )
    own = {key: value for key, value in given.items() if key in known}
    return Thinning(pattern, **{"density": edit["density"], **own})
