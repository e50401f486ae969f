"""The loops around tensors that lie in rows: samples, then axes, with a pointer into each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lighten.emit import Function, Index, Tile, Value
from lighten.kernels import share
from lighten.kernels.strided import Strided

Pointers = list[Value]
Fold = Callable[[Value, Value], Value]
COPIES = 4


def start(base: Value, view: Strided, n: Index) -> Value:
    """Where sample n begins."""
    moved = base if not view.sample else base + n * (4 * view.sample)
    return moved + 4 * view.offset


def walk(
    f: Function,
    bases: Sequence[Value],
    views: Sequence[Strided],
    body: Callable[[Pointers], None],
    inner: int = 0,
) -> None:
    """`body(pointers)` for every sample and every index of all but the last `inner` axes, which the
    views have in common.
    """
    outer = len(views[0].shape) - inner

    def sample(n: Value, *first: Value) -> None:
        at = [start(base, view, n) for base, view in zip(bases, views, strict=True)]
        at = _moved(at, views, 0, first[0]) if first else at
        axes(len(first), at)

    def axes(axis: int, at: Pointers) -> None:
        if axis == outer:
            body(at)
            return

        def step(i: Value, _: Tile) -> None:
            axes(axis + 1, _moved(at, views, axis, i))

        f.loop(0, views[0].shape[axis], step)

    share.each(f, (f["n"], *views[0].shape[: min(outer, 1)]), sample)


def _moved(at: Pointers, views: Sequence[Strided], axis: int, i: Value) -> Pointers:
    steps = (4 * view.strides[axis] for view in views)
    return [p + i * step if step else p for p, step in zip(at, steps, strict=True)]


def along(f: Function, size: int, body: Callable[[Index, int, Tile], Tile], tile: Tile) -> Tile:
    """`body(i, count, tile)` for a row of `size` numbers, a register at a time, the last with only
    `count` lanes.
    """
    whole = size - size % f.isa.lanes
    tile = f.loop(0, whole, lambda i, held: body(i, f.isa.lanes, held), tile, step=f.isa.lanes)
    return body(whole, size - whole, tile) if whole < size else tile


def folded(
    f: Function, size: int, read: Callable[[Index, int], Value], fold: Fold, first: Value
) -> Value:
    """One register: `fold` over what `read(i, count)` gives along a row of `size` numbers. Four are
    folded side by side, so that none waits for the last. Lanes beyond `count` must hold what does
    not matter to the fold.
    """
    wide = f.isa.lanes * COPIES
    most = size - size % wide

    def several(i: Index, tile: Tile) -> Tile:
        return [fold(held, read(i + k * f.isa.lanes, f.isa.lanes)) for k, held in enumerate(tile)]

    tile = f.loop(0, most, several, [first] * COPIES, step=wide) if most else [first] * COPIES
    rest = along(
        f,
        size - most,
        lambda i, count, held: [fold(held[0], read(i + most, count)), *held[1:]],
        tile,
    )
    return fold(fold(rest[0], rest[1]), fold(rest[2], rest[3]))
