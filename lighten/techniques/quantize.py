"""int8 weights and activations of one layer, after training (B10). Setting: `bits`, 8.

Nothing happens to the live network: `lighten.program.quantization` does it to the Program that the
trained network is lowered to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lighten.core.device import Device
from lighten.core.protocols import Knobs, Need
from lighten.core.recipe import Edit
from lighten.errors import RecipeError
from lighten.network.graph import Graph, Layer
from lighten.techniques.surgery import Surgery

name = "quantize"
order = 90
KINDS = ("conv1d", "conv2d", "conv3d", "linear")


def places(graph: Graph) -> Sequence[Layer]:
    """Every layer that has an int8 form and is not to be left alone."""
    found = (layer for layer in graph.layers if layer.kind in KINDS)
    return tuple(layer for layer in found if layer.name not in graph.ignored)


def knobs(place: Layer, graph: Graph, device: Device) -> Knobs:
    """Eight bits, for convolutions and linear layers."""
    if place.kind not in KINDS:
        return Knobs(reason=f"{place.name} ({place.kind}) is no convolution or linear layer")
    return Knobs(({"bits": 8},))


def needs(edit: Edit, graph: Graph) -> Iterable[Need]:
    """The range of the layer's activations."""
    return (Need("activations", edit.place),)


def apply_(
    surgery: Surgery, edits: Sequence[Edit], graph: Graph, stats: Mapping[Need, Any]
) -> None:
    """Nothing leaves the network. Raises `RecipeError` for a layer or width that cannot be had."""
    kinds = {layer.name: layer.kind for layer in graph.layers}
    for edit in edits:
        if edit["bits"] != 8:
            raise RecipeError(f"The bits of {edit.place} must be 8, but got {edit['bits']}.")
        if kinds.get(edit.place) not in KINDS:
            raise RecipeError(f"The network has no layer {edit.place!r} that runs in int8.")
