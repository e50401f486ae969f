"""Where arrays lie in the section that holds them, and views of them there.

An entry of the table says dtype, shape, offset, length and coding: `raw` is the numbers as they
are, little-endian, row-major. Each begins at the next multiple of 64, in the order of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lighten.errors import ArtifactError
from lighten.store.container import aligned
from lighten.store.fields import INT64, choice, demand, extents, items, record, whole
from lighten.store.forms import DTYPES

Json = Any
Array = np.ndarray[Any, Any]
RAW = "raw"
CODINGS = {RAW: RAW}  # entropy coders join it


def lay_out(arrays: Sequence[Array]) -> tuple[list[Json], bytes]:
    """The table and the bytes of the section. ArtifactError for a dtype that is not of `DTYPES`.

    >>> lay_out([np.arange(3, dtype=np.int8)])[0]
    [{'coding': 'raw', 'dtype': 'int8', 'length': 3, 'offset': 0, 'shape': [3]}]
    """
    table: list[Json] = []
    parts: list[bytes] = []
    end = 0
    for array in arrays:
        dtype = array.dtype.name
        if dtype not in DTYPES:
            raise ArtifactError(f"An array of {dtype} has no written form.")
        content, offset = array.astype(DTYPES[dtype], copy=False).tobytes(), aligned(end)
        place = {"coding": RAW, "offset": offset, "length": len(content)}
        table.append({"dtype": dtype, "shape": list(array.shape), **place})
        parts += [bytes(offset - end), content]
        end = offset + len(content)
    table = [dict(sorted(entry.items())) for entry in table]
    return table, b"".join(parts)


def views(form: Json, section: memoryview) -> list[Array]:
    """The arrays of a table, as read-only views of the section; nothing is copied.

    ArtifactError where a shape and its bytes disagree, or bytes belong to no array or to two.
    """
    found: list[Array] = []
    end = 0
    for number, entry in enumerate(items(form, "data")):
        where = f"data.{number}"
        told = record(entry, ("coding", "dtype", "length", "offset", "shape"), where)
        choice(told["coding"], CODINGS, f"{where}.coding")
        dtype = choice(told["dtype"], DTYPES, f"{where}.dtype")
        shape = extents(told["shape"], f"{where}.shape")
        offset = whole(told["offset"], 0, INT64, f"{where}.offset")
        length = whole(told["length"], 0, INT64, f"{where}.length")
        demand(offset == aligned(end), f"{where} is not where it belongs")
        demand(offset + length <= len(section), f"{where} reaches over the end of its section")
        demand(not any(section[end:offset]), f"There are bytes before {where} that are not zero")
        wanted = prod(shape) * dtype.itemsize
        demand(length == wanted, f"{where} has {length} bytes, but its shape takes {wanted}")
        end = offset + length
        found.append(np.ndarray(shape, dtype, section[offset:end]))
    demand(end == len(section), f"{len(section) - end} bytes belong to no array")
    return found
