"""Which images lie in tiles: what convolutions that skip zeros read and make, where that pays.

    x ─ dense ─ a ─┤into tiles├─ sparse ─ b ─ sparse ─ c ─┤out of tiles├─ dense ─ …

Images that one such op joins lie in one grid, and their tiles are as large to each other as the
steps between them say. Begun with every convolution that could be, and with none, ops are moved in
and out as long as the cycles predicted for all of them, copies included, become fewer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lighten.emit import Isa
from lighten.engine import tile_records, tuning
from lighten.engine.choose import Choice as Dense
from lighten.engine.tile_grids import grids
from lighten.kernels import block_sparse, quads, sparse, tile_moves, tiled
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Window, window
from lighten.kernels.tile_schedule import Schedule, TiledConv
from lighten.kernels.tiled import Pair, Tiled
from lighten.program.integers import coded, is_layer, layer
from lighten.program.ir import Op, Program

Array = np.ndarray[Any, Any]
ROUNDS = 3  # passes over all ops
MOST = 0.8  # of the words of weights that are kept where zeros may pay
LOOK = 4096  # weights that are looked at first
MOVED = 2.0  # cycles to copy a register


@dataclass(frozen=True)
class Choice:
    """A kernel over tiles for a convolution, and how it is run."""

    conv: TiledConv
    kernel: Any
    schedule: Schedule
    cycles: float


@dataclass(frozen=True)
class Tiling:
    """The layout of each value that lies in tiles, and the ops that read and make those: the
    convolutions with their kernels, and with those that they would have in blocks, and crops.
    `judged` are the convolutions that could have been among them.
    """

    values: Mapping[str, Tiled] = field(default_factory=dict)
    convs: Mapping[str, Choice] = field(default_factory=dict)
    dense: Mapping[str, Dense] = field(default_factory=dict)
    crops: Mapping[str, tile_moves.Crop] = field(default_factory=dict)
    judged: tuple[Choice, ...] = ()

    def holds(self, op: str) -> bool:
        """Whether an op runs over tiles."""
        return op in self.convs or op in self.crops


def tiling(program: Program, isa: Isa, chosen: Mapping[str, Dense]) -> Tiling:
    """What is predicted to be the fastest; nothing where no convolution gains by its zeros."""
    asked = Asked(program, isa, chosen)
    possible = [op.name for op in program.ops if asked.possible(op)]
    if not any(map(asked.may_gain, possible)):
        return Tiling()
    none, every = Tiling(), asked.judged(possible)[0]
    found = [(none, asked.cycles(none)), *(_improved(asked, possible, n) for n in (possible, []))]
    best = min(found, key=lambda one: one[1])[0]
    judged = tuple(choice for name, choice in every.convs.items() if asked.may_gain(name))
    return replace(best if best.convs else none, judged=judged)


def _improved(asked: Asked, possible: list[str], names: list[str]) -> tuple[Tiling, float]:
    """These ops over tiles, or others where each that was moved in or out took cycles away."""
    found, cycles = asked.judged(names)
    for _ in range(ROUNDS):
        before = cycles
        for name in possible:
            other = [n for n in names if n != name] if name in names else [*names, name]
            made, taken = asked.judged(other)
            if taken < cycles:
                names, found, cycles = other, made, taken
        if cycles == before:
            break
    return found, cycles


class Asked:
    """What is known of a program's ops, found once."""

    def __init__(self, program: Program, isa: Isa, chosen: Mapping[str, Dense]) -> None:
        self.program, self.isa, self.chosen = program, isa, chosen
        self.ops = {op.name: op for op in program.ops}
        self.makers, self.readers = program.producers(), program.consumers()
        self._weights: dict[str, tuple[Any, int, Window]] = {}
        self._choices: dict[tuple[str, TiledConv], Choice] = {}

    # ── single ops ────────────────────────────────────────────────────────────────────────

    def possible(self, op: Op) -> bool:
        """Whether an op could run over tiles."""
        if op.kind == "crop":
            return self._crops(op)
        if op.kind != "conv" or op.get("groups", 1) != 1 or op.name not in self.chosen:
            return False
        if op.get("activation", "") not in FUNCTIONS:
            return False
        named = (*op.inputs[:1], op.get("residual") or op.output, op.output)
        if any(name not in self.program.values or not self.is_image(name) for name in named):
            return False
        codes = [coded(self.program.values[name]) for name in named]
        if not any(codes):
            return True
        return codes[0] and codes[1] == codes[2] and is_layer(op, self.program)

    def may_gain(self, name: str) -> bool:
        """Whether a convolution has enough zeros that it could be faster over tiles."""
        if self.ops[name].kind != "conv":
            return False
        codes = self.program.arrays[self.ops[name].inputs[1]].codes
        some = codes.reshape(-1)[:: codes.size // LOOK | 1]
        if np.count_nonzero(some) > (1 + MOST) / 2 * some.size:
            return False
        filters, channels, *taps = codes.shape
        groups = math.ceil(channels / self.together(self.ops[name].inputs[0]))
        return bool(self.weights(name)[1] < MOST * filters * groups * math.prod(taps))

    def is_image(self, name: str) -> bool:
        """Whether it has channels, rows and columns."""
        return len(self.program.values[name].shape) == 3

    def _crops(self, op: Op) -> bool:
        """Whether a crop takes pixels in even steps and adds whole groups of channels alone."""
        pads, steps, value = op["pads"], op["steps"], self.program.values[op.inputs[0]]
        together = self.together(op.output)
        if self.together(op.inputs[0]) != together or not self.is_image(op.inputs[0]):
            return False
        whole = pads[0] % together == 0 and value.shape[0] % together == 0
        bare = not any(op["begin"]) and steps[0] == 1 and op["value"] == 0
        return bool(whole and bare and not any((*pads[1:3], *pads[4:])))

    def together(self, name: str) -> int:
        """Channels in a lane: those of a word."""
        return quads.CODES if coded(self.program.values[name]) else 1

    def weights(self, name: str) -> tuple[Any, int, Window]:
        """The kernel of a convolution, its stream's entries, its window."""
        if name not in self._weights:
            op = self.ops[name]
            kernel = block_sparse if coded(self.program.values[op.inputs[0]]) else sparse
            shape = self.program.arrays[op.inputs[1]].shape
            held = weight_of(op, self.program)
            self._weights[name] = (kernel, kernel.entries(held), window(op, shape[2:]))
        return self._weights[name]

    def ends(self, name: str) -> Iterator[tuple[str, str, Pair]]:
        """Pairs of values that an op joins in one grid, and the steps from the second to the
        first.
        """
        op = self.ops[name]
        if op.kind == "crop":
            yield op.inputs[0], op.output, (op["steps"][1], op["steps"][2])
            return
        yield op.inputs[0], op.output, self.weights(name)[2].strides
        if op.get("residual"):
            yield op["residual"], op.output, (1, 1)

    # ── many of them ──────────────────────────────────────────────────────────────────────

    def judged(self, names: Collection[str]) -> tuple[Tiling, float]:
        """These ops over tiles, and the cycles predicted for the whole; endless where the steps
        between their values contradict each other.
        """
        values = self._layouts(names)
        if values is None:
            return Tiling(), math.inf
        convs, crops = {}, {}
        for name in names:
            op = self.ops[name]
            source, target = values[op.inputs[0]], values[op.output]
            if op.kind == "crop":
                steps, at = (op["steps"][1], op["steps"][2]), op["pads"][0] // target.together
                crops[name] = tile_moves.Crop(source, target, steps, at)
            else:
                convs[name] = self._choice(op, source, target, values.get(op.get("residual", "")))
        found = Tiling(values, convs, {name: self.chosen[name] for name in convs}, crops)
        return found, self.cycles(found)

    def _choice(self, op: Op, source: Tiled, target: Tiled, added: Tiled | None) -> Choice:
        kernel, entries, sliding = self.weights(op.name)
        conv = TiledConv(source, target, sliding, op.get("activation", ""), added)
        if (op.name, conv) not in self._choices:
            schedule = kernel.schedule(conv, self.isa, entries)
            cycles = self._timed(op.name, conv, entries)
            cycles = cycles or kernel.cycles(conv, schedule, self.isa, entries)
            self._choices[op.name, conv] = Choice(conv, kernel, schedule, cycles)
        return self._choices[op.name, conv]

    def _timed(self, name: str, conv: TiledConv, entries: int) -> float | None:
        """What a convolution takes, in what is predicted for the kernel that it has in blocks: by
        what was measured of both, or None.
        """
        dense = self.chosen[name]
        ours = tile_records.milliseconds(conv, self.isa, entries)
        found = tuning.recall(tuning.plainly(dense.conv), self.isa) or ()
        theirs = next((one.milliseconds for one in found if one.name == dense.name), None)
        return dense.cycles * ours / theirs if ours and theirs else None

    def cycles(self, found: Tiling) -> float:
        """Of all possible ops, with the copies between layouts."""
        total, copied = 0.0, 0.0
        for name, dense in self.chosen.items():
            if name in self.ops:
                total += found.convs[name].cycles if name in found.convs else dense.cycles
        for value, layout in found.values.items():
            maker = self.makers.get(value)
            inside = maker is not None and found.holds(maker.name)
            outside = any(not found.holds(op.name) for op in self.readers.get(value, ()))
            outside = outside or value in self.program.outputs
            if not inside or outside:
                copied += tile_moves.cycles(layout)
        crops = (c.target for c in found.crops.values())
        moved = sum(MOVED * t.groups * t.cells for t in crops)
        return total + copied + moved

    def _layouts(self, names: Collection[str]) -> dict[str, Tiled] | None:
        """Every value that these ops read or make, in tiles."""
        frames: dict[str, Halo] = defaultdict(Halo)
        for name in names:
            if (op := self.ops[name]).kind == "conv":
                read = op.inputs[0]
                frames[read] = frames[read].covering(tiled.halo(self.weights(name)[2]))
        joins = [join for name in names for join in self.ends(name)]
        sizes = {name: self.program.values[name].shape[1:] for join in joins for name in join[:2]}
        cut = grids(joins, sizes, self.isa.lanes)
        if cut is None:
            return None
        found = {}
        for value, (grid, tile) in cut.items():
            shape = self.program.values[value].shape
            size = (shape[0], shape[1], shape[2])
            found[value] = Tiled(*size, grid, tile, frames[value], self.together(value))
        return found


def weight_of(op: Op, program: Program) -> Array:
    """The weights of a convolution: codes, or float32."""
    if coded(program.values[op.inputs[0]]):
        return layer(op, program).weight
    return np.asarray(program.arrays[op.inputs[1]].decode(), np.float32)
