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
from lighten.emit.integers import Row, cast, dot, instructions, without_dot
from lighten.emit.isa import VARIABLE, Isa, features
from lighten.emit.lanes import compare
from lighten.emit.types import I1, I8, I32, Type, vector
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


def without(isa: Isa) -> Isa:
    """The instruction set without counts, and without the dot product of codes."""
    if has_counts(isa):
        needs = tuple(feature for feature in isa.needs if feature != FEATURE)
        isa = replace(isa, name=isa.name.removesuffix(COUNTS), needs=needs)
    return without_dot(isa)


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
    """Whether each float is not below zero."""
    return compare(f, "uge", x, f.zero(x.type))


def at_most(f: Function, x: Value, bound: Value) -> Value:
    """Whether each whole number is at most the other."""
    text = f"icmp sle {x.type.text} {x.name}, {bound.name}"
    return f.instruction(text, vector(I1, x.type.lanes))


def together(f: Function, found: Tile) -> Value:
    """Conditions of one or two registers as one number, the first lane the lowest bit."""
    held = found[0]
    if len(found) > 1:
        held = f.permute(held, range(2 * held.type.lanes), found[1])
    return cast(f, held, Type("int", held.type.lanes))


class Counter:
    """Adds counted bits to sums of words; `add` at most `MOST` times to each before `totals`."""

    def __init__(self, f: Function, sums: Tile) -> None:
        self._f, self._words = f, list(sums)
        self._bytes: list[Value | None] = [None] * len(sums)

    def add(self, at: int, bits: Value) -> None:
        """Count the bits of a register of words into a sum."""
        f = self._f
        if has_counts(f.isa):
            self._words[at] = self._words[at] + count(f, bits)
            return
        counted = count(f, cast(f, bits, vector(I8, 4 * f.isa.lanes)))
        before = self._bytes[at]
        self._bytes[at] = counted if before is None else before + counted

    def totals(self) -> Tile:
        """The sums with all that was counted."""
        f = self._f
        ones = f.constant(0x01010101, vector(I32, f.isa.lanes))
        return [
            total if counted is None else dot(f, total, cast(f, counted, ones.type), ones)
            for total, counted in zip(self._words, self._bytes, strict=True)
        ]


BITS: Mapping[str, Row] = {
    "differ": Row(differ, (np.int32, np.int32), np.int32, np.bitwise_xor),
    "both": Row(both, (np.int32, np.int32), np.int32, np.bitwise_and),
    "count": Row(count, (np.int32,), np.int32, lambda x: np.bitwise_count(x.view(np.uint32))),
    "count bytes": Row(count, (np.uint8,), np.uint8, np.bitwise_count),
}
