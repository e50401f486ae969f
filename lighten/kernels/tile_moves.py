"""Copies between tiles and blocks of channels, and from tiles to other tiles.

reference, one sample, for every pixel of tile (p, q), a word (one float32, four codes) at a time:
    tiles[g, i, j][p, q] = blocks[channels of g, p · rows + i, q · columns + j]     and back

The words that a register takes lie a tile apart: they are gathered, or scattered; where some tiles
of the grid have no such pixel, those lanes are masked. Between tiles and blocks of as many channels
of float32, the same pixel of every tile is a square of numbers, which is turned in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lighten.emit import I32, POINTER, Function, Index, Isa, Tile, Value, lanes, vector
from lighten.emit.types import I1
from lighten.kernels import share, tile_frames
from lighten.kernels.layout import Blocked
from lighten.kernels.tile_frames import Run
from lighten.kernels.tiled import WORD, Tiled

TAKEN, TURNED = 20.0, 6.0  # cycles to gather a register or to scatter it; to turn it
Cell = Callable[[Value, Value, list[bool]], None]


@dataclass(frozen=True)
class Crop:
    """Every so many pixels of `source`, which are all of the target's, and whole groups of channels
    put at group `at`; the others are blank.
    """

    source: Tiled
    target: Tiled
    steps: tuple[int, int]
    at: int


def accepts(blocked: Blocked, tiled: Tiled) -> bool:
    """Whether the channels of a group lie side by side in a block."""
    return blocked.size * tiled.together == WORD and blocked.lanes % tiled.together == 0


def cycles(layout: Tiled) -> float:
    """A rough prediction of a copy to or from blocks, for one sample."""
    each = TURNED if layout.together == 1 else TAKEN
    return each * layout.groups * layout.tile[0] * layout.tile[1]


def turns(blocked: Blocked, tiled: Tiled) -> bool:
    """Whether blocks have as many channels of float32 as there are tiles."""
    return blocked.size == WORD and blocked.lanes == tiled.lanes


def into(name: str, source: Blocked, target: Tiled, blank: int, isa: Isa) -> Function:
    """The kernel `name(x, y, …)` that cuts an image into tiles; `blank` is the word around it."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    words = vector(I32, isa.lanes)
    fill = f.constant(blank, words)
    if turns(source, target):
        _squares(f, source, target, fill, inwards=True)
        return f

    def group(n: Value, g: Value) -> None:
        y = f["y"] + n * target.sample + g * target.group
        x = _group(f["x"], source, target, (n, g))

        def cell(i: Value, j: Value, there: list[bool]) -> None:
            places = _places(f, x + i * source.row + j * source.pixel, source, target)
            at = y + (i * target.row + j * target.vector + target.origin)
            f.store(_gathered(f, places, there, fill), at)

        _cells(f, target, cell)
        tile_frames.frame(f, target, y, fill)

    share.each(f, (f["n"], target.groups), group)
    return f


def out_of(name: str, source: Tiled, target: Blocked, isa: Isa) -> Function:
    """The kernel `name(x, y, …)` that puts the tiles of an image together again."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    words = vector(I32, isa.lanes)
    if turns(target, source):
        _squares(f, target, source, f.zero(words), inwards=False)
        return f

    def group(n: Value, g: Value) -> None:
        x = f["x"] + n * source.sample + g * source.group
        y = _group(f["y"], target, source, (n, g))

        def cell(i: Value, j: Value, there: list[bool]) -> None:
            places = _places(f, y + i * target.row + j * target.pixel, target, source)
            at = x + (i * source.row + j * source.vector + source.origin)
            _scatter(f, f.load(at, words), places, there)

        _cells(f, source, cell)

    share.each(f, (f["n"], source.groups), group)
    return f


def crop(name: str, op: Crop, blank: int, isa: Isa) -> Function:
    """The kernel `name(x, y, …)`: no lane moves, since a target's tile is part of a source's."""
    f = Function(name, {"x": POINTER, "y": POINTER, **share.COUNT}, isa)
    source, target, (down, along) = op.source, op.target, op.steps
    words = vector(I32, isa.lanes)
    fill = f.constant(blank, words)

    def every(n: Value, first: Index, last: Index, value: Callable[..., Value]) -> None:
        def group(g: Value, _: Tile) -> None:
            y = f["y"] + n * target.sample + g * target.group

            def row(i: Value, _: Tile) -> None:
                def column(j: Value, _: Tile) -> None:
                    at = y + (i * target.row + j * target.vector + target.origin)
                    f.store(value(n, g, i, j), at)

                f.loop(0, target.tile[1], column)

            f.loop(0, target.tile[0], row)
            tile_frames.frame(f, target, y, fill)

        f.loop(first, last, group)

    def taken(n: Value, g: Value, i: Value, j: Value) -> Value:
        x = f["x"] + n * source.sample + (g - op.at) * source.group + source.origin
        return f.load(x + (i * (down * source.row) + j * (along * source.vector)), words)

    def some(n: Value, first: Value, last: Value) -> None:
        end = op.at + min(source.groups, target.groups - op.at)
        every(n, first, f.least(last, op.at), lambda *_: fill)
        every(n, f.most(first, op.at), f.least(last, end), taken)
        every(n, f.most(first, end), last, lambda *_: fill)

    share.spans(f, (f["n"], target.groups), some)
    return f


def _squares(f: Function, blocked: Blocked, tiled: Tiled, fill: Value, *, inwards: bool) -> None:
    """A block of channels after the other, turned at each pixel; the last may have fewer."""
    whole, rest = divmod(tiled.channels, tiled.lanes)
    there, here = (f["x"], f["y"]) if inwards else (f["y"], f["x"])

    def block(n: Value, c: Index, channels: int) -> None:
        tiles = here + n * tiled.sample + c * (tiled.lanes * tiled.group)
        image = there + n * blocked.sample + c * blocked.block + blocked.origin

        def cell(i: Value, j: Value, held: list[bool]) -> None:
            at = tiles + (i * tiled.row + j * tiled.vector + tiled.origin)
            first = image + (i * blocked.row + j * blocked.pixel)
            places = [first + step for step in _steps(blocked, tiled)]
            if inwards:
                pairs = zip(places, held, strict=True)
                square = [f.load(place, fill.type) if is_ else fill for place, is_ in pairs]
                for q, value in enumerate(lanes.turned(f, square)[:channels]):
                    f.store(value, at, q * tiled.group)
                return
            square = [f.load(at, fill.type, q * tiled.group) for q in range(channels)]
            square += [fill] * (tiled.lanes - channels)
            for value, place, is_ in zip(lanes.turned(f, square), places, held, strict=True):
                if is_:
                    f.store(value, place)

        _cells(f, tiled, cell)
        if inwards:

            def around(q: Value, _: Tile) -> None:
                tile_frames.frame(f, tiled, tiles + q * tiled.group, fill)

            f.loop(0, channels, around)

    share.each(f, (f["n"], whole), lambda n, c: block(n, c, tiled.lanes))
    if rest:
        share.each(f, (f["n"],), lambda n: block(n, whole, rest))


def _steps(blocked: Blocked, tiled: Tiled) -> list[int]:
    """Bytes in blocks from a pixel of the first tile to the same of every tile."""
    (high, wide), across = tiled.tile, tiled.grid[1]
    return [
        lane // across * high * blocked.row + lane % across * wide * blocked.pixel
        for lane in range(tiled.lanes)
    ]


def _cells(f: Function, layout: Tiled, body: Cell) -> None:
    """Every cell of a tile, with which tiles have a pixel there."""
    for there, rows, columns in tile_frames.inside(layout):

        def row(i: Value, _: Tile, columns: Run = columns, there: list[bool] = there) -> None:
            f.loop(columns.start, columns.stop, lambda j, _: body(i, j, there))

        f.loop(rows.start, rows.stop, row)


def _group(base: Value, blocked: Blocked, tiled: Tiled, place: tuple[Value, Value]) -> Value:
    """Where the channels of a group lie at the first pixel of an image in blocks."""
    n, g = place
    channel = g * tiled.together
    block = channel // blocked.lanes
    moved = base + n * blocked.sample + block * blocked.block + blocked.origin
    return moved + (channel - block * blocked.lanes) * blocked.size


def _places(f: Function, base: Value, blocked: Blocked, tiled: Tiled) -> Value:
    """The same pixel of every tile in blocks, from that of the first; a register of addresses."""
    listed = ", ".join(f"i64 {step}" for step in _steps(blocked, tiled))
    offsets = f"<{tiled.lanes} x i64> <{listed}>"
    text = f"getelementptr i8, ptr {base.name}, {offsets}"
    return f.instruction(text, vector(POINTER, tiled.lanes))


def _gathered(f: Function, places: Value, there: list[bool], fill: Value) -> Value:
    """The words at these addresses, the fill's where there is none."""
    kind, mask = fill.type, _mask(there)
    name = f"@llvm.masked.gather.{kind.suffix}.v{kind.lanes}p0"
    masks = vector(I1, kind.lanes).text
    listed = f"<{kind.lanes} x ptr>"
    f.declarations.add(f"declare {kind.text} {name}({listed}, i32, {masks}, {kind.text})")
    given = f"{listed} {places.name}, i32 {WORD}, {masks} {mask}, {kind.text} {fill.name}"
    return f.instruction(f"call {kind.text} {name}({given})", kind)


def _scatter(f: Function, value: Value, places: Value, there: list[bool]) -> None:
    """Store the words at these addresses, but those that have no place."""
    kind, mask = value.type, _mask(there)
    name = f"@llvm.masked.scatter.{kind.suffix}.v{kind.lanes}p0"
    masks = vector(I1, kind.lanes).text
    listed = f"<{kind.lanes} x ptr>"
    f.declarations.add(f"declare void {name}({kind.text}, {listed}, i32, {masks})")
    given = f"{kind.text} {value.name}, {listed} {places.name}, i32 {WORD}, {masks} {mask}"
    f.statement(f"call void {name}({given})")


def _mask(there: list[bool]) -> str:
    return f"<{', '.join(f'i1 {str(held).lower()}' for held in there)}>"
