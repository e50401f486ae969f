"""Which part of a kernel's work one call does: the outermost loops of every kernel.

Call number `part` of `parts` does a run of neighbouring items:

    items of 3 parts    0 1 2 | 3 4 5 | 6 7 8 9        10 · part / 3 … 10 · (part + 1) / 3

reference:
    for i in range(extents[0]):
        for j in range(extents[1]):
            …
                body(i, j, …)               where the item's number is in the part's run

An item's indices are found by division for all extents but the last, which stays a loop: where it
is long enough, one thread alone takes no more time than if there were no others.

A kernel writes to `y`, and to its scratch `s`; what it reads was written before it began. `s` is
the part's own; those of all parts lie side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import c_int64, c_void_p
from dataclasses import dataclass

from lighten.emit import I64, POINTER, Function, Index, Tile, Type, Value, atomic
from lighten.kernels.meeting import meeting

# the last parameters of every kernel: samples; which part of how many; where the parts meet
COUNT: Mapping[str, Type] = {"n": I64, "part": I64, "parts": I64, "team": POINTER}
KINDS = (c_int64, c_int64, c_int64, c_void_p)  # the same for ctypes
ALONE = (1, 0, 1, None)  # one sample, by one thread


@dataclass(frozen=True)
class Team:
    """Some of the parts, who share what is to be done: the number of this one, and how many."""

    part: Value
    parts: Value


def everyone(f: Function) -> Team:
    """All parts of a call."""
    return Team(f["part"], f["parts"])


def given(f: Function) -> list[Value]:
    """What a function whose parameters end in `COUNT` hands on to a kernel."""
    return [f[name] for name in COUNT]


def meet(f: Function, team: Team) -> None:
    """Wait until every part of the team is here; one alone goes on."""
    several = f.less(f.constant(1, I64), team.parts)
    atomic.when(f, several, lambda: f.run(meeting(f.isa), f["team"], team.parts))


def each(
    f: Function, extents: Sequence[Index], body: Callable[..., None], team: Team | None = None
) -> None:
    """`body(i, j, …)` for this part's share of all indices below `extents`; the first is most often
    the sample.
    """

    def run(*at: Index) -> None:
        f.loop(at[-2], at[-1], lambda i, _: body(*at[:-2], i))

    spans(f, extents, run, team)


def spans(
    f: Function, extents: Sequence[Index], body: Callable[..., None], team: Team | None = None
) -> None:
    """`body(i, j, …, first, last)` for this part's share: the last index from `first` below `last`,
    which may be no index at all.
    """
    if len(extents) > 1 and extents[-1] == 1:
        each(f, extents[:-1], lambda *at: body(*at, 0, 1), team)
        return
    team, (*outer, inner) = team or everyone(f), extents
    total = _product(extents)
    first, last = team.part * total // team.parts, (team.part + 1) * total // team.parts
    if not outer:
        body(first, last)
        return

    def rows(row: Value, _: Tile) -> None:
        begin = row * inner
        start, stop = f.most(first - begin, 0), f.least(last - begin, inner)
        body(*_indices(row, outer), start, stop)

    length = f.most(inner, 1)  # where there is no sample, nothing is divided by their number
    ends = f.select(f.less(first, last), (last + (inner - 1)) // length, f.constant(0, I64))
    f.loop(first // length, ends, rows)


def together(f: Function, extents: Sequence[Index], size: int, body: Callable[..., None]) -> None:
    """`body(i, j, …, s, team)` for all indices: as many items as come out even are done by one part
    each, in its own scratch of so many bytes, and the rest by everyone, in that of the first.

        items of 3 parts    0 1 | 2 3 | 4 5        6, 7: shared by all
    """
    part, parts = f["part"], f["parts"]
    total = f.constant(0, I64) + _product(extents)
    even = total // parts
    common = f["s"] - part * size

    def item(i: Value, _: Tile) -> None:
        alone = f.less(i, even)
        zero, one = f.constant(0, I64), f.constant(1, I64)
        at = i + f.select(alone, part * even, even * (parts - 1))
        # the first one's scratch is its own until all have come here
        begins = f.select(f.equal(i, even), f.select(f.less(zero, even), parts, one), one)
        meet(f, Team(part, begins))
        team = Team(f.select(alone, zero, part), f.select(alone, one, parts))
        body(*_indices(at, extents), f.select(alone, f["s"], common), team)

    f.loop(0, even + (total - even * parts), item)


def rows(
    f: Function, extents: Sequence[Index], image: tuple[int, int], body: Callable[..., None]
) -> None:
    """`body(i, j, …, row, run)` for this part's share of images of so many rows and tiles, where
    `run` is (first tile, end): all of a row's, or of an image that is one row, some.
    """
    height, tiles = image
    if height > 1:
        each(f, (*extents, height), lambda *at: body(*at, (0, tiles)))
    else:
        spans(f, (*extents, tiles), lambda *at: body(*at[:-2], 0, at[-2:]))


def along(
    f: Function, run: tuple[Index, Index], row: int, width: int, tile: Callable[[Index, int], None]
) -> None:
    """`tile(first pixel, pixels)` for a run of the tiles of `width` that a row of pixels is cut
    into; the last may be narrower.
    """
    (first, last), (full, rest) = run, divmod(row, width)
    f.loop(first, f.least(last, full), lambda t, _: tile(t * width, width))
    if rest:
        f.loop(f.most(first, full), last, lambda *_: tile(full * width, rest))


def _product(extents: Sequence[Index]) -> Index:
    total: Index = 1
    for extent in extents:
        total = extent * total
    return total


def _indices(number: Value, extents: Sequence[Index]) -> list[Index]:
    """The indices of an item, the last the fastest."""
    found: list[Index] = []
    left: Value = number
    for extent in reversed(extents[1:]):
        if extent == 1:
            found.append(0)
            continue
        above = left // extent
        found.append(left - above * extent)
        left = above
    return [left, *reversed(found)]
