"""An ONNX graph's protobufs as plain nodes, those inside its bodies (`If`, `Loop`) too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from lighten.network.onnx_in.arguments import Body, Known, Node


def nodes_of(graph: Any, names: Mapping[str, str] | None = None, inside: str = "") -> list[Node]:
    """The graph's nodes in their order; `names` says how values that a body knows are called.

    A body's own values get the place `inside` before their name, as the two of an `If` may use
    the same ones.
    """
    known = dict(names or {})
    known |= {output: inside + output for proto in graph.node for output in proto.output if output}
    return [_node(proto, known, inside) for proto in graph.node]


def initializers(graph: Any, inside: str = "") -> Iterator[tuple[str, Known]]:
    """Stored arrays by name, those of bodies too."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        yield inside + tensor.name, np.array(numpy_helper.to_array(tensor))
    for body, place in _bodies(graph, inside):
        yield from initializers(body, place)


def ranks_of(graph: Any, inside: str = "") -> Iterator[tuple[str, int]]:
    """Values' numbers of dimensions, as far as they are told."""
    for value in (*graph.input, *graph.value_info):
        yield inside + value.name, len(shape_of(value))
    for body, place in _bodies(graph, inside):
        yield from ranks_of(body, place)


def every(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes and those in their bodies."""
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from every(body.nodes)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape that is told of a value; 0 where a side is open."""
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)


def path_of(name: str) -> str:
    """A module path from an ONNX name."""
    words = [re.sub(r"\W", "_", word) for word in re.split(r"[./]+", name.strip("/")) if word]
    words = [f"_{word}" if word in ("forward", "training") else word for word in words]
    return ".".join(words) or "layer"


def _bodies(graph: Any, inside: str) -> Iterator[tuple[Any, str]]:
    for proto in graph.node:
        for item in proto.attribute:
            if item.HasField("g"):
                yield item.g, _place(proto, item.name, inside)


def _place(proto: Any, attribute: str, inside: str) -> str:
    return f"{inside}{_name(proto)}/{attribute}/"


def _name(proto: Any) -> str:
    return proto.name or f"{proto.op_type}_{proto.output[0]}"


def _node(proto: Any, names: Mapping[str, str], inside: str) -> Node:
    from onnx import TensorProto, helper, numpy_helper

    attributes: dict[str, Any] = {}
    bodies: dict[str, Body] = {}
    for item in proto.attribute:
        value = helper.get_attribute_value(item)
        if item.HasField("g"):
            bodies[item.name] = _body(value, names, _place(proto, item.name, inside))
            continue
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, TensorProto):
            value = np.array(numpy_helper.to_array(value))
        attributes[item.name] = value
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
    return Node(
        f"{domain}{proto.op_type}",
        inside + _name(proto),
        tuple(names.get(name, name) for name in proto.input),
        tuple(names.get(name, name) for name in proto.output),
        attributes,
        bodies,
    )


def _body(graph: Any, names: Mapping[str, str], inside: str) -> Body:
    own = [*(i.name for i in graph.input), *(i.name for i in graph.initializer)]
    own += [output for proto in graph.node for output in proto.output if output]
    known = {**names, **{name: inside + name for name in own}}
    return Body(
        tuple(nodes_of(graph, known, inside)),
        tuple(known[i.name] for i in graph.input),
        tuple(known.get(o.name, o.name) for o in graph.output),
    )
