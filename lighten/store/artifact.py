"""`model.lighten`: a program and its weights in one file that holds no code and needs no torch.

    program ── described ──► structure + arrays ── lay_out ──► sections ── write ──► bytes
    bytes ── read ──► sections ── views ──► structure + arrays ── restored ──► program

Saving ends with what loading begins with, so a program that could not be loaded is not saved.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from lighten.core.files import write_bytes
from lighten.errors import ArtifactError
from lighten.program.ir import Program
from lighten.store import canonical, container
from lighten.store.arrays import bare, lay_out, views
from lighten.store.describe import described
from lighten.store.fields import demand, refuse
from lighten.store.restore import restored

STRUCTURE, ARRAYS = "program", "arrays"


def to_bytes(program: Program) -> bytes:
    """A program as the bytes of an artifact; equal programs give equal bytes.

    Mappings have no order: a program comes back with its values, arrays and attributes sorted.
    ArtifactError where it breaks its spec, or holds what no artifact can.

    >>> from lighten.program import Builder
    >>> b = Builder()
    >>> program = b.finish(b.op("unary", b.input("x", (3,)), function="relu"))
    >>> to_bytes(from_bytes(to_bytes(program))) == to_bytes(program)
    True
    """
    try:
        structure, arrays = described(program)
        table, content = lay_out(arrays)
        text = canonical.dumps({**structure, "data": table})
        restored(_without_data(canonical.loads(text))[0], [bare(array) for array in arrays])
    except ArtifactError as error:
        raise ArtifactError(
            f"The program cannot be stored. {error.message}",
            "Report it: what can be lowered should be storable.",
        ) from error
    return container.write({STRUCTURE: text, ARRAYS: content})


def from_bytes(data: bytes | memoryview) -> Program:
    """The checked program in the bytes of an artifact; its arrays are read-only views of them.

    ArtifactError for bytes that are damaged, foreign or malformed, and nothing else, whatever
    they are; memory stays within a multiple of the structure's length (at most 16 MiB), and of that
    of arrays whose numbers have less than a byte.
    """
    sections = container.read(data)
    if set(sections) != {STRUCTURE, ARRAYS}:
        refuse(f"An artifact has the sections {STRUCTURE} and {ARRAYS}, but this has others")
    structure, table = _without_data(canonical.loads(sections[STRUCTURE]))
    return restored(structure, views(table, sections[ARRAYS]))


def save(program: Program, path: Path | str) -> None:
    """Write a program to `path`, whole or not at all; what stood there is replaced in one step.

    ArtifactError as `to_bytes`; WriteError where it cannot be written (a full disk).
    """
    write_bytes(Path(path), to_bytes(program))


def load(path: Path | str) -> Program:
    """The program in the artifact at `path`, its arrays mapped from the file, not copied.

    The file may be replaced or deleted meanwhile, but must not be written into.
    ArtifactError, naming `path`, where it cannot be read or is no whole artifact.
    """
    path = Path(path)
    try:
        return from_bytes(_mapped(path))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.message}", error.hint) from error


def _mapped(path: Path) -> memoryview:
    """The bytes of a file, read by the system where they are touched."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ArtifactError("There is no such file.", "Give the path of a model.lighten.")
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ArtifactError("The file is empty.", container.AGAIN)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ArtifactError(f"It could not be read: {said}.", "Check its permissions.") from error


def _without_data(form: object) -> tuple[dict[str, object], object]:
    """The structure as `described` gives it, and the table of arrays."""
    if not isinstance(form, dict):
        refuse("The structure must be a mapping")
    demand("data" in form, "The structure has no 'data'")
    return {name: told for name, told in form.items() if name != "data"}, form["data"]
