"""Pairs of bfloat16: numbers of float32 cut to their upper 16 bits, two in a word of 32 (A1).

    word i of a register:   number 2i in the lower half, number 2i + 1 in the upper

A register of float32 holds as many words as it has lanes, so what moves, spreads or masks words
is what does so with float32. One instruction adds the products of both halves to a float32 sum:

    reference:  s[i] += a[2i] · b[2i] + a[2i + 1] · b[2i + 1]        a, b in bfloat16

It takes numbers below 2^-126 for zeros, and rounds to even. Results are others than float32's, so
code that uses it is only made where `paired` was asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lighten.emit.function import Function
from lighten.emit.isa import VARIABLE, Isa, features, host
from lighten.emit.types import Type, vector
from lighten.emit.value import Value
from lighten.errors import InputError

Array = np.ndarray[Any, Any]
FEATURE, BF16 = "avx512bf16", Type("float", 16)
_ROUND = "@llvm.x86.avx512bf16.cvtne2ps2bf16.512"
_DOT = "@llvm.x86.avx512bf16.dpbf16ps.512"


def paired(isa: Isa) -> Isa:
    """The instruction set with products of pairs. InputError where this machine has none, or where
    `$LIGHTEN_ISA` narrows it to one without.
    """
    if isa.name != "avx512" or FEATURE not in features():
        raise InputError(
            f"bf16 needs a processor with {FEATURE}, but this one runs {isa.name} without it.",
            f"Leave bf16 off to run in float32; {VARIABLE} may have narrowed the instructions.",
        )
    return replace(isa, name=f"{isa.name}+bf16", needs=(*isa.needs, FEATURE))


def instructions(bf16: bool) -> Isa:
    """This machine's instruction set; with products of pairs where bf16 is asked for."""
    return paired(host()) if bf16 else host()


def has_pairs(isa: Isa) -> bool:
    """Whether it was made by `paired`."""
    return FEATURE in isa.needs


def rounded(f: Function, low: Value, high: Value) -> Value:
    """Two registers of float32 as one of words: the numbers of `low`, then those of `high`."""
    kind, lane = vector(BF16, 2 * f.isa.lanes), f.lane
    f.declarations.add(f"declare {kind.text} {_ROUND}({lane.text}, {lane.text})")
    given = f"{lane.text} {high.name}, {lane.text} {low.name}"
    return _as(f, f.instruction(f"call {kind.text} {_ROUND}({given})", kind), lane)


def dot(f: Function, a: Value, b: Value, total: Value) -> Value:
    """`total` and the products of both halves of each word."""
    kind, lane = vector(BF16, 2 * f.isa.lanes), f.lane
    f.declarations.add(f"declare {lane.text} {_DOT}({lane.text}, {kind.text}, {kind.text})")
    left, right = (_as(f, value, kind).name for value in (a, b))
    given = f"{lane.text} {total.name}, {kind.text} {left}, {kind.text} {right}"
    return f.instruction(f"call {lane.text} {_DOT}({given})", lane)


def _as(f: Function, value: Value, kind: Type) -> Value:
    """The same bits as another type."""
    return f.instruction(f"bitcast {value.type.text} {value.name} to {kind.text}", kind)


# ── the same in NumPy ─────────────────────────────────────────────────────────────────────────


def nearest(x: Array) -> Array:
    """Each float32 as the bfloat16 nearest to it, ties to even; still in float32.

    >>> nearest(np.array([1.0, 1.00390625, 3.14159274], np.float32)).tolist()
    [1.0, 1.0, 3.140625]
    """
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    up = (bits >> 16 & 1) + np.uint32(0x7FFF)
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)


def words(x: Array) -> Array:
    """`[…, numbers]` as `[…, pairs]`, a zero after the last where they are odd."""
    even = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] % 2)])
    halves = nearest(even).view(np.uint32) >> 16
    return np.ascontiguousarray(halves[..., ::2] | halves[..., 1::2] << 16).view(np.float32)
