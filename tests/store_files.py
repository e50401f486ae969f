"""Artifacts for tests: two small ones whose bytes are pinned, and how to damage one on purpose.

`python -m tests.store_files` writes the pinned bytes anew, in `tests/golden/int8.hex` and in
`docs/format.md`: only after a new format version, since it breaks every file there is.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from lighten.core.task import Preprocess
from lighten.formats import INT8_WEIGHT, UINT8
from lighten.formats.integer import Scale
from lighten.program import Builder, Op, Program, Stored, Value, check
from lighten.store import container, to_bytes

ROOT = Path(__file__).parents[1]
GOLDEN, PAGE = ROOT / "tests" / "golden" / "int8.hex", ROOT / "docs" / "format.md"
Json = Any


def smallest() -> Program:
    """y = relu(W x): what docs/format.md shows."""
    b = Builder()
    w = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)
    y = b.op("linear", b.input("x", (2,)), b.store("w", w), name="y", activation="relu")
    return b.finish(y)


def in_int8() -> Program:
    """Token numbers in, int8 weights with a scale per row, uint8 values, labels and the rest."""
    codes = np.array([[1, -2, 3], [127, 0, -127]], np.int8)
    rows = Scale(np.array([0.5, 0.25], np.float32), np.zeros(2, np.float32), axis=0)
    whole = Scale(np.float32(0.125), np.array(3, np.float32))
    limits = {"function": "clip", "low": -1, "high": float("inf")}
    ops = (
        Op("gather", "e", ("t", "i"), ("e",), {"axis": 0}),
        Op("cast", "q", ("e",), ("q",)),
        Op("linear", "h", ("q", "w"), ("h",)),
        Op("unary", "c", ("h",), ("c",), limits),
    )
    return check(
        Program(
            inputs=("i",),
            outputs=("c",),
            ops=ops,
            values={
                "i": Value((4,)),
                "e": Value((4, 3)),
                "q": Value((4, 3), UINT8, whole),
                **dict.fromkeys(("h", "c"), Value((4, 2))),
            },
            arrays={
                "t": Stored(np.arange(15, dtype=np.float32).reshape(5, 3)),
                "w": Stored(codes, INT8_WEIGHT, rows),
            },
            preprocess=Preprocess(255.0, (0.5,), (0.25,), "0123456789abcdef"),
            labels=("no", "猫"),
            origin="t",
            integers=("i",),
        )
    )


# ── the bytes as text ─────────────────────────────────────────────────────────────────────────


def dump(data: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, and what of it can be printed."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:04x}  {row.hex(' '):<47}  {shown}")
    return "\n".join(lines)


def undump(text: str) -> bytes:
    """The bytes of all lines that `dump` wrote, wherever they stand in a text."""
    rows = re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} )*[0-9a-f]{2}) ", text, re.MULTILINE)
    return bytes.fromhex(" ".join(rows))


# ── damage ────────────────────────────────────────────────────────────────────────────────────


def packed(structure: Json, arrays: bytes) -> bytes:
    """An artifact of any structure, with checksums that hold."""
    text = structure if isinstance(structure, bytes) else json.dumps(structure).encode()
    return container.write({"program": text, "arrays": arrays})


def unpacked(data: bytes) -> tuple[Json, bytes]:
    """The structure as JSON, and the arrays."""
    sections = container.read(data)
    return json.loads(bytes(sections["program"])), bytes(sections["arrays"])


def places(structure: Json) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) of a structure."""
    inside = structure.items() if isinstance(structure, dict) else enumerate(structure)
    for key, value in inside:
        yield structure, key
        if isinstance(value, dict | list):
            yield from places(value)


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 31, 33, 63, 64, 65, 2**31, -(2**31), 2**40, 2**63, 2**64),
    *(10**30, 0.0, 0.5, -0.0, 1e-45, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", "x", "w", "raw", "float32", "float64", "int8", "dense", "\ud800", "\0", "\x1b[31m\n"),
    *("A" * 5000, [], {}, [0], [-1], [2**31] * 4, [2**62, 2**62], [1] * 40, [0] * 100, ["x"]),
    *([[[[1]]]], nested(11), nested(500), {"float": "inf"}, {"float": "nan"}, {"float": 1}),
    *({"scalar": "float32", "value": 1e300}, {"scalar": "int8", "value": 300}, {"data": 0}),
    *({"scalar": "bool", "value": True}, {"array": "uint8", "value": 1}, {"list": [1, 1, 1, 1]}),
    *({"": ""}, {"kind": "integer"}, {"scalar": "float64", "value": {"scalar": []}}, {"data": -1}),
]


def with_value(structure: Json, r: random.Random) -> Json:
    holder, key = r.choice(list(places(structure)))
    holder[key] = r.choice(HOSTILE)
    return structure


def with_nudge(structure: Json, r: random.Random) -> Json:
    """One number a little different: what is nearly right."""
    found = [(h, k) for h, k in places(structure) if type(h[k]) in (int, float)]
    holder, key = r.choice(found)
    holder[key] += r.choice([-64, -2, -1, 1, 2, 64])
    return structure


def with_key(structure: Json, r: random.Random) -> Json:
    """A key gone, one more, or one renamed."""
    holder = r.choice([h[k] for h, k in places(structure) if isinstance(h[k], dict)] + [structure])
    if holder and r.random() < 0.7:
        key = r.choice(list(holder))
        value = holder.pop(key)
        if r.random() < 0.5:
            holder[f"{key}_"] = value
    else:
        holder[r.choice(["extra", "data", "value", "list", ""])] = r.choice(HOSTILE)
    return structure


def with_swap(structure: Json, r: random.Random) -> Json:
    """Two fields exchanged, or one put in another's place."""
    (a, key), (b, other) = r.sample(list(places(structure)), 2)
    if r.random() < 0.5:
        a[key], b[other] = json.loads(json.dumps([b[other], a[key]]))
    else:
        a[key] = json.loads(json.dumps(b[other]))
    return structure


def with_items(structure: Json, r: random.Random) -> Json:
    """A list with an item twice, one fewer, or very many."""
    holder = r.choice([h[k] for h, k in places(structure) if isinstance(h[k], list)])
    if holder and r.random() < 0.5:
        holder.pop(r.randrange(len(holder)))
    else:
        holder.extend((holder[:1] or [1]) * r.choice([1, 2, 5000]))
    return structure


def as_text(structure: Json, r: random.Random) -> bytes:
    """JSON that is none, or that a careless parser falls over."""
    text = json.dumps(structure)
    at = r.randrange(len(text))
    forms = [
        text[:at],
        text[:at] + r.choice('[{"}],:0\\') + text[at:],
        text[:at] + r.choice('[{"}],:0\\') + text[at + 1 :],
        text.replace("1", r.choice(["1e999", "-1e999", "1" * 5000, "NaN", "Infinity", "01"]), 1),
        text.replace('"inputs"', '"inputs": [], "inputs"', 1),
        "[" * r.choice([13, 10_000]) + text,
        '{"a":' * 10_000 + text,
        '"' + "\\" * r.choice([2, 10_001]) + text,
        text.encode().decode("latin1") + "\xff",
        "",
        "null",
    ]
    return r.choice(forms).encode("latin1", "replace")


def with_table(data: bytes, r: random.Random) -> bytes:
    """The container's header or table changed, with its checksum made to hold."""
    content = bytearray(data)
    count = struct.unpack_from("<I", data, 12)[0]
    end = 32 + 48 * count
    at = r.choice([*range(8, 24, 4), *range(32, end, 4)])
    value = r.choice([0, 1, 2, 64, len(data), 2**31, 2**32 - 1, content[at] + 64, content[at] ^ 1])
    struct.pack_into("<I", content, at, value)
    struct.pack_into("<I", content, 24, crc32(content[32:end], crc32(content[:24])))
    return bytes(content)


MUTATIONS: tuple[Callable[[Json, random.Random], Json], ...] = (
    *(with_value, with_value, with_nudge, with_key, with_swap, with_items, as_text),
)


def mutated(data: bytes, r: random.Random) -> bytes:
    """An artifact that is wrong in one to three ways, but whose checksums hold."""
    if r.random() < 0.1:
        return with_table(data, r)
    structure, arrays = unpacked(data)
    for _ in range(r.choice([1, 1, 2, 3])):
        structure = r.choice(MUTATIONS)(structure, r)
        if isinstance(structure, bytes):
            break
    if r.random() < 0.1:
        arrays = r.choice([arrays[:-1], arrays + b"\0", b"", bytes(len(arrays)), b"\xff" * 512])
    return packed(structure, arrays)


def main() -> None:
    GOLDEN.write_text(dump(to_bytes(in_int8())) + "\n")
    page = PAGE.read_text()
    fresh = dump(to_bytes(smallest()))
    old = re.search(r"(?:^[0-9a-f]{4}  .*\n)+", page, re.MULTILINE)
    assert old is not None
    PAGE.write_text(page.replace(old[0], fresh + "\n"))


if __name__ == "__main__":
    main()
