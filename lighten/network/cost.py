"""What a layer costs, in closed form: multiply-accumulates, parameters, bytes (rows I1 and I3).

convolution     out positions x out channels x kernel x in channels / groups     (M² K² Cin Cout)
transposed      in positions x in channels x kernel x out channels / groups
linear          positions x out x in
everything else 0: normalisations fold into the convolution before them
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from lighten.network.graph import Layer

BYTES = 4  # a float32


def macs(
    kind: str, settings: Mapping[str, Any], source: tuple[int, ...], out: tuple[int, ...]
) -> int:
    """Multiply-accumulates of one sample. `source` and `out` are per-sample shapes.

    >>> macs("linear", {"weight": (300, 784)}, (784,), (300,))
    235200
    """
    weight: tuple[int, ...] = settings.get("weight", ())
    if kind.startswith("convtranspose"):
        return prod(source) * prod(weight[1:])
    if kind.startswith("conv"):
        return prod(out) * prod(weight[1:])
    if kind == "linear":
        return prod(out) * weight[1]
    return 0


def table(layers: tuple[Layer, ...]) -> list[dict[str, Any]]:
    """Row I3: one row per layer with time M²K²CinCout and space parameters + activations."""
    return [
        {
            "layer": layer.name,
            "kind": layer.kind,
            "output": layer.output,
            "macs": layer.macs,
            "parameters": layer.parameters,
            "parameter_bytes": BYTES * layer.parameters,
            "activation_bytes": layer.activation_bytes,
        }
        for layer in layers
    ]
