"""Which part of a kernel's work one call does: the outermost loops of every kernel.

reference:
    for i in range(extents[0]):
        for j in range(extents[1]):
            …
                body(i, j, …)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lighten.emit import I64, Function, Index, Tile, Type, Value

COUNT: Mapping[str, Type] = {"n": I64}  # the last parameters of every kernel


def each(f: Function, extents: Sequence[Index], body: Callable[..., None]) -> None:
    """`body(i, j, …)` for all indices below `extents`; the first is most often the sample."""

    def nested(found: tuple[Value, ...]) -> None:
        if len(found) == len(extents):
            body(*found)
            return

        def step(i: Value, _: Tile) -> None:
            nested((*found, i))

        f.loop(0, extents[len(found)], step)

    nested(())
