"""Which steps of a straight run must wait for the others: those that read what was written since
all met last, or write what was read or written since.

Some steps write to one value and need not wait for each other: the zeros around an image and the
image, and moves to different places in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lighten.emit import Function
from lighten.engine.steps import Step

Range = tuple[int, int]
WRITTEN = frozenset("ys")  # what kernels call their results and their scratch
FRAME, PLACED, FILL = "clear", "move", "fill"  # kernels that write a part of a value, or all of it


def waits(
    steps: Sequence[Step], kernels: Sequence[Function], ranges: Mapping[str, Range]
) -> list[bool]:
    """For each step whether it waits; the first need not. `ranges` are the bytes in the arena of
    each value and scratch.
    """
    found: list[bool] = []
    since: list[Uses] = []
    for step, kernel in zip(steps, kernels, strict=True):
        uses = Uses(step, kernel, ranges)
        late = any(uses.meets(other) for other in since)
        since = [uses] if late else [*since, uses]
        found.append(late)
    return found


class Uses:
    """What a step reads and writes."""

    def __init__(self, step: Step, kernel: Function, ranges: Mapping[str, Range]) -> None:
        held = [
            (parameter, name)
            for parameter, name in zip(kernel.parameters, step.arguments, strict=False)
            if name in ranges
        ]
        self.kernel = step.kernel
        self.written = {name: ranges[name] for parameter, name in held if parameter in WRITTEN}
        self.read = {name: ranges[name] for parameter, name in held if parameter not in WRITTEN}

    def meets(self, before: Uses) -> bool:
        """Whether this must wait until the one before is done by all."""
        return any(
            _overlap(mine, theirs)
            for mine, theirs in (
                *_pairs(self.read, before.written),
                *_pairs(self.written, before.read),
                *self._overwrites(before),
            )
        )

    def _overwrites(self, before: Uses) -> Iterator[tuple[Range, Range]]:
        kernels = {self.kernel, before.kernel}
        apart = kernels == {PLACED} or (FRAME in kernels and FILL not in kernels)
        for name, mine in self.written.items():
            for other, theirs in before.written.items():
                if not (apart and name == other):
                    yield mine, theirs


def _pairs(mine: Mapping[str, Range], theirs: Mapping[str, Range]) -> Iterator[tuple[Range, Range]]:
    for one in mine.values():
        for other in theirs.values():
            yield one, other


def _overlap(a: Range, b: Range) -> bool:
    return a[0] < b[1] and b[0] < a[1]
