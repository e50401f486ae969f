"""The arguments and targets of a graph's nodes as JSON, and back; nothing else is ever called.

Numbers, text, None and lists stand as they are. Everything else is a mapping with one key that
says what it is: `{"node": "relu"}`, `{"tuple": […]}`, `{"dtype": "float32"}`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import fx

from lighten.errors import NetworkError

Json = Any
NAMESPACES = ("aten", "lighten")
OPERATORS = ("getitem", "add", "sub", "mul", "floordiv", "truediv", "mod", "neg")
READS_FILES = ("from_file",)  # the one functional op that opens a path it is given
TORCH: dict[str, type] = {  # kind → its type
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}


def _short(value: Any) -> str:
    return str(value).removeprefix("torch.")


# kind → its type, and how a value of it is written
WRITERS: dict[str, tuple[Any, Callable[[Any], Json]]] = {
    "node": (fx.Node, lambda node: node.name),
    "float": (float, repr),
    "tuple": (tuple, lambda items: [written(item) for item in items]),
    "dict": (Mapping, lambda items: {str(key): written(item) for key, item in items.items()}),
    "slice": (slice, lambda s: [written(part) for part in (s.start, s.stop, s.step)]),
    "device": (torch.device, lambda device: device.type),
    **{kind: (type_, _short) for kind, type_ in TORCH.items()},
}


def written(value: Any) -> Json:
    """An argument as JSON. NetworkError for what has no written form.

    >>> written((1, torch.float32, slice(0, None)))
    {'tuple': [1, {'dtype': 'float32'}, {'slice': [0, None, None]}]}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return value
    for kind, (type_, write) in WRITERS.items():
        if isinstance(value, type_):
            return {kind: write(value)}
    if is_dataclass(value):
        return {"dict": {f.name: written(getattr(value, f.name)) for f in fields(value)}}
    raise NetworkError(f"A {type(value).__name__} in the network's code has no written form.")


def read(form: Json, nodes: Mapping[str, fx.Node]) -> Any:
    """What `written` wrote; `nodes` are those that stand before it, by name."""
    if isinstance(form, list):
        return [read(item, nodes) for item in form]
    if not isinstance(form, dict):
        return form
    if len(form) != 1:
        raise NetworkError(f"A written argument must have one key, but has {len(form)}.")
    ((kind, value),) = form.items()
    if kind in TORCH:
        found = getattr(torch, str(value), None)
        if isinstance(found, TORCH[kind]):
            return found
    elif kind in READERS:
        try:
            return READERS[kind](value, nodes)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
    raise NetworkError(f"The argument {kind} {str(value)[:40]!r} cannot be read.")


READERS: dict[str, Callable[[Any, Mapping[str, fx.Node]], Any]] = {
    "node": lambda name, nodes: nodes[name],
    "float": lambda text, _: float(text),
    "tuple": lambda items, nodes: tuple(read(item, nodes) for item in items),
    "dict": lambda items, nodes: {key: read(item, nodes) for key, item in items.items()},
    "slice": lambda parts, nodes: slice(*(read(part, nodes) for part in parts)),
    "device": lambda kind, _: torch.device(kind),
}


def named(function: Any) -> str:
    """A function's name: "aten.add.Tensor", "operator.getitem". NetworkError for any other."""
    if isinstance(function, torch._ops.OpOverload) and function.namespace in NAMESPACES:
        return str(function)
    name = getattr(function, "__name__", "")
    if getattr(operator, name, None) is function and name in OPERATORS:
        return f"operator.{name}"
    raise NetworkError(f"{function} in the network's code has no written form.")


def called(name: str) -> Any:
    """The function of that name, if it is one that computes its results and does nothing else."""
    space, _, rest = name.partition(".")
    if space == "operator" and rest in OPERATORS:
        return getattr(operator, rest)
    packet, _, overload = rest.partition(".")
    found: Any = None
    if space in NAMESPACES and packet.isidentifier() and packet not in READS_FILES:
        found = getattr(getattr(getattr(torch.ops, space), packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable:
        raise NetworkError(f"{name!r} is not an operation that a stored network may call.")
    return found
