"""Single values as JSON and back, with their Python types: what attributes and scales are made of.

None, truth, whole numbers, finite floats and text stand as they are, a tuple as a list. The rest
is a mapping that says what it is: `{"list": […]}`, `{"float": "inf"}`, and NumPy's scalars and
arrays without axes, `{"scalar": "float32", "value": 0.5}` and `{"array": "float32", "value": 0.5}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighten.errors import ArtifactError
from lighten.store.fields import INT64, choice, demand, items, record, refuse, text, whole

Json = Any
# what arrays may hold, by name; little-endian in the file
DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64"),
    )
}
SCALARS: Mapping[str, np.dtype[Any]] = {**DTYPES, "bool": np.dtype(bool)}
FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
LONGEST, DEEPEST = 64, 2  # tuples: 32 axes, begin and end; a tuple of tuples


def written(value: Any) -> Json:
    """A value as JSON. ArtifactError for what has no written form.

    >>> written((1, 2.0, float("-inf"), np.float32(0.5)))
    [1, 2.0, {'float': '-inf'}, {'scalar': 'float32', 'value': 0.5}]
    """
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        kind = "scalar" if isinstance(value, np.generic) else "array"
        if value.dtype.name in SCALARS:
            return {kind: value.dtype.name, "value": written(value.item())}
    elif isinstance(value, str):
        return str(value)
    elif value is None or type(value) in (bool, int):
        return value
    elif type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    elif isinstance(value, tuple):
        return [written(item) for item in value]
    elif type(value) is list:
        return {"list": [written(item) for item in value]}
    raise ArtifactError(f"A {type(value).__name__} has no written form.")


def read(form: Json, where: str, depth: int = DEEPEST) -> Any:
    """The value that `written` wrote as `form`. ArtifactError, naming `where`, for other forms.

    >>> read([1, {"float": "-inf"}], "low")
    (1, -inf)
    """
    if not isinstance(form, dict | list):
        return _plain(form, where)
    demand(depth > 0, f"{where} is nested too deep")
    if isinstance(form, list):
        demand(len(form) <= LONGEST, f"{where} has {len(form)} items, over {LONGEST}")
        return tuple(read(item, where, depth - 1) for item in form)
    kind = next((kind for kind in READERS if kind in form), "list")
    return READERS[kind](form, where)


def _plain(form: Json, where: str) -> Any:
    if isinstance(form, str):
        return text(form, where)
    return whole(form, -INT64, 2 * INT64 - 1, where) if type(form) is int else form


def _list(form: Json, where: str) -> list[Any]:
    inside = items(record(form, ("list",), where)["list"], where)
    return list(read(inside, where))  # JSON is not nested deep: canonical.DEEPEST


def _float(form: Json, where: str) -> float:
    return float(choice(record(form, ("float",), where)["float"], FLOATS, where))


def _scalar(form: Json, where: str, kind: str = "scalar") -> np.generic:
    told = record(form, (kind, "value"), where)
    return _number(told["value"], choice(told[kind], SCALARS, where), where)


def _array(form: Json, where: str) -> np.ndarray[Any, Any]:
    """Read-only, as all arrays of an artifact are."""
    array = np.array(_scalar(form, where, "array"))
    array.setflags(write=False)
    return array


READERS: Mapping[str, Callable[[Json, str], Any]] = {
    "list": _list,
    "float": _float,
    "scalar": _scalar,
    "array": _array,
}


def _number(form: Json, dtype: np.dtype[Any], where: str) -> np.generic:
    """A NumPy scalar, exactly the number that is written."""
    if dtype.kind == "b":
        demand(isinstance(form, bool), f"{where} must be true or false")
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole(form, int(limits.min), int(limits.max), where)
    else:
        value = read(form, where)
        if type(value) is not float:
            refuse(f"{where} must be a number with a point")
        with np.errstate(over="ignore", under="ignore"):
            found: np.generic = dtype.type(value)
        demand(found.item() == value or math.isnan(value), f"{where} is no {dtype.name}")
        return found
    made: np.generic = dtype.type(form)
    return made
