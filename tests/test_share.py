"""How kernels share their work: every item once, whatever the parts; meetings that hold."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from lighten.emit import F32, I64, POINTER, Function, Index, Value, build, host
from lighten.engine.memory import address, aligned
from lighten.kernels import share
from tests.together import with_threads


def counted(f: Function, y: Value, place: Index) -> None:
    """Add one to the number at a place."""
    at = y + place * 4
    f.store(f.load(at, F32) + f.constant(1.0, F32), at)


def emitted(extents: tuple[int, ...], runs: bool) -> Function:
    """y[item] += 1 for the items of `n` samples of `extents`."""
    f = Function("kernel", {"y": POINTER, **share.COUNT}, host())

    def item(*at: Index) -> None:
        number: Index = 0
        for index, extent in zip(at, (1, *extents), strict=True):
            number = number * extent + index
        counted(f, f["y"], number)

    def run(*at: Index) -> None:
        *outer, first, last = at
        f.loop(first, last, lambda i, _: item(*outer, i))

    (share.spans if runs else share.each)(f, (f["n"], *extents), run if runs else item)
    return f


@pytest.mark.parametrize("seed", range(10))
def test_every_item_is_done_once_by_one_of_neighbouring_parts(seed: int) -> None:
    rng = random.Random(seed)
    extents = tuple(rng.choice([1, 1, 2, 3, 5, 8]) for _ in range(rng.randint(0, 3)))
    call = build([emitted(extents, seed % 2 == 0)]).function("kernel", share.c_void_p, *share.KINDS)
    for samples, parts in itertools.product((0, 1, 3), (1, 2, 3, 8)):
        items = samples * int(np.prod(extents))
        whose = np.zeros(items, np.float32)
        sizes = []
        for part in range(parts):
            done = np.zeros(items + 1, np.float32)
            call(done.ctypes.data, samples, part, parts, None)
            assert done[-1] == 0 and set(done[:-1]) <= {0.0, 1.0}
            whose += done[:-1] * (part + 1)
            sizes.append(int(done.sum()))
        assert sum(sizes) == items and max(sizes) - min(sizes) <= 1
        assert (whose > 0).all() and (np.diff(whose) >= 0).all()


def test_a_row_cut_into_tiles_is_whole() -> None:
    for row, width in ((1, 4), (7, 3), (12, 4), (13, 4)):
        tiles = -(-row // width)
        f = Function("kernel", {"y": POINTER, **share.COUNT}, host())

        def tile(start: Index, pixels: int, f: Function = f) -> None:
            for pixel in range(pixels):
                counted(f, f["y"], start + pixel)

        def line(*at: Index, f: Function = f, row: int = row, width: int = width) -> None:
            share.along(f, at[-1], row, width, tile)  # type: ignore[arg-type]

        share.rows(f, (f["n"],), (1, tiles), line)
        call = build([f]).function("kernel", share.c_void_p, *share.KINDS)
        for parts in (1, 2, 5):
            y = np.zeros(row + 1, np.float32)
            for part in range(parts):
                call(y.ctypes.data, 1, part, parts, None)
            assert y.tolist() == [1.0] * row + [0.0]


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_what_does_not_come_out_even_is_done_together(parts: int) -> None:
    """Every item writes its scratch, meets and reads it: nobody else's numbers may be there."""
    f = Function("kernel", {"y": POINTER, "s": POINTER, **share.COUNT}, host())

    def item(n: Value, i: Index, s: Value, team: share.Team) -> None:
        number = n * 3 + i
        share.each(f, (8,), lambda k: f.store(number + 1, s + k * 8), team)
        share.meet(f, team)

        def check(k: Value) -> None:
            seen = f.least(f.load(s + k * 8, I64), f.load(s + (7 - k) * 8, I64))
            f.store(seen, f["y"] + (number * 8 + k) * 8)

        share.each(f, (8,), check, team)
        share.meet(f, team)

    share.together(f, (f["n"], 3), 64, item)
    call = build([f]).function("kernel", share.c_void_p, share.c_void_p, *share.KINDS)
    for samples, _ in itertools.product((0, 1, 2, 5), range(20)):
        y, scratch = np.zeros(samples * 24, np.int64), aligned(64 * parts)

        def one(
            part: int,
            team: int,
            y: int = y.ctypes.data,
            s: int = address(scratch),
            n: int = samples,
        ) -> None:
            call(y, s + 64 * part, n, part, parts, team)

        with_threads(parts, one)
        assert y.tolist() == [1 + k // 8 for k in range(samples * 24)]


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_nobody_leaves_a_meeting_before_all_have_come(parts: int) -> None:
    """In every round each counts its own, meets, and looks at all the others."""
    rounds = 3000
    names = {"counts": POINTER, "early": POINTER, **share.COUNT}
    f = Function("kernel", names, host())

    def one_round(i: Value, _: object) -> None:
        f.store(i + 1, f["counts"] + f["part"] * 64)
        share.meet(f, share.everyone(f))

        def look(other: Value, _: object) -> None:
            late = f.less(f.load(f["counts"] + other * 64, I64), i + 1)
            one, zero = f.constant(1, I64), f.constant(0, I64)
            at = f["early"] + f["part"] * 64
            f.store(f.load(at, I64) + f.select(late, one, zero), at)

        f.loop(0, f["parts"], look)
        share.meet(f, share.everyone(f))

    f.loop(0, f["n"], one_round)
    kinds = (share.c_void_p, share.c_void_p, *share.KINDS)
    call = build([f]).function("kernel", *kinds)
    counts, early = aligned(64 * parts), aligned(64 * parts)
    with_threads(
        parts,
        lambda part, team: call(address(counts), address(early), rounds, part, parts, team),
    )
    assert not early.any()
    assert counts.view(np.int64)[::8].tolist() == [rounds] * parts
