"""The bytes level of an artifact: named sections, each with its length and checksum.

    header    32 bytes   magic, version, number of sections, length of the file, checksum
    table     48 each    name, offset, length, checksum
    sections  each begins at a multiple of 64: a mapped array lies as a kernel wants it

There is one way to lay sections out, without gaps; whatever is laid out otherwise is refused.
The checksum is CRC-32: it finds every run of up to 32 damaged bits, takes a fifth of the
time of blake2b, and neither stops someone who wants a file to pass, since he can write the checksum
too. What a checked section may say is therefore checked again by its reader.
`docs/format.md` shows the bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from zlib import crc32

from lighten.errors import ArtifactError

MAGIC, VERSION, ALIGNMENT = b"LIGHTEN\0", 1, 64
HEADER = struct.Struct("<8sIIQII")  # magic, version, sections, length of the file, checksum, 0
ENTRY = struct.Struct("<24sQQII")  # name, offset, length, checksum, 0
SUMMED = 24  # header bytes before its checksum, which covers them and the table
MOST = 64  # sections
NAME = re.compile(rb"([a-z][a-z0-9_]{0,23})\0*", re.DOTALL)
AGAIN = "Copy the file again from where it was made, or make it anew."
Buffer = bytes | memoryview


def aligned(offset: int) -> int:
    """The first multiple of 64 from `offset` on.

    >>> aligned(65)
    128
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT


def write(sections: Mapping[str, Buffer]) -> bytes:
    """The bytes of a file with these sections, in this order: equal sections, equal bytes.

    ArtifactError for a name that is not 1 to 24 of a–z, 0–9 and _, and for more than 64 sections.

    >>> bytes(read(write({"greeting": b"hello"}))["greeting"])
    b'hello'
    """
    if len(sections) > MOST:
        raise ArtifactError(f"An artifact has {MOST} sections at most, but got {len(sections)}.")
    table, body = [], []
    offset = HEADER.size + ENTRY.size * len(sections)
    for name, content in sections.items():
        if not re.fullmatch("[a-z][a-z0-9_]{0,23}", name):
            raise ArtifactError(f"{name!r} cannot be the name of a section.")
        body += [bytes(aligned(offset) - offset), content]
        offset = aligned(offset)
        table.append(ENTRY.pack(name.encode(), offset, len(content), crc32(content), 0))
        offset += len(content)
    head = HEADER.pack(MAGIC, VERSION, len(sections), offset, 0, 0)[:SUMMED]
    checksum = struct.pack("<II", crc32(b"".join([head, *table])), 0)
    return b"".join([head, checksum, *table, *body])


def read(data: Buffer) -> dict[str, memoryview]:
    """The sections of a file, by name, as read-only views of its bytes; nothing is copied.

    ArtifactError for bytes that `write` did not make: foreign, newer, cut short, longer, damaged.

    >>> list(read(write({"a": b"1", "b": b"2"})))
    ['a', 'b']
    """
    view = memoryview(data).toreadonly().cast("B")
    count = _header(view)
    end = HEADER.size + ENTRY.size * count
    sections: dict[str, memoryview] = {}
    for at in range(HEADER.size, end, ENTRY.size):
        name, start, content = _section(view, at, end)
        if name in sections:
            raise ArtifactError(f"There are two sections {name!r}.", AGAIN)
        sections[name] = content
        end = start + len(content)
    if end != len(view):
        raise ArtifactError(f"{len(view) - end} bytes follow the last section.", AGAIN)
    return sections


def _header(view: memoryview) -> int:
    """The number of sections, once the header and the table are known to be whole."""
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise ArtifactError(
            "This is no artifact of lighten: it does not begin with LIGHTEN.",
            "Give a model.lighten that lighten made.",
        )
    if len(view) < HEADER.size:
        raise ArtifactError(f"The file is cut short: it has only {len(view)} bytes.", AGAIN)
    _, version, count, length, checksum, zero = HEADER.unpack_from(view)
    if version != VERSION:
        raise ArtifactError(
            f"The artifact has format version {version}, but this lighten reads version {VERSION}.",
            "Update it: pip install --upgrade lighten.",
        )
    end = HEADER.size + ENTRY.size * count
    if count > MOST or zero:
        raise ArtifactError("The header is damaged.", AGAIN)
    if end > len(view):
        raise ArtifactError(f"The file is cut short: it has only {len(view)} bytes.", AGAIN)
    if crc32(view[HEADER.size : end], crc32(view[:SUMMED])) != checksum:
        raise ArtifactError("The header is damaged: its checksum is another.", AGAIN)
    if length > len(view):
        raise ArtifactError(f"The file is cut short: {len(view)} of {length} bytes.", AGAIN)
    if length < len(view):
        raise ArtifactError(f"{len(view) - length} bytes follow the artifact's end.", AGAIN)
    return int(count)


def _section(view: memoryview, at: int, end: int) -> tuple[str, int, memoryview]:
    """Name, offset and content of the section whose entry lies at `at`; the last ended at `end`."""
    raw, offset, length, checksum, zero = ENTRY.unpack_from(view, at)
    named = NAME.fullmatch(raw)
    if named is None or zero:
        raise ArtifactError("The table of sections is damaged.", AGAIN)
    name = named[1].decode()
    if offset != aligned(end) or any(view[end:offset]):
        raise ArtifactError(f"The section {name!r} is not where it belongs.", AGAIN)
    if length > len(view) - offset:
        raise ArtifactError(f"The section {name!r} reaches over the end of the file.", AGAIN)
    content = view[offset : offset + length]
    if crc32(content) != checksum:
        raise ArtifactError(f"The section {name!r} is damaged: its checksum is another.", AGAIN)
    return name, offset, content
