"""What runs a Program: one row here and one file each; found at run time, imported when used."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from lighten.core.protocols import Backend
from lighten.errors import InputError, MissingExtra


class Row(NamedTuple):
    """Where a backend's class is, the package it runs on, and the extra that brings it.

    A `peer` is there to be measured against: "auto" and `compress` pass it over.
    """

    where: str
    package: str
    extra: str
    peer: bool = False


TABLE: dict[str, Row] = {
    "eager": Row("lighten.backends.eager:Eager", "torch", "train"),
    "torch.compile": Row(
        "lighten.backends.torch_compile:TorchCompile", "torch", "train", peer=True
    ),
    "onnxruntime": Row("lighten.backends.onnxruntime:OnnxRuntime", "onnxruntime", "onnx"),
    "openvino": Row("lighten.backends.openvino:OpenVino", "openvino", "openvino"),
    "native": Row("lighten.backends.native:Native", "llvmlite", ""),
}


def installed(name: str) -> bool:
    """Whether the package a known backend runs on can be imported here."""
    return find_spec(TABLE[name].package) is not None


def available() -> tuple[str, ...]:
    """The backends that can be used here, in the table's order."""
    return tuple(name for name in TABLE if installed(name))


def targets() -> tuple[str, ...]:
    """Those of them that "auto" chooses from: all but peers."""
    return tuple(name for name in available() if not TABLE[name].peer)


def check_threads(threads: int) -> None:
    """Refuse more threads than cores that this process may use: they would wait for each other,
    spinning.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise InputError(f"--threads must be from 1 to {cores} here, but got {threads}.")


def get(name: str) -> Backend:
    """The backend of that name.

    Raises `InputError` for a name that is not in the table, `MissingExtra` where its package is
    not installed.

    >>> get("onnxruntime").name
    'onnxruntime'
    """
    if name not in TABLE:
        near = get_close_matches(name, TABLE, n=1, cutoff=0.4)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"The backend must be one of {', '.join(TABLE)}, but got {name!r}.{guess}")
    row = TABLE[name]
    if not installed(name):
        raise MissingExtra(
            f"The package {row.package}, on which the backend {name} runs,", row.extra
        )
    module, _, attribute = row.where.partition(":")
    backend: Backend = getattr(import_module(module), attribute)()
    return backend


def target(name: str) -> Backend:
    """The backend of that name, to compress for. Raises what `get` does, and `InputError` for a
    peer.

    >>> target("native").name
    'native'
    """
    backend = get(name)
    if TABLE[name].peer:
        raise InputError(
            f"{name} is only measured against: no file ships in it, and it takes up to minutes to "
            "compile a network.",
            f"Choose one of {', '.join(targets())}; lighten bench --backend all times it, too.",
        )
    return backend
