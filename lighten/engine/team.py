"""The native half of the pool: how a thread waits for work, and how a call gives it out.

What lies in a team's memory beyond where it meets: the call that is to be done, and the state of
every thread.

    worker      PARKED ── woken ─► READY ── claimed ─► CLAIMED ── given out ─► GO ─┐
                  ▲                 │ ▲                                            │
                  └── looked long ──┘ └──────────── its part is done ──────────────┘

A call is given out only when every worker is claimed, and ends when every worker has left the
network's code: both in one native step, which no interrupt can split.
"""

from __future__ import annotations

from collections.abc import Callable

from lighten.emit import I64, POINTER, Function, Isa, Tile, Value, atomic
from lighten.emit.types import I1
from lighten.kernels.meeting import LINE, TEAM, give_way, wait

READY, PARKED, CLAIMED, GO = range(4)
ENTRY, ARENA, WEIGHTS, SAMPLES, PARTS = (TEAM + 8 * word for word in range(5))  # the call
MISSING = TEAM + LINE  # how many could not be claimed
WANTED = TEAM + 2 * LINE  # whether a call waits for threads: then none of them parks
STATES = TEAM + 3 * LINE  # from here on a line for each thread


def work(isa: Isa) -> Function:
    """`work(team, part, turns)`: do what is given out, until there was nothing for so long."""
    f = Function("work", {"team": POINTER, "part": I64, "turns": I64}, isa)
    team, mine = f["team"], _state(f, f["part"])
    atomic.store(f, READY, mine)

    def do() -> None:
        arena, weights = f.load(team, POINTER, ARENA), f.load(team, POINTER, WEIGHTS)
        samples, parts = f.load(team, I64, SAMPLES), f.load(team, I64, PARTS)
        entry = f.load(team, POINTER, ENTRY)
        atomic.call(f, entry, arena, weights, samples, f["part"], parts, team)
        atomic.store(f, READY, mine)

    def turn(_: Tile) -> tuple[Value, Tile]:
        _look(f, f["turns"], lambda: f.equal(atomic.load(f, mine), GO))
        free = f.equal(atomic.load(f, team + WANTED), 0)
        ready, never = f.constant(READY, I64), f.constant(-1, I64)
        before = atomic.swap(f, f.select(free, ready, never), PARKED, mine)
        atomic.when(f, free, lambda: None, lambda: give_way(f, team))
        atomic.when(f, f.equal(before, GO), do)
        return f.select(free, f.equal(before, READY), f.zero(I1)), []

    atomic.until(f, turn)
    return f


def lead(isa: Isa) -> Function:
    """`lead(team, called, arena, weights, n, parts, turns)`: a call done by all threads, of which
    this is the first; or the number of those that are parked, still after so many turns, in
    `MISSING`, and nothing done.
    """
    names = {"team": POINTER, "called": POINTER, "arena": POINTER, "weights": POINTER}
    f = Function("lead", {**names, "n": I64, "parts": I64, "turns": I64}, isa)
    team, parts, zero = f["team"], f["parts"], f.constant(0, I64)

    def claim(part: Value, missing: Tile) -> Tile:
        place = _state(f, part)
        _look(f, f["turns"], lambda: f.equal(atomic.load(f, place), READY), gives_way=True)
        ready = f.equal(atomic.swap(f, READY, CLAIMED, place), READY)
        return [missing[0] + f.select(ready, zero, zero + 1)]

    def begin(part: Value, _: Tile) -> None:
        atomic.store(f, GO, _state(f, part))

    def end(part: Value, _: Tile) -> None:
        wait(f, team, lambda: f.less(atomic.load(f, _state(f, part)), GO))

    def do() -> None:
        given = (f["called"], f["arena"], f["weights"], f["n"], parts)
        for value, place in zip(given, (ENTRY, ARENA, WEIGHTS, SAMPLES, PARTS), strict=True):
            f.store(value, team, place)
        f.loop(1, parts, begin)
        atomic.call(f, f["called"], f["arena"], f["weights"], f["n"], zero, parts, team)
        f.loop(1, parts, end)

    def give_back(part: Value, _: Tile) -> None:
        atomic.swap(f, CLAIMED, READY, _state(f, part))

    atomic.store(f, 1, team + WANTED)
    (missing,) = f.loop(1, parts, claim, [zero])
    atomic.store(f, 0, team + WANTED)
    f.store(missing, team, MISSING)
    atomic.when(f, f.equal(missing, 0), do, lambda: f.loop(1, parts, give_back))
    return f


def _state(f: Function, part: Value) -> Value:
    """Where the state of a thread lies."""
    return f["team"] + part * LINE + STATES


def _look(f: Function, turns: Value, over: Callable[[], Value], *, gives_way: bool = False) -> None:
    """Until it is over, at most for so many turns; other threads may be let run in each."""

    def turn(left: Tile) -> tuple[Value, Tile]:
        late = f.less(left[0], 1)
        if gives_way:
            atomic.when(f, late, lambda: None, lambda: give_way(f, f["team"]))
        atomic.pause(f)
        now = over()
        return f.select(now, now, late), [left[0] - 1]

    atomic.until(f, turn, [turns])
