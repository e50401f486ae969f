"""What threads say to each other through memory, and loops that wait for it.

    def turn(_: Tile) -> tuple[Value, Tile]:
        pause(f)
        return f.equal(load(f, f["flag"]), 1), []

    until(f, turn)

Words are whole numbers of 64 bits. What is stored here becomes seen together with all that was
stored before it (release), and who loads it here sees all of that (acquire).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lighten.emit.function import Function
from lighten.emit.types import I64
from lighten.emit.value import Index, Tile, Value

Turn = Callable[[Tile], tuple[Value, Tile]]


def load(f: Function, place: Value) -> Value:
    """The word that lies there, and whatever was stored before it was."""
    return f._value(f"load atomic i64, ptr {place.name} acquire, align 8", I64)


def store(f: Function, word: Index, place: Value) -> None:
    """Put a word there, for whoever loads it."""
    f._line(f"store atomic i64 {f._index(word).name}, ptr {place.name} release, align 8")


def add(f: Function, word: Index, place: Value) -> Value:
    """Add to the word that lies there, in one step; what lay there before."""
    return f._value(f"atomicrmw add ptr {place.name}, i64 {f._index(word).name} acq_rel", I64)


def swap(f: Function, expected: Index, word: Index, place: Value) -> Value:
    """Put a word there if the expected one lies there, in one step; what lay there before."""
    pair = f"i64 {f._index(expected).name}, i64 {f._index(word).name}"
    both = f._value(f"cmpxchg ptr {place.name}, {pair} acq_rel acquire", I64)
    return f._value(f"extractvalue {{i64, i1}} {both.name}, 0", I64)


def pause(f: Function) -> None:
    """Tell the core that this loop waits."""
    intrinsic, given = f.isa.pause
    kind = given.partition(" ")[0]
    f.declarations.add(f"declare void @{intrinsic}({kind})")
    f._line(f"call void @{intrinsic}({given})")


def call(f: Function, address: Value, *given: Value) -> None:
    """Call the function that begins at an address."""
    listed = ", ".join(f"{value.type.text} {value.name}" for value in given)
    f._line(f"call void {address.name}({listed})")


def when(
    f: Function,
    condition: Value,
    yes: Callable[[], object],
    no: Callable[[], object] | None = None,
) -> None:
    """Do one thing or the other."""
    f._count += 1
    names = [f"{part}{f._count}" for part in ("yes", "no", "end")]
    f._line(f"br i1 {condition.name}, label %{names[0]}, label %{names[1 if no else 2]}")
    for name, write in zip(names, (yes, no), strict=False):
        if write is not None:
            f._begin(name)
            write()
            f._line(f"br label %{names[2]}")
    f._begin(names[2])


def until(f: Function, turn: Turn, carried: Sequence[Value] = ()) -> Tile:
    """Do `turn(tile)` at least once, until the condition that it returns holds; the tile that it
    returns goes into the next turn, and the last one is the result.
    """
    f._count += 1
    number, before = f._count, f._block
    f._line(f"br label %turn{number}")
    f._begin(f"turn{number}")
    hole = len(f._lines)
    rounds = [Value(f"%c{number}_{n}", value.type, f) for n, value in enumerate(carried)]
    done, results = turn(list(rounds))
    f._lines[hole:hole] = [
        f._phi(value, first, before, last, f._block)
        for value, first, last in zip(rounds, carried, results, strict=True)
    ]
    f._line(f"br i1 {done.name}, label %done{number}, label %turn{number}")
    f._begin(f"done{number}")
    return results
