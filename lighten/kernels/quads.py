"""Sums of four filters become words of four codes: what `requantize` does, in the layout of tiles.

reference, for every lane and filter q of four (`program.integers`; each step rounded by itself):
    r = float32(sum) · multiplier[q]  + (float32(a) − added_zero) · added_scale, where a is added
    word += (rint(min(max(r, low), high)) + zero) · 256^q

Adding 1.5 · 2²³ to r rounds it to even and leaves the number in the lowest bits of the float. Seen
as words, four of those shifted by 8 bits each are added as they are: all that is above the bytes is
the same in every lane, and comes off with the zero points in one subtraction, modulo 2³².

What it reads lies behind the bias, as `requantize.pack` puts it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import I32, Function, Value, integers, vector
from lighten.emit.integers import MAGIC, MAGIC_BITS, shifted
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.requantize import (
    ADDED_SCALE,
    ADDED_ZERO,
    HIGH,
    LOW,
    SCALE,
    ZERO,
    bounded,
)

BYTES, CODES = 0x01010101, 4  # one in each byte, codes in a word


@dataclass(frozen=True)
class Ends:
    """What ends the sums of one filter, in registers: its multiplier, and the numbers that are the
    same for all filters; `rest` is the zero points, less what rounding leaves above each byte.
    """

    multiplier: Value
    low: Value
    high: Value
    added: tuple[Value, Value]
    scale: Value
    rest: Value


def numbers(f: Function, width: int) -> Value:
    """Where the numbers for all filters lie, behind so many biases and multipliers."""
    return f["b"] + 8 * width


def ends(f: Function, width: int, which: tuple[Value, int], together: int) -> Ends:
    """Those of one filter of a group."""
    held, words = numbers(f, width), vector(I32, f.isa.lanes)
    first = f["b"] + 4 * width + which[0] * (4 * together)
    low, high, zero, scale, step = (
        f.load_spread(held, f.lane, at) for at in (LOW, HIGH, ADDED_ZERO, ADDED_SCALE, SCALE)
    )
    rest = _plus(f, fill(f, width), f.constant(-MAGIC_BITS * BYTES % (1 << 32), words))
    multiplier = f.load_spread(first, f.lane, 4 * which[1])
    return Ends(multiplier, low, high, (zero, scale), step, rest)


def fill(f: Function, width: int) -> Value:
    """The zero point in every byte of every lane."""
    words = vector(I32, f.isa.lanes)
    zero, each = f.load_spread(numbers(f, width), words, ZERO), f.constant(BYTES, words)
    return f.instruction(f"mul {words.text} {zero.name}, {each.name}", words)


def scaled(f: Function, total: Value, ends: Ends) -> Value:
    """A register of sums in steps of the result."""
    return integers.real(f, total) * ends.multiplier


def added(f: Function, word: Value, which: int, ends: Ends) -> Value:
    """One of the four codes of every word, in steps of the result."""
    held = shifted(f, "lshr", shifted(f, "shl", word, 24 - 8 * which), 24)
    zero, scale = ends.added
    return (integers.real(f, held) - zero) * scale


def active(f: Function, r: Value, activation: str, ends: Ends | None) -> Value:
    """An activation that is no bound; in steps of the result again, where that is codes."""
    made = FUNCTIONS[activation](f, r)
    return made * ends.scale if activation and ends is not None else made


def rounded(f: Function, r: Value, ends: Ends) -> Value:
    """A register of floats as words whose lowest bits are the code, less its zero point."""
    r = bounded(f, r, ends.low, ends.high)
    return integers.cast(f, r + f.constant(MAGIC, f.lane), vector(I32, f.isa.lanes))


def joined(f: Function, total: Value, code: Value, which: int) -> Value:
    """The `rounded` of one filter added to those before it; the first is the total itself."""
    return _plus(f, total, shifted(f, "shl", code, 8 * which)) if which else total


def whole(f: Function, total: Value, ends: Ends) -> Value:
    """Four filters' `joined` as four bytes."""
    return _plus(f, total, ends.rest)


def _plus(f: Function, a: Value, b: Value) -> Value:
    """The sum modulo 2³²."""
    return f.instruction(f"add {a.type.text} {a.name}, {b.name}", a.type)
