"""What a planned network consists of: steps, and where each value lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lighten.emit import Function, Isa
from lighten.engine import choose, tiles
from lighten.kernels.layout import Blocked
from lighten.kernels.strided import Strided
from lighten.program.ir import Op, Program

Array = np.ndarray[Any, Any]
Emit = Callable[[str], Function]
Shapes = tuple[tuple[int, ...], ...]  # of the inputs, in their order, without the batch


@dataclass(frozen=True)
class Step:
    """One call of a kernel: which, on which values and weights, for which op of the program.

    `key` says what the kernel is made for: steps of equal keys share one. `kernel` names it.
    """

    op: str
    kernel: str
    key: tuple[Any, ...]
    emit: Emit
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Interpreted:
    """An op that the reference interpreter runs: what holds each value that it reads and makes."""

    op: Op
    given: Mapping[str, str]
    made: Mapping[str, str]


@dataclass(frozen=True)
class View:
    """A value in rows: the memory that holds it, by name, and the steps through it."""

    place: str
    steps: Strided


@dataclass
class Plan:
    """Steps in their order.

    `whole` names the values that hold whole numbers (as floats; the interpreter reads integers),
    `chosen` the kernel of each convolution by op, but those over tiles, which `tiling` holds;
    `again` plans for another batch and `at` for inputs of other shapes. `layouts` says how each
    value in memory lies (the program's names, and copies'), `views` which of those is read for a
    value in rows and by which steps, `results` what holds each output, `scratch` how many bytes a
    kernel wants for itself, `packed` holds weights in the order in which kernels read them.
    """

    program: Program
    isa: Isa
    whole: frozenset[str] = frozenset()
    chosen: Mapping[str, choose.Choice] = field(default_factory=dict)
    tiling: tiles.Tiling = field(default_factory=tiles.Tiling)
    again: Callable[[int], Plan] | None = None
    at: Callable[[Shapes], Plan] | None = None
    steps: list[Step | Interpreted] = field(default_factory=list)
    layouts: dict[str, Blocked] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    scratch: dict[str, int] = field(default_factory=dict)
    packed: dict[str, Array] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)

    def for_many(self) -> Plan | None:
        """The plan for larger batches, if some convolution does better with another kernel then."""
        many = self.again(choose.MANY) if self.again else None
        names = {op: choice.name for op, choice in self.chosen.items()}
        if many is None or names == {op: choice.name for op, choice in many.chosen.items()}:
            return None
        many.again = None
        return many

    @property
    def interpreted(self) -> tuple[str, ...]:
        """The ops that no kernel runs, by name."""
        return tuple(step.op.name for step in self.steps if isinstance(step, Interpreted))
