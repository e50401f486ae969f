"""The traced network as a value: its layers, and the groups of slices that are cut together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One module with weights, as it was seen in the trace. Shapes are per sample.

    `kind` is the module's class in lower case ("conv2d", "linear", "batchnorm2d", …). `uncut` is
    the reason its output channels cannot be cut, or "" where they can.
    """

    name: str
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    parameters: int
    activation_bytes: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    uncut: str = ""


@dataclass(frozen=True)
class Member:
    """Where a group lies in one parameter or buffer: `slices[i]` are the indices along `dim` that
    go when slice i of the group is cut.
    """

    parameter: str
    dim: int
    slices: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Group:
    """`size` slices that can be cut one by one, each only together with everything coupled to it.

    `producers` make the slices (the output side of conv and linear weights, with their biases);
    `followers` carry them (normalisation, channel-wise parameters, depthwise filters);
    `consumers` read them (the input side of the next weights). `name` is the first producer's
    layer, with "#2", "#3" … where one layer's channels fall into several groups.
    """

    name: str
    size: int
    producers: tuple[Member, ...]
    followers: tuple[Member, ...]
    consumers: tuple[Member, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them."""
        return self.producers + self.followers + self.consumers


@dataclass(frozen=True)
class Block:
    """A residual branch that can be dropped: `layers` go, the shortcut stays (row C4)."""

    name: str
    add: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """The traced network. `module` is the live copy: an `fx.GraphModule` whose calls are the
    original modules at their original paths and plain functions between them.

    `left_alone` lists what cannot be cut: name → reason; `ignored` the layers the user wants left
    as they are, in every respect.
    """

    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    left_alone: Mapping[str, str]
    inputs: tuple[tuple[int, ...], ...]
    fingerprint: str
    module: Any = field(repr=False, compare=False)
    ignored: tuple[str, ...] = ()

    def group(self, name: str) -> Group:
        """The group of that name."""
        return next(group for group in self.groups if group.name == name)

    def layer(self, name: str) -> Layer:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    def inside(self, block: str) -> frozenset[str]:
        """Names of the layers and groups that are gone when this block is dropped."""
        layers = set(next(known.layers for known in self.blocks if known.name == block))
        groups = {
            group.name
            for group in self.groups
            if all(member.parameter.rpartition(".")[0] in layers for member in group.producers)
        }
        return frozenset(layers | groups)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(layer.parameters for layer in self.layers)
