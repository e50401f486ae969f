"""Where arrays lie in the section that holds them, and views of them there.

An entry of the table says dtype, shape, offset, length and coding: `raw` is the numbers as they
are, little-endian, row-major; `bits1` … `bits7` only so many bits of each whole number, the
lowest, the first number in the lowest bits of the first byte. Each array begins at the next
multiple of 64, in the order of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
# how many bits of each number are kept; entropy coders join them
CODINGS = {RAW: 0, **{f"bits{count}": count for count in range(1, 8)}}
NARROW = ("int8", "uint8")


@dataclass(frozen=True, eq=False)
class Narrow:
    """Whole numbers of one byte that fit `bits`."""

    array: Array
    bits: int


def bare(held: Array | Narrow) -> Array:
    """The numbers as an array."""
    return held.array if isinstance(held, Narrow) else held


def lay_out(arrays: Sequence[Array | Narrow]) -> tuple[list[Json], bytes]:
    """The table and the bytes of the section. ArtifactError for a dtype that is not of `DTYPES`.

    >>> lay_out([np.arange(3, dtype=np.int8)])[0]
    [{'coding': 'raw', 'dtype': 'int8', 'length': 3, 'offset': 0, 'shape': [3]}]
    """
    table: list[Json] = []
    parts: list[bytes] = []
    end = 0
    for held in arrays:
        array, bits = (held.array, held.bits) if isinstance(held, Narrow) else (held, 0)
        dtype, offset = array.dtype.name, aligned(end)
        if dtype not in DTYPES:
            raise ArtifactError(f"An array of {dtype} has no written form.")
        kept = narrowed(array, bits) if bits else array.astype(DTYPES[dtype], copy=False)
        content = kept.tobytes()
        coding = f"bits{bits}" if bits else RAW
        place = {"coding": coding, "offset": offset, "length": len(content)}
        table.append({"dtype": dtype, "shape": list(array.shape), **place})
        parts += [bytes(offset - end), content]
        end = offset + len(content)
    table = [dict(sorted(entry.items())) for entry in table]
    return table, b"".join(parts)


def views(form: Json, section: memoryview) -> list[Array]:
    """The arrays of a table, as read-only views of the section; only bits are copied.

    ArtifactError where a shape and its bytes disagree, or bytes belong to no array or to two.
    """
    found: list[Array] = []
    end = 0
    for number, entry in enumerate(items(form, "data")):
        where = f"data.{number}"
        told = record(entry, ("coding", "dtype", "length", "offset", "shape"), where)
        bits = choice(told["coding"], CODINGS, f"{where}.coding")
        dtype = choice(told["dtype"], DTYPES, f"{where}.dtype")
        shape = extents(told["shape"], f"{where}.shape")
        offset = whole(told["offset"], 0, INT64, f"{where}.offset")
        length = whole(told["length"], 0, INT64, f"{where}.length")
        demand(offset == aligned(end), f"{where} is not where it belongs")
        demand(offset + length <= len(section), f"{where} reaches over the end of its section")
        demand(not any(section[end:offset]), f"There are bytes before {where} that are not zero")
        demand(not bits or dtype.name in NARROW, f"{where} has bits of {dtype.name}")
        wanted = -(-prod(shape) * bits // 8) if bits else prod(shape) * dtype.itemsize
        demand(length == wanted, f"{where} has {length} bytes, but its shape takes {wanted}")
        end = offset + length
        if bits:
            found.append(widened(section[offset:end], shape, dtype, bits))
        else:
            found.append(np.ndarray(shape, dtype, section[offset:end]))
    demand(end == len(section), f"{len(section) - end} bytes belong to no array")
    return found


def narrowed(array: Array, bits: int) -> Array:
    """The lowest bits of every number, side by side, as bytes; zeros after the last.

    >>> narrowed(np.array([1, -1, 0, 1], np.int8), 2).tolist()
    [77]
    """
    each = np.unpackbits(array.reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")
    return np.packbits(each[:, :bits], bitorder="little")


def widened(section: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], bits: int) -> Array:
    """What `narrowed` was given; read-only, as views are. ArtifactError where bits are left."""
    count = prod(shape)
    every = np.unpackbits(np.frombuffer(section, np.uint8), bitorder="little")
    demand(not every[count * bits :].any(), "There are bits after the last number of an array")
    each = every[: count * bits].reshape(count, bits)
    powers = np.uint8(1) << np.arange(bits, dtype=np.uint8)
    found = (each * powers).sum(1, dtype=np.uint8)
    if dtype.kind == "i":  # the highest bit is the sign
        found = (found ^ (1 << bits - 1)) - np.uint8(1 << bits - 1)
    made: Array = found.view(dtype).reshape(shape)
    made.setflags(write=False)
    return made
