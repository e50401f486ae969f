"""A program as JSON and a list of arrays: the structure names arrays by their place in the list."""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.errors import ArtifactError
from lighten.formats.integer import FLOAT32, Integer, Scale
from lighten.formats.signs import Binary, Format
from lighten.program.ir import Op, Program, Sparsity, Stored, Value
from lighten.store.arrays import Narrow
from lighten.store.forms import written

Json = Any
Array = np.ndarray[Any, Any]
REAL, DENSE = "float32", "dense"  # how what nearly all values and arrays are is written


def described(program: Program) -> tuple[dict[str, Json], list[Array | Narrow]]:
    """The structure, and the arrays in the order it names them: sorted by the names of theirs.

    ArtifactError where an attribute has no written form.
    """
    arrays: list[Array | Narrow] = []
    stored = {name: _stored(program.arrays[name], arrays) for name in sorted(program.arrays)}
    values = {name: _value(program.values[name], arrays) for name in sorted(program.values)}
    before = program.preprocess
    structure = {
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "integers": list(program.integers),
        **({"measured": list(program.measured)} if program.measured else {}),
        "labels": list(program.labels),
        "origin": program.origin,
        "preprocess": {
            "scale": written(before.scale),
            "mean": written(tuple(before.mean)),
            "std": written(tuple(before.std)),
            "tokenizer": before.tokenizer,
        },
        "ops": [_op(op) for op in program.ops],
        "values": values,
        "arrays": stored,
    }
    return structure, arrays


def _op(op: Op) -> Json:
    return {
        "kind": op.kind,
        "name": op.name,
        "inputs": list(op.inputs),
        "outputs": list(op.outputs),
        "attributes": {name: written(value) for name, value in op.attributes.items()},
    }


def _value(value: Value, arrays: list[Array | Narrow]) -> Json:
    return {
        "shape": [int(extent) for extent in value.shape],
        "format": _format(value.format),
        "params": _params(value.params, arrays),
    }


def _stored(stored: Stored, arrays: list[Array | Narrow]) -> Json:
    return {
        "codes": _kept(_narrow(stored), arrays),
        "format": _format(stored.format),
        "params": _params(stored.params, arrays),
        "sparsity": _sparsity(stored.sparsity),
    }


def _narrow(stored: Stored) -> Array | Narrow:
    """Codes of less than a byte, side by side."""
    bits = 8 if stored.format == FLOAT32 else int(stored.format.bits)
    return Narrow(stored.codes, bits) if bits < 8 else stored.codes


def _sparsity(sparsity: Sparsity) -> Json:
    if sparsity == Sparsity():
        return DENSE
    return {
        "kind": sparsity.kind,
        "block": [int(extent) for extent in sparsity.block],
        "density": written(sparsity.density),
    }


def _format(format: Format) -> Json:
    if format == FLOAT32:
        return REAL
    if isinstance(format, Binary):
        return {"planes": format.planes}
    if not isinstance(format, Integer):
        raise ArtifactError(f"{format} has no written form.")
    return {
        "bits": written(format.bits),
        "signed": format.signed,
        "symmetric": format.symmetric,
    }


def _params(params: Scale | None, arrays: list[Array | Narrow]) -> Json:
    if params is None:
        return None
    return {
        "scale": _number(params.scale, arrays),
        "zero_point": _number(params.zero_point, arrays),
        "axis": params.axis,
    }


def _number(value: Any, arrays: list[Array | Narrow]) -> Json:
    """A number where it stands alone; an array with axes by its place in the list."""
    if isinstance(value, np.ndarray) and value.ndim:
        return {"data": _kept(value, arrays)}
    return written(value)


def _kept(array: Array | Narrow, arrays: list[Array | Narrow]) -> int:
    arrays.append(array)
    return len(arrays) - 1
