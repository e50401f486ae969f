"""One matrix product of many, between transformed tiles and transformed filters.

    reference, one product:
        M[k, t] = Σ_c U[k, c] · V[c, t]

The register block is `columns` tiles by `blocks` registers of filters: per channel, a load of each
register of filters and a spread number of each tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import Function, Index, Tile, Value
from lighten.kernels.shapes import Conv


@dataclass(frozen=True)
class Block:
    """The register block, and how many tiles there are."""

    blocks: int
    columns: int
    tiles: int


def groups(conv: Conv, block: Block) -> int:
    """Groups of filters, of a register block each."""
    return conv.target.blocks // block.blocks


def multiply(
    f: Function, conv: Conv, block: Block, places: tuple[Value, Value, Value], g: Index
) -> None:
    """One group of filters. V is `[channel block, tile, lane]`, U `[group of filters, channel,
    filter]`, M as V.
    """
    (v, u, m), source, target = places, conv.source, conv.target
    held = u + g * (source.blocks * source.lanes * block.blocks * target.pixel)
    made = m + g * (block.blocks * block.tiles * target.pixel)

    def tile(t: Index, width: int) -> None:
        sums = _sums(f, conv, block, (v + t * source.pixel, held), width)
        for at, value in enumerate(sums):
            q, o = divmod(at, block.blocks)
            to = made + t * target.pixel
            f.store(value, to, (o * block.tiles + q) * target.pixel)

    full, over = divmod(block.tiles, block.columns)
    f.loop(0, full, lambda t, _: tile(t * block.columns, block.columns))
    if over:
        tile(full * block.columns, over)


def _sums(f: Function, conv: Conv, block: Block, places: tuple[Value, Value], width: int) -> Tile:
    (v, u), source, blocks = places, conv.source, block.blocks
    filters = blocks * conv.target.pixel

    def channels(count: int, c: Index, sums: Tile) -> Tile:
        seen, weights = v + c * (block.tiles * source.pixel), u + c * (source.lanes * filters)
        for lane in range(count):
            loaded = [
                f.load(weights, f.lane, lane * filters + o * f.lane.bytes) for o in range(blocks)
            ]
            for q in range(width):
                one = f.load_spread(seen, f.lane, q * source.pixel + 4 * lane)
                for o in range(blocks):
                    at = q * blocks + o
                    sums[at] = f.fma(one, loaded[o], sums[at])
        return sums

    whole, rest = divmod(source.channels, source.lanes)
    sums = [f.zero(f.lane)] * (width * blocks)
    sums = f.loop(0, whole, lambda c, sums: channels(source.lanes, c, sums), sums)
    return channels(rest, whole, sums) if rest else sums
