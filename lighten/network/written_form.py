"""The arguments and targets of a graph's nodes as JSON, and back; nothing else is ever called.

`fx` turns a graph into Python source, so whatever is read is held to a form that cannot be code:
names are identifiers, text is plain, and an operation is one that computes tensors from tensors.

Numbers, text, None and lists stand as they are. Everything else is a mapping with one key that
says what it is: `{"node": "relu"}`, `{"tuple": […]}`, `{"dtype": "float32"}`.
"""

from __future__ import annotations

import keyword
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import fx

from lighten.errors import NetworkError

Json = Any
NAMESPACES = ("aten", "lighten")
OPERATORS = ("getitem", "add", "sub", "mul", "floordiv", "truediv", "mod", "neg")
# operations without a tensor among their arguments that a network may call
CREATION = "arange empty eye full linspace ones scalar_tensor zeros".split()
PLAIN = re.compile(r"[\w .:/+-]*")
TORCH: dict[str, type] = {  # kind → its type
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}


def _short(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _simple(value: Any) -> Json:
    """What JSON has a form for: None, truth, numbers of any library, text, lists."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [written(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else {"float": repr(float(value))}


# kind → its type, and how a value of it is written
WRITERS: dict[str, tuple[Any, Callable[[Any], Json]]] = {
    "node": (fx.Node, lambda node: node.name),
    "tuple": (tuple, lambda items: [written(item) for item in items]),
    "dict": (Mapping, lambda items: {plain(k): written(item) for k, item in items.items()}),
    "slice": (slice, lambda s: [written(part) for part in (s.start, s.stop, s.step)]),
    "device": (torch.device, lambda device: device.type),
    **{kind: (type_, _short) for kind, type_ in TORCH.items()},
}


def written(value: Any) -> Json:
    """An argument as JSON. NetworkError for what has no written form.

    >>> written((1, torch.float32, slice(0, None)))
    {'tuple': [1, {'dtype': 'float32'}, {'slice': [0, None, None]}]}
    """
    if value is None or isinstance(value, bool | str | list | numbers.Real):
        return _simple(value)
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
        return form if not isinstance(form, str) else plain(form)
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
    "dict": lambda items, nodes: {plain(key): read(item, nodes) for key, item in items.items()},
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
    """The function of that name, if it computes its results from tensors and does nothing else."""
    space, _, rest = name.partition(".")
    if space == "operator" and rest in OPERATORS:
        return getattr(operator, rest)
    packet, _, overload = rest.partition(".")
    found: Any = None
    if space in NAMESPACES and packet.isidentifier():
        found = getattr(getattr(getattr(torch.ops, space), packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or not _computes(found):
        raise NetworkError(f"{name!r} is not an operation that a stored network may call.")
    return found


def _computes(op: Any) -> bool:
    schema = op._schema
    if schema.is_mutable or not schema.returns:
        return False
    if any(argument.name == "filename" for argument in schema.arguments):
        return False
    reads = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return reads or op._opname in CREATION


def check_keywords(function: Any, given: Mapping[str, Any]) -> None:
    """NetworkError where a call names an argument that the operation does not have."""
    schema = getattr(function, "_schema", None)
    known = {argument.name for argument in schema.arguments} if schema is not None else set()
    for name in given:
        if name not in known:
            raise NetworkError(f"{function} has no argument {name[:40]!r}.")


def identifier(name: Any) -> str:
    """A node's name. NetworkError where it is none."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise NetworkError(f"{str(name)[:40]!r} is not the name of a value.")
    return name


def dotted(name: Any) -> str:
    """A module's or tensor's path. NetworkError where it is none."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
        raise NetworkError(f"{str(name)[:40]!r} is not the path of a layer or tensor.")
    return name


def plain(text: Any) -> str:
    """Text without quotes, brackets and the like. NetworkError for any other."""
    if not isinstance(text, str) or not PLAIN.fullmatch(text):
        raise NetworkError(f"The text {str(text)[:40]!r} has no written form.")
    return text
