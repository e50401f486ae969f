"""Bits in registers: differences, masks, how many are set, and signs of floats as bits.

    word i of a register:   32 signs, the first in the lowest bit

    reference:  s[i] += bits set in (x[i] xor w[i])          32 products of signs that differ

Processors with AVX512-VPOPCNTDQ (`with_counts`) count a word in one instruction; elsewhere LLVM
counts bytes, on AVX2 by looking nibbles up, and `Counter` adds the bytes of a word only now and
then. What each row of `BITS` means is run in the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lighten.emit.function import Function
from lighten.emit.integers import Row, cast, dot, instructions
from lighten.emit.isa import VARIABLE, Isa, features
from lighten.emit.lanes import compare
from lighten.emit.types import I8, I32, Type, vector
from lighten.emit.value import Tile, Value

FEATURE = "avx512vpopcntdq"
COUNTS = "+counts"  # in the name of an instruction set that counts bits in one instruction
MOST = 15  # words whose bits are counted in bytes before these exceed 127


def with_counts(isa: Isa) -> Isa:
    """The instruction set with counts of bits where this processor has them; else as it is."""
    if not isa.name.startswith("avx512") or FEATURE not in features():
        return isa
    return replace(isa, name=f"{isa.name}{COUNTS}", needs=(*isa.needs, FEATURE))


def has_counts(isa: Isa) -> bool:
    """Whether it was made by `with_counts`."""
    return FEATURE in isa.needs


def widest() -> Isa:
    """This machine's instruction set for networks of signs, unless `$LIGHTEN_ISA` narrows it."""
    return instructions() if os.environ.get(VARIABLE) else with_counts(instructions())


def _between(name: str) -> Callable[[Function, Value, Value], Value]:
    def made(f: Function, a: Value, b: Value) -> Value:
        return f.instruction(f"{name} {a.type.text} {a.name}, {b.name}", a.type)

    return made


differ, both = _between("xor"), _between("and")


def count(f: Function, value: Value) -> Value:
    """How many bits are set in each lane, words or bytes."""
    kind, name = value.type, f"@llvm.ctpop.{value.type.suffix}"
    f.declarations.add(f"declare {kind.text} {name}({kind.text})")
    return f.instruction(f"call {kind.text} {name}({kind.text} {value.name})", kind)


def not_below(f: Function, x: Value) -> Value:
    """One bit for each float, 1 where it is not below zero: a number of as many bits as lanes."""
    kind = Type("int", x.type.lanes)
    below = compare(f, "uge", x, f.zero(x.type))
    return f.instruction(f"bitcast {below.type.text} {below.name} to {kind.text}", kind)


class Counter:
    """Sums of counted bits, in words; `add` at most `MOST` times before `totals`."""

    def __init__(self, f: Function, size: int) -> None:
        self._f, self._kind = f, vector(I32, f.isa.lanes)
        if not has_counts(f.isa):
            self._kind = vector(I8, 4 * f.isa.lanes)
        self._sums: list[Value | None] = [None] * size

    def add(self, at: int, bits: Value) -> None:
        """Count the bits of a register of words into a sum."""
        counted, before = count(self._f, cast(self._f, bits, self._kind)), self._sums[at]
        self._sums[at] = counted if before is None else before + counted

    def totals(self, before: Tile) -> Tile:
        """Sums of words with all that was counted."""
        f, words = self._f, vector(I32, self._f.isa.lanes)
        ones = f.constant(0x01010101, words)
        made = []
        for total, sums in zip(before, self._sums, strict=True):
            if sums is None:
                made.append(total)
            elif sums.type == words:
                made.append(total + sums)
            else:
                made.append(dot(f, total, cast(f, sums, words), ones))
        return made


BITS: Mapping[str, Row] = {
    "differ": Row(differ, (np.int32, np.int32), np.int32, np.bitwise_xor),
    "both": Row(both, (np.int32, np.int32), np.int32, np.bitwise_and),
    "count": Row(count, (np.int32,), np.int32, lambda x: np.bitwise_count(x.view(np.uint32))),
    "count bytes": Row(count, (np.uint8,), np.uint8, np.bitwise_count),
}
