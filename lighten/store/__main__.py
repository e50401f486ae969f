"""`python -m lighten.store [FILE]`: what is inside an artifact; without FILE, in a small one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lighten.errors import ArtifactError
from lighten.program.ir import Program, Stored
from lighten.program.show import show
from lighten.store import container, from_bytes, load, to_bytes


def demo() -> bytes:
    """The artifact of a tiny network in int8."""
    from lighten.program.__main__ import tiny
    from lighten.program.fuse import fuse
    from lighten.program.quantize import quantization

    samples = np.random.default_rng(1).normal(size=(64, 3, 8, 8)).astype(np.float32)
    return to_bytes(quantization(fuse(tiny()), [(samples,)]))


def sections(data: bytes) -> Table:
    """The sections, the bytes of each, and all of it."""
    table = Table("section", title="sections", title_justify="left")
    table.add_column("bytes", justify="right")
    for name, content in container.read(data).items():
        table.add_row(name, f"{len(content):,}")
    table.add_row("the file", f"{len(data):,}")
    return table


def arrays(program: Program) -> Table:
    """One row per stored array: what it is and what it takes, its scales included."""
    table = Table("array", "shape", "codes", "coding", title="arrays", title_justify="left")
    table.add_column("bytes", justify="right")
    for name, stored in program.arrays.items():
        shape = "×".join(map(str, stored.shape)) or "1"
        taken = f"{size(stored):,}"
        table.add_row(printable(name), shape, str(stored.codes.dtype), "raw", taken)
    total = sum(size(stored) for stored in program.arrays.values())
    table.add_row(f"{len(program.arrays)} arrays", "", "", "", f"{total:,}")
    return table


def size(stored: Stored) -> int:
    """Bytes of an array, with those of its scales."""
    params = stored.params
    scales = () if params is None else (params.scale, params.zero_point)
    return int(sum(np.asarray(numbers).nbytes for numbers in (stored.codes, *scales)))


def printable(name: str) -> Text:
    """A name of the file as it may be shown: no markup, no control characters."""
    return Text(name if name.isprintable() else ascii(name))


def main(arguments: list[str]) -> int:
    """Print what an artifact holds; 2 where it is none."""
    out = Console()
    try:
        program = load(arguments[0]) if arguments else from_bytes(demo())
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 2
    data = Path(arguments[0]).read_bytes() if arguments else to_bytes(program)
    out.print(sections(data), arrays(program))
    text = show(program).splitlines()
    for line in text:
        out.print(printable(line), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
