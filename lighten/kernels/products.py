"""One matrix product of many, between transformed tiles and transformed filters.

    reference, one product:
        M[k, t] = Σ_c U[k, c] · V[c, t]

The register block is `columns` tiles by `blocks` registers of filters: per channel, a load of each
register of filters and a spread number of each tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lighten.emit import Function, Index, Tile, Value
from lighten.kernels.block import LINE, UNROLLED
from lighten.kernels.shapes import Conv


@dataclass(frozen=True)
class Block:
    """The register block, how many tiles there are, and whether the filters come from `far`: then
    each pass over a group of them asks for a part of the next.
    """

    blocks: int
    columns: int
    tiles: int
    far: bool = False


def groups(conv: Conv, block: Block) -> int:
    """Groups of filters, of a register block each."""
    return conv.target.blocks // block.blocks


def multiply(
    f: Function,
    conv: Conv,
    block: Block,
    places: tuple[Value, Value, Value],
    g: Index,
    count: Index | None = None,
) -> None:
    """One group of filters. V is `[channel block, tile, lane]`, U `[group of filters, channel,
    filter]`, M as V. Of the tiles only the first `count`, in whole register blocks, if it is given.
    """
    (v, u, m), source, target = places, conv.source, conv.target
    size = source.blocks * source.lanes * block.blocks * target.pixel
    held = u + g * size
    made = m + g * (block.blocks * block.tiles * target.pixel)

    def tile(t: Index, width: int) -> None:
        soon = _next(held + size, size, conv, block, t) if block.far else None
        sums = _sums(f, conv, block, (v + t * source.pixel, held, soon), width)
        for at, value in enumerate(sums):
            q, o = divmod(at, block.blocks)
            to = made + t * target.pixel
            f.store(value, to, (o * block.tiles + q) * target.pixel)

    if count is not None:
        f.loop(0, count, lambda t, _: tile(t, block.columns), step=block.columns)
        return
    full, over = divmod(block.tiles, block.columns)
    f.loop(0, full, lambda t, _: tile(t * block.columns, block.columns))
    if over:
        tile(full * block.columns, over)


def _lines(size: int, conv: Conv, block: Block) -> int:
    """Lines of the next group to ask for with each block of channels of each pass over this one."""
    passes = math.ceil(block.tiles / block.columns)
    return math.ceil(size / LINE / passes / conv.source.blocks)


def _next(start: Value, size: int, conv: Conv, block: Block, t: Index) -> Value:
    """From where on the pass that begins at tile t asks for lines."""
    part = _lines(size, conv, block) * LINE * conv.source.blocks
    return start + (t // block.columns) * part


def _sums(
    f: Function, conv: Conv, block: Block, places: tuple[Value, Value, Value | None], width: int
) -> Tile:
    (v, u, soon), source, blocks = places, conv.source, block.blocks
    filters = blocks * conv.target.pixel
    lines = _lines(source.blocks * source.lanes * filters, conv, block)

    def channels(count: int, c: Index, sums: Tile) -> Tile:
        seen, weights = v + c * (block.tiles * source.pixel), u + c * (source.lanes * filters)
        if soon is not None:
            for line in range(lines):
                f.prefetch(soon + c * (lines * LINE) + line * LINE)
        return blocked(f, (seen, weights), (blocks, source.pixel), count, sums)

    whole, rest = divmod(source.channels, source.lanes)
    sums = [f.zero(f.lane)] * (width * blocks)
    sums = f.loop(0, whole, lambda c, sums: channels(source.lanes, c, sums), sums)
    return channels(rest, whole, sums) if rest else sums


def blocked(
    f: Function, places: tuple[Value, Value], block: tuple[int, int], count: int, sums: Tile
) -> Tile:
    """The sums with the products of one block of channels, the first `count` of them: of pixels
    that are so many bytes apart, and registers of filters; block is (registers, bytes).
    """
    (x, w), (blocks, pixel) = places, block

    def steps(x: Value, w: Value, number: int, sums: Tile) -> Tile:
        sums = list(sums)
        for lane in range(number):
            loaded = [f.load(w, f.lane, (lane * blocks + o) * f.lane.bytes) for o in range(blocks)]
            for q in range(len(sums) // blocks):
                one = f.load_spread(x, f.lane, q * pixel + 4 * lane)
                for o, filters in enumerate(loaded):
                    at = q * blocks + o
                    sums[at] = f.fma(one, filters, sums[at])
        return sums

    def round_(at: Value, sums: Tile) -> Tile:
        width = blocks * f.lane.bytes
        return steps(x + at * (4 * UNROLLED), w + at * (UNROLLED * width), UNROLLED, sums)

    whole, rest = divmod(count, UNROLLED)
    sums = f.loop(0, whole, round_, sums)
    done = whole * UNROLLED
    return steps(x + 4 * done, w + done * blocks * f.lane.bytes, rest, sums) if rest else sums
