"""Which kernels could compute each convolution, and what each asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.emit import Isa
from lighten.engine.codes import THIN, thin
from lighten.engine.images import image
from lighten.kernels import (
    depthwise,
    depthwise_codes,
    direct,
    direct_codes,
    direct_pairs,
    fft,
    grouped,
    grouped_codes,
    indirect,
    permuted,
    split,
    strassen,
    transposed,
    winograd,
    winograd_line,
)
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.shapes import Conv, Window, plane, window
from lighten.program.integers import coded, is_layer
from lighten.program.ir import Op, Program
from lighten.program.signs import counts

Array = np.ndarray[Any, Any]

HEAVY, SMALL = 1 << 18, 1 << 10  # bytes of weights, pixels
KEPT = 2 << 20  # bytes of a network's weights, up to four times as many transformed, that may
# still be in the last cache when the next call comes
MANY, FEWEST = 16, 4  # samples that stand for a larger batch, and the smallest of such batches
KERNELS: Sequence[Any] = (
    *(depthwise, permuted, grouped, split, direct, indirect, direct_pairs),
    *(winograd, winograd_line, fft, strassen),
)
CODES: Sequence[Any] = (depthwise_codes, direct_codes, grouped_codes)  # over codes


@dataclass(frozen=True)
class Choice:
    """A kernel (a module of `kernels`) for a convolution: how it is run, and the halo it reads."""

    conv: Conv
    kernel: Any
    schedule: Any
    halo: Halo
    cycles: float

    @property
    def name(self) -> str:
        """Its kernel and schedule."""
        return f"{self.kernel.__name__.rsplit('.', 1)[-1]} {self.schedule}"


Pick = Callable[[Conv, Isa, Sequence[Choice]], Choice]


def convolutions(program: Program, isa: Isa, pick: Pick, batch: int = 1) -> dict[str, Choice]:
    """Op name → the kernel picked for it; ops that no kernel can run are left out."""
    found = {}
    for op, conv in asked(program, isa, batch):
        options = candidates(conv, isa)
        if options:
            found[op.name] = pick(conv, isa, options)
    return found


def of_codes(chosen: Mapping[str, Choice]) -> frozenset[str]:
    """Those whose kernels read codes."""
    return frozenset(name for name, choice in chosen.items() if choice.conv.source.size == 1)


def asked(program: Program, isa: Isa, batch: int = 1) -> Iterator[tuple[Op, Conv]]:
    """Every op that is a convolution between images, and what it asks of a kernel where so many
    samples come at a time.
    """
    framed = _framed(program)
    remote = sum(array.codes.nbytes for array in program.arrays.values()) > KEPT
    for op in program.ops:
        if op.get("activation", "") not in FUNCTIONS:
            continue
        conv = convolution(program, op, isa)
        if conv is not None and op.kind == "conv" and conv.window == Window((1, 1)):
            ends = (op.inputs[0], op.output)
            before, after = (Halo(1, 1, 1, 1) if name in framed else Halo() for name in ends)
            source, target = conv.source.with_halo(before), conv.target.with_halo(after)
            conv = replace(conv, source=source, target=target)
        if conv is not None:
            yield op, replace(conv, batch=batch if heavy(conv) else 1, remote=remote)


def heavy(conv: Conv) -> bool:
    """Whether its weights are so many that they are better read once for several images."""
    pixels = conv.target.height * conv.target.width
    return conv.groups == 1 and 4 * direct.weight_size(conv) >= HEAVY and pixels <= SMALL


def _framed(program: Program) -> set[str]:
    """Values around which some convolution reads zeros: no kernel sees their pixels as one row."""
    found = set()
    for op in program.ops:
        if op.kind == "conv" and any(op["pads"]):
            found.add(op.inputs[0])
    return found


def candidates(conv: Conv, isa: Isa) -> list[Choice]:
    """Every kernel with every schedule that it offers."""
    return [
        Choice(
            conv,
            kernel,
            schedule,
            kernel.halo(conv, schedule).covering(conv.source.halo),
            kernel.cycles(conv, schedule, isa),
        )
        for kernel in (CODES if conv.source.size == 1 else KERNELS)
        if kernel.accepts(conv, isa)
        for schedule in kernel.schedules(conv, isa)
    ]


def convolution(program: Program, op: Op, isa: Isa) -> Conv | None:
    """What a `conv` (or a `linear` on one vector) asks of a kernel, its layouts still bare; None
    for other ops, and for convolutions over three dimensions. The program's own input is read as it
    comes, planar, where its channels would leave most lanes empty.
    """
    if op.kind == "conv_transpose":
        return _in_phases(program, op, isa)
    if op.kind not in ("conv", "linear") or op.inputs[0] not in program.values:
        return None
    value = program.values[op.inputs[0]]
    if counts(op, program):  # `engine.signs` chooses how
        return None
    source, target = image(value.shape), image(program.values[op.output].shape)
    weight = program.arrays[op.inputs[1]].shape
    if source is None or target is None or (op.kind == "linear" and len(value.shape) > 1):
        return None
    sliding = Window((1, 1)) if op.kind == "linear" else window(op, weight[2:])
    groups, active = op.get("groups", 1), op.get("activation", "")
    y = Blocked(*target, isa.lanes)
    if is_layer(op, program):
        lanes = THIN if thin(program, op.inputs[0]) else isa.lanes
        size = 1 if coded(program.values[op.output]) else 4
        asked = Conv(
            Blocked(*source, lanes, size=1), replace(y, size=size), sliding, groups, active
        )
        if any(kernel.accepts(asked, isa) for kernel in CODES):
            return asked
    first = op.inputs[0] in program.inputs and op.kind == "conv" and 2 * source[0] <= isa.lanes
    return Conv(Blocked(*source, 1 if first else isa.lanes), y, sliding, groups, active)


def _in_phases(program: Program, op: Op, isa: Isa) -> Conv | None:
    """A transposed convolution, as one to all of its phases."""
    source = image(program.values[op.inputs[0]].shape) if op.inputs[0] in program.values else None
    weight = program.arrays[op.inputs[1]].shape
    if source is None or len(weight) > 4:
        return None
    made = in_phases(program, op)
    x, groups = Blocked(*source, isa.lanes), op["groups"]
    filters = made.count * apart(made, weight[1], groups, isa.lanes) * groups
    sliding = plane(made.window)
    y = Blocked(filters, *sliding.results(x.height, x.width), isa.lanes)
    return Conv(x, y, sliding, groups, op.get("activation", ""))


def in_phases(program: Program, op: Op) -> transposed.Phases:
    """How a transposed convolution falls into phases."""
    size, results = (program.values[name].shape[1:] for name in (op.inputs[0], op.output))
    return transposed.phases(op, program.arrays[op.inputs[1]].shape[2:], size, results)


def apart(made: transposed.Phases, filters: int, groups: int, lanes: int) -> int:
    """Filters from one phase to the next: whole registers where that wastes less than half."""
    several = made.count > 1 and groups == 1 and filters >= lanes
    return -(-filters // lanes) * lanes if several else filters


def halos(program: Program, chosen: Mapping[str, Choice]) -> dict[str, Halo]:
    """The frame of zeros that the chosen kernels read around each value."""
    found: dict[str, Halo] = {}
    for op in program.ops:
        if op.name in chosen:
            held = found.get(op.inputs[0], Halo())
            found[op.inputs[0]] = held.covering(chosen[op.name].halo)
    return found


def settled(conv: Conv, source: Blocked, target: Blocked, residual: Blocked | None) -> Conv:
    """The convolution between these layouts."""
    return replace(conv, source=source, target=target, residual=residual)
