"""Writing compiled networks down, for `kept` to find."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from lighten.core.files import cache_dir, replacing
from lighten.emit import bits
from lighten.engine import tile_records, tuning
from lighten.engine.arena import Array
from lighten.engine.choose import FEWEST
from lighten.engine.executable import Network
from lighten.engine.kept import FRONT, MAGIC, digests, made, page, place
from lighten.engine.steps import Plan
from lighten.errors import WriteError

MOST = 4 << 30  # bytes of all that is kept; the oldest go
PIECE = 1 << 20  # bytes read at a time
TICK = 20_000_000  # nanoseconds: files that changed within seem to have changed at the same time


def keep(name: str, stamp: str, network: Network, begun: int) -> None:
    """Write down a network whose planning began at `begun` (nanoseconds since 1970), whole or not
    at all. What needs the interpreter is not kept, nor what was planned while kernels were tuned.
    """
    if not network.native:
        return
    isa, threads = network.plan.isa, network.threads
    asked = bits.without(isa)  # whoever looks for it has not read what it is made of
    with suppress(OSError, WriteError):
        records = digests(_records(network.plan))
        if not _unchanged(begun):
            return
        weights = network.weights
        head = {
            "made": made(stamp, asked, threads),
            "records": records,
            "object": network.library.name,
            "room": asdict(network.room),
            "entry": {**asdict(network.inputs), "bounds": [*network.inputs.bounds.items()]},
            "many": FEWEST,
            "weights": weights.nbytes,
        }
        text = json.dumps(head).encode()
        front = MAGIC + FRONT.pack(len(text), hashlib.sha256(text).digest()) + text
        with replacing(place(name, asked, threads)) as beside, beside.open("w+b") as file:
            file.write(front.ljust(page(len(front)), b"\0"))
            file.write(weights.data)
            file.flush()
            if not _same(file, weights):
                raise WriteError(f"{beside} does not hold what was written.")
        _tidy(place(name, asked, threads).parent)


def _records(plan: Plan) -> list[str]:
    """What was measured, or not, when its kernels were chosen."""
    blocks = (*plan.chosen.values(), *plan.tiling.dense.values())
    tiles = (choice.conv for choice in plan.tiling.judged)
    return [*tuning.records(blocks, plan.isa), *tile_records.records(tiles, plan.isa)]


def _tidy(folder: Path) -> None:
    """Remove the oldest, beyond `MOST` bytes; what is mapped somewhere stays until it is not."""
    held = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("*.kept"))
    total = 0
    for _, path in reversed(held):
        total += path.stat().st_size
        if total > MOST:
            path.unlink(missing_ok=True)


def _same(file: BinaryIO, weights: Array) -> bool:
    """Whether a file ends in what was written, read in pieces."""
    file.seek(-weights.nbytes, os.SEEK_END)
    return all(
        file.read(PIECE) == weights[at : at + PIECE].tobytes()
        for at in range(0, weights.nbytes, PIECE)
    )


def _unchanged(begun: int) -> bool:
    """Whether no tuning record came or went since then: each is renamed into its folder."""
    try:
        return (cache_dir() / tuning.FOLDER).stat().st_mtime_ns < begun - TICK
    except FileNotFoundError:
        return True
