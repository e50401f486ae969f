"""Where threads that share the work of one network wait for each other.

reference, by every one of `parts` threads:
    with lock:
        arrived += 1
        if arrived == parts:
            arrived, round = 0, round + 1
    wait until round has grown

A team is the memory through which its threads speak: words, each on lines of its own, so that who
waits for one does not slow down who writes another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from lighten.emit import I64, POINTER, Function, Isa, Tile, Value, atomic

LINE = 128  # bytes: two lines of cache, since one may be fetched with the other
ARRIVED, ROUND = 0, LINE
# the address of what lets other threads run, and after how many turns of a waiting loop it is used
GIVE_WAY, PATIENCE = 2 * LINE, 2 * LINE + 8
TEAM = 3 * LINE  # bytes of all of them


@functools.cache
def meeting(isa: Isa) -> Function:
    """`meet(team, parts)`: returns when so many threads have called it."""
    f = Function("meet", {"team": POINTER, "parts": I64}, isa)
    team = f["team"]
    begun = atomic.load(f, team + ROUND)
    last = f.equal(atomic.add(f, 1, team + ARRIVED), f["parts"] - 1)

    def open_() -> None:
        atomic.store(f, 0, team + ARRIVED)
        atomic.store(f, begun + 1, team + ROUND)

    def opened() -> Value:
        return f.less(begun, atomic.load(f, team + ROUND))

    atomic.when(f, last, open_, lambda: wait(f, team, opened))
    return f


def give_way(f: Function, team: Value) -> None:
    """Let other threads run on this core."""
    atomic.call(f, f.load(team, POINTER, GIVE_WAY))


def wait(f: Function, team: Value, over: Callable[[], Value]) -> None:
    """Until it is over, at first without letting go of the core."""

    def turn(left: Tile) -> tuple[Value, Tile]:
        atomic.pause(f)
        atomic.when(f, f.less(left[0], 1), lambda: give_way(f, team))
        return over(), [left[0] - 1]

    def wait_() -> None:
        atomic.until(f, turn, [f.load(team, I64, PATIENCE)])

    atomic.when(f, over(), lambda: None, wait_)
