"""The hand that writes a plan: values get their places, kernels are called on them.

Images flow in blocks of channels (`kernels.layout.Blocked`), all else in rows
(`kernels.strided.Strided`); copies between the two are steps like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from lighten.engine.codes import THIN, thin
from lighten.engine.images import image, plain
from lighten.engine.steps import Array, Emit, Interpreted, Plan, Step, View
from lighten.kernels import binary_layer, elementwise, moves, quads, tile_moves
from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.strided import Strided, rows
from lighten.kernels.tiled import WORD
from lighten.program.integers import coded, zero_of
from lighten.program.ir import Op
from lighten.program.signs import signed
from lighten.program.spec import KINDS

IN_TILES = " (tiles)"


def plain_name(name: str) -> str:
    """What the row-major copy of a value is called."""
    return f"{name} (plain)"


def blocked_name(name: str) -> str:
    """What the blocked copy of a value is called."""
    return f"{name} (blocked)"


def tiles_name(name: str) -> str:
    """What the copy of a value in tiles is called."""
    return f"{name}{IN_TILES}"


def value_in_tiles(place: str) -> str:
    """The value that a place in memory holds in tiles; "" where it holds none."""
    return place.removesuffix(IN_TILES) if place.endswith(IN_TILES) else ""


@dataclass(frozen=True)
class Writer:
    """Adds to a plan: values made, kernels called."""

    plan: Plan
    halos: Mapping[str, Halo]

    # ── values ────────────────────────────────────────────────────────────────────────────

    def in_blocks(self, name: str) -> bool:
        """Whether a kernel has made the value in blocks of channels."""
        return name in self.plan.layouts and self.plan.layouts[name].lanes > 1

    def blocked(self, name: str) -> Blocked:
        """The layout of a value as kernels read it; copied there from a plain one if need be."""
        if self.in_blocks(name):
            return self.plan.layouts[name]
        copied = blocked_name(name)
        if copied not in self.plan.layouts and tiles_name(name) in self.plan.layouts:
            self._out_of_tiles(name, self._room(copied, self._new(name)))
        elif copied not in self.plan.layouts:
            source = self.as_plain(name)
            room = self._room(copied, self._new(name))
            size = (room.channels, room.height, room.width)
            held = plain(self.plan.program.values[name].shape)
            move = moves.Move(replace(held, size=room.size), room, size)
            self.box(self._maker(name), move, source, copied)
        return self.plan.layouts[copied]

    def read(self, name: str) -> tuple[str, Blocked]:
        """What a value is called where it lies blocked, and how it lies there."""
        layout = self.blocked(name)
        return self.place(name), layout

    def framed(self, name: str) -> tuple[str, Blocked]:
        """A planar input of the program in the halo that is read around it."""
        halo = self.halos.get(name, Halo())
        layout = self.plan.layouts[name].with_halo(halo)
        if halo == Halo():
            return name, layout
        copied = f"{name} (framed)"
        if copied not in self.plan.layouts:
            self._room(copied, layout)
            self.move(self._maker(name), name, copied)
        return copied, layout

    def place(self, name: str) -> str:
        """What the value is called where it lies blocked."""
        return blocked_name(name) if blocked_name(name) in self.plan.layouts else name

    def make(self, name: str) -> Blocked:
        """Room for a value that a kernel will write, its halo cleared."""
        return self._room(name, self._new(name))

    # ── values in tiles ───────────────────────────────────────────────────────────────────

    def in_tiles(self, name: str) -> str:
        """What holds a value in tiles; copied there from blocks, or planes, if need be."""
        place, layout = tiles_name(name), self.plan.tiling.values[name]
        if place not in self.plan.layouts:
            planar = self.plan.layouts.get(name)
            fits = planar is not None and tile_moves.accepts(planar, layout)
            x, source = (name, planar) if fits else self.read(name)
            assert source is not None
            blank = self.blank_word(name)
            room, isa = self.make_tiles(name), self.plan.isa
            emit = partial(tile_moves.into, source=source, target=layout, blank=blank, isa=isa)
            self.step((self._maker(name), "tile"), (source, layout, blank), emit, x, room)
        return place

    def make_tiles(self, name: str) -> str:
        """Room for a value in tiles, that a kernel will write with all that lies around it."""
        place, layout = tiles_name(name), self.plan.tiling.values[name]
        self.plan.layouts[place] = plain((layout.sample // WORD,))
        return place

    def blank_word(self, name: str) -> int:
        """What stands for 0 in the channels of a word."""
        return self.blank(name) * quads.BYTES

    def _out_of_tiles(self, name: str, target: Blocked) -> None:
        source, isa = self.plan.tiling.values[name], self.plan.isa
        emit = partial(tile_moves.out_of, source=source, target=target, isa=isa)
        places = (tiles_name(name), blocked_name(name))
        self.step((self._maker(name), "untile"), (source, target), emit, *places)

    # ── values in rows ────────────────────────────────────────────────────────────────────

    def in_rows(self, name: str, place: str = "") -> Strided:
        """Room for a value row by row, that a kernel or the caller will write."""
        shape, place = self.plan.program.values[name].shape, place or plain_name(name)
        self.plan.layouts[place] = replace(plain(shape), size=self._size(name))
        self.plan.views[name] = View(place, rows(shape))
        return rows(shape)

    def view(self, name: str) -> View:
        """A value or a stored array in rows, as it lies; copied there where it lies in blocks."""
        if name in self.plan.views:
            return self.plan.views[name]
        if name in self.plan.program.arrays:
            array = self.array(name)
            held = self.packed(f"{name} (rows)", array)
            return View(held, replace(rows(array.shape), sample=0))
        if tiles_name(name) in self.plan.layouts:
            self.blocked(name)
        self.in_rows(name)
        self.move(self._maker(name), self.place(name), plain_name(name))
        return self.plan.views[name]

    def dense(self, name: str) -> View:
        """A value or a stored array row by row, without gaps; copied where it lies otherwise."""
        found = self.view(name)
        if found.steps.whole or (name in self.plan.program.arrays):
            return found
        copied = f"{name} (rows)"
        if copied not in self.plan.layouts:
            self.plan.layouts[copied] = plain(found.steps.shape)
            target = rows(found.steps.shape)
            self.copy(self._maker(name), found, View(copied, target))
        return View(copied, rows(found.steps.shape))

    def copy(self, op: str, source: View, target: View) -> None:
        """Copy number by number."""
        made = elementwise.Elementwise((source.steps,), target.steps)
        emit = partial(elementwise.emit, op=made, isa=self.plan.isa)
        self.step((op, "copy"), (made,), emit, source.place, target.place)

    def as_plain(self, name: str) -> str:
        """What holds the value row by row, without gaps."""
        return self.dense(name).place

    def packed(self, name: str, array: Array) -> str:
        """Numbers that are kept with the weights."""
        self.plan.packed[name] = array
        return name

    def size(self, name: str) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        found = image(self.plan.program.values[name].shape)
        assert found is not None, "only images are blocked"
        return found

    def array(self, name: str) -> Array:
        """A stored array as float32."""
        return np.asarray(self.plan.program.arrays[name].decode(), np.float32)

    def per_channel(self, name: str, array: Array) -> str:
        """One number per channel, kept in whole blocks."""
        lanes = self.plan.isa.lanes
        self.plan.packed[name] = np.pad(array, (0, -len(array) % lanes))
        return name

    def _new(self, name: str) -> Blocked:
        if signed(self.plan.program.values[name]):
            return binary_layer.layout(*self.size(name)).with_halo(self.halos.get(name, Halo()))
        lanes = THIN if self.is_thin(name) else self.plan.isa.lanes
        return Blocked(*self.size(name), lanes, self.halos.get(name, Halo()), self._size(name))

    def is_thin(self, name: str) -> bool:
        """Whether it is codes of so few channels that those of a pixel are one word."""
        return self._size(name) == 1 and thin(self.plan.program, name)

    def _size(self, name: str) -> int:
        """Bytes of each of its numbers."""
        return 1 if coded(self.plan.program.values[name]) else 4

    def blank(self, name: str) -> int:
        """What stands for 0 in a value: the zero point of codes."""
        value = self.plan.program.values[name]
        return zero_of(value) if coded(value) else 0

    def _room(self, name: str, layout: Blocked) -> Blocked:
        self.plan.layouts[name] = layout
        if layout.halo != Halo():
            isa, original = self.plan.isa, self._original(name)
            blank = self.blank(original)
            emit = partial(moves.clear, layout=layout, isa=isa, blank=blank)
            self.step((self._maker(original), "clear"), (layout, blank), emit, name)
        return layout

    def _original(self, name: str) -> str:
        """The value that a copy is of."""
        return name if name in self.plan.program.values else name.rpartition(" (")[0]

    def _maker(self, name: str) -> str:
        """The op that a value comes from, or the input's own name."""
        maker = self._makers.get(name)
        return maker.name if maker is not None else name

    @cached_property
    def _makers(self) -> dict[str, Op]:
        return self.plan.program.producers()

    # ── steps ─────────────────────────────────────────────────────────────────────────────

    def step(
        self, what: tuple[str, str], key: tuple[Any, ...], emit: Emit, *arguments: str
    ) -> None:
        """Call a kernel: `what` is (op, kernel)."""
        op, kernel = what
        self.plan.steps.append(Step(op, kernel, (kernel, *key), emit, arguments))

    def move(self, op: str, source: str, target: str) -> None:
        """Copy a whole value."""
        a, b = self.plan.layouts[source], self.plan.layouts[target]
        self.box(op, moves.Move(a, b, (b.channels, b.height, b.width)), source, target)

    def box(self, op: str, move: moves.Move, source: str, target: str) -> None:
        """Copy a part of a value."""
        isa = self.plan.isa
        emit = partial(moves.emit, move=move, isa=isa)
        self.step((op, "move"), (move,), emit, source, target)

    def interpret(self, op: Op) -> None:
        """Leave an op to the reference interpreter."""
        program = self.plan.program
        assert "residual" not in op.attributes and op.kind in KINDS, "joined for a kernel alone"
        given = {n: self.as_plain(n) for n in op.inputs if n in program.values}
        for name in op.outputs:
            self.in_rows(name)
        made = {name: plain_name(name) for name in op.outputs}
        self.plan.steps.append(Interpreted(op, given, made))
