"""What one node of an ONNX graph sees while the network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A value in flight: a tensor, or numbers that are known while tracing (sizes, indices, constants).
Known = np.ndarray[Any, Any]
Value = Tensor | Known


@dataclass(frozen=True, eq=False)
class Node:
    """One node of the graph: attributes as Python values, inputs by name ("" where absent)."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    bodies: Mapping[str, Body] = field(default_factory=dict)

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or `default` where it is absent."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, eq=False)
class Body:
    """What a node runs inside: it sees its inputs and everything made before the node."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Arguments:
    """A node's arguments. `stored` gives the parameter or buffer that holds a named array."""

    node: Node
    values: Sequence[Value | None]
    stored: Callable[[str], Tensor | None]
    layer: nn.Module | None = None
    opset: int = 17

    def __getitem__(self, attribute: str) -> Any:
        return self.node.attributes[attribute]

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or `default` where it is absent."""
        return self.node.get(attribute, default)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.values) and self.values[index] is not None

    def tensor(self, index: int = 0) -> Tensor:
        """Input `index` as a tensor: a flowing one, a parameter, or known numbers."""
        value = self.values[index]
        if isinstance(value, Tensor):
            return value
        held = self.stored(self.node.inputs[index])
        return as_tensor(value) if held is None else held

    def known(self, index: int) -> Known:
        """Input `index`, which must be known while tracing: sizes, axes, indices."""
        value = self.values[index]
        if isinstance(value, Tensor) or value is None:
            raise NotKnown(f"input {index} of {self.node.kind} depends on the data")
        return value

    def numbers(self, index: int, default: Sequence[int] | None = None) -> list[Any] | None:
        """Known integers of input `index`, or `default` where it is absent."""
        if not self.has(index):
            return None if default is None else list(default)
        return [_size(value) for value in np.atleast_1d(self.known(index)).tolist()]

    def setting(self, name: str, index: int, default: Any = None) -> Any:
        """What newer opsets pass as input `index` and older ones as an attribute."""
        if name in self.node.attributes:
            return self.node.attributes[name]
        return self.numbers(index, default)


class NotKnown(Exception):
    """Something that must be known while tracing depends on the data."""


def _size(value: Any) -> Any:
    return int(value) if isinstance(value, (float, np.generic)) else value


def as_tensor(value: Any) -> Tensor:
    """Known numbers as a tensor; float64 becomes float32."""
    array = np.asarray(value)
    if array.dtype == object:
        listed = array.reshape(-1).tolist()
        parts = [torch.full((1,), item, dtype=torch.int64) for item in listed]
        return torch.cat(parts).reshape(array.shape)
    tensor = torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)
    return tensor.float() if tensor.dtype in (torch.float64, torch.float16) else tensor
