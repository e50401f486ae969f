"""Whole numbers in registers: bytes made wide and narrow, and the dot product of four of them.

    word i of a register:   codes 4i … 4i + 3, the first in the lowest byte

A register holds as many words of 32 bits as float32 numbers, so what spreads or loads words is what
does so with those. One step adds four products to each sum, exactly, whatever the numbers are:

    reference:  s[i] += Σ_k x[4i + k] · w[4i + k]        x unsigned, w signed bytes, s int32

Processors with VNNI (`with_dot`) have it as one instruction. Others of x86 multiply 16 bits by 16
and add pairs, which nothing can saturate: the even bytes, then the odd ones. What each row of
`INTEGERS` means is run in the tests.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.emit.function import Function
from lighten.emit.isa import ISAS, VARIABLE, Isa, features, host
from lighten.emit.types import F32, I8, I32, Type, vector
from lighten.emit.value import Value

Array = np.ndarray[Any, Any]
VNNI = "+vnni"  # in the name of an instruction set that has the dot product
FEATURES = {"avx512": "avx512vnni", "avx2": "avxvnni"}
PAIRS = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}  # by lanes
MAGIC = 1.5 * 2**23  # floats near it have steps of 1: adding it rounds to even
MAGIC_BITS = 0x4B400000


def with_dot(isa: Isa) -> Isa:
    """The instruction set with VNNI where this processor has it; else as it is."""
    feature = FEATURES.get(isa.name)
    if feature is None or feature not in features():
        return isa
    return replace(isa, name=f"{isa.name}{VNNI}", needs=(*isa.needs, feature))


def has_dot(isa: Isa) -> bool:
    """Whether it was made by `with_dot`."""
    return VNNI in isa.name


def without_dot(isa: Isa) -> Isa:
    """What `with_dot` was given."""
    return ISAS[isa.name.removesuffix(VNNI)] if has_dot(isa) else isa


def instructions() -> Isa:
    """This machine's instruction set for networks of codes: with VNNI where it has that, unless
    `$LIGHTEN_ISA` narrows it.
    """
    return host() if os.environ.get(VARIABLE) else with_dot(host())


def dot(f: Function, total: Value, x: Value, w: Value) -> Value:
    """`total` and the products of the bytes of each word: x unsigned, w signed."""
    if has_dot(f.isa):
        return _vnni(f, total, x, w)
    if f.isa.name == "neon":
        for k in range(4):
            a = shifted(f, "lshr", shifted(f, "shl", x, 24 - 8 * k), 24)
            b = shifted(f, "ashr", shifted(f, "shl", w, 24 - 8 * k), 24)
            total = total + a * b
        return total
    for odd in (False, True):
        total = total + _pairs(f, _unsigned(f, x, odd), _signed(f, w, odd))
    return total


def _vnni(f: Function, total: Value, x: Value, w: Value) -> Value:
    kind = total.type
    given = vector(I8, 4 * kind.lanes) if _bytes() else kind
    name = f"@llvm.x86.avx512.vpdpbusd.{32 * kind.lanes}"
    f.declarations.add(f"declare {kind.text} {name}({kind.text}, {given.text}, {given.text})")
    a, b = (cast(f, value, given).name for value in (x, w))
    text = f"call {kind.text} {name}({kind.text} {total.name}, {given.text} {a}, {given.text} {b})"
    return f.instruction(text, kind)


@functools.cache
def _bytes() -> bool:
    """Whether this LLVM's instruction takes vectors of bytes; it took words before version 22."""
    import llvmlite.binding as llvm

    name, kind, given = "@llvm.x86.avx512.vpdpbusd.512", "<16 x i32>", "<64 x i8>"
    try:
        llvm.parse_assembly(f"declare {kind} {name}({kind}, {given}, {given})").verify()
    except RuntimeError:
        return False
    return True


def _unsigned(f: Function, x: Value, odd: bool) -> Value:
    """Every other byte as 16 bits, two in a word."""
    return f.instruction(
        f"and {x.type.text} {(shifted(f, 'lshr', x, 8) if odd else x).name}, "
        f"{f.constant(0x00FF00FF, x.type).name}",
        x.type,
    )


def _signed(f: Function, w: Value, odd: bool) -> Value:
    halves = vector(Type("int", 16), 2 * w.type.lanes)
    held = cast(f, w, halves)
    if not odd:
        held = shifted(f, "shl", held, 8)
    return cast(f, shifted(f, "ashr", held, 8), w.type)


def _pairs(f: Function, a: Value, b: Value) -> Value:
    """Products of the 16-bit halves of each word, added."""
    kind = a.type
    halves, name = vector(Type("int", 16), 2 * kind.lanes), f"@llvm.x86.{PAIRS[kind.lanes]}"
    f.declarations.add(f"declare {kind.text} {name}({halves.text}, {halves.text})")
    left, right = (cast(f, value, halves).name for value in (a, b))
    return f.instruction(
        f"call {kind.text} {name}({halves.text} {left}, {halves.text} {right})", kind
    )


def shifted(f: Function, how: str, value: Value, bits: int) -> Value:
    """The bits of each word moved: `shl`, `lshr` or `ashr`."""
    if not bits:
        return value
    by = f.constant(bits, value.type).name
    return f.instruction(f"{how} {value.type.text} {value.name}, {by}", value.type)


def cast(f: Function, value: Value, kind: Type) -> Value:
    """The same bits as another type."""
    if value.type == kind:
        return value
    return f.instruction(f"bitcast {value.type.text} {value.name} to {kind.text}", kind)


def _converted(how: str, to: Type) -> Callable[[Function, Value], Value]:
    def made(f: Function, value: Value) -> Value:
        kind = vector(to, value.type.lanes)
        return f.instruction(f"{how} {value.type.text} {value.name} to {kind.text}", kind)

    return made


def _between(intrinsic: str) -> Callable[[Function, Value, Value], Value]:
    def made(f: Function, a: Value, b: Value) -> Value:
        kind, name = a.type, f"@llvm.{intrinsic}.{a.type.suffix}"
        f.declarations.add(f"declare {kind.text} {name}({kind.text}, {kind.text})")
        given = f"{kind.text} {a.name}, {kind.text} {b.name}"
        return f.instruction(f"call {kind.text} {name}({given})", kind)

    return made


def _nearest(f: Function, value: Value) -> Value:
    kind = vector(I32, value.type.lanes)
    near = cast(f, value + f.constant(MAGIC, value.type), kind)
    return near - f.constant(MAGIC_BITS, kind)


def _saturated(f: Function, value: Value) -> Value:
    kind = value.type
    low = _between("smax")(f, value, f.zero(kind))
    return unsaturated(f, _between("umin")(f, low, f.constant(255, kind)))


unsaturated = _converted("trunc", I8)  # the lowest byte of each word
unsigned, signed = _converted("zext", I32), _converted("sext", I32)  # bytes as words
real = _converted("sitofp", F32)  # words as floats, rounded to even
nearest = _nearest  # floats up to 2²² as words, halves to even
saturated = _saturated  # words as unsigned bytes
least, most = _between("smin"), _between("smax")  # of words
least_byte, most_byte = _between("umin"), _between("umax")  # of unsigned bytes


@dataclass(frozen=True)
class Row:
    """What writes an instruction, the NumPy types that it takes and gives, and its meaning."""

    make: Callable[..., Value]
    takes: tuple[Any, ...]
    gives: Any
    meaning: Callable[..., Array]


def _dot_meaning(total: Array, x: Array, w: Array) -> Array:
    codes = x.view(np.uint8).astype(np.int32) * w.view(np.int8).astype(np.int32)
    return np.asarray(total + codes.reshape(-1, 4).sum(1, dtype=np.int32))


INTEGERS: Mapping[str, Row] = {
    "unsigned": Row(unsigned, (np.uint8,), np.int32, lambda x: x.astype(np.int32)),
    "signed": Row(signed, (np.int8,), np.int32, lambda x: x.astype(np.int32)),
    "real": Row(real, (np.int32,), np.float32, lambda x: x.astype(np.float32)),
    "nearest": Row(nearest, (np.float32,), np.int32, lambda x: np.rint(x).astype(np.int32)),
    "unsaturated": Row(unsaturated, (np.int32,), np.uint8, lambda x: x.astype(np.uint8)),
    "saturated": Row(
        saturated, (np.int32,), np.uint8, lambda x: np.clip(x, 0, 255).astype(np.uint8)
    ),
    "least": Row(least, (np.int32, np.int32), np.int32, np.minimum),
    "most": Row(most, (np.int32, np.int32), np.int32, np.maximum),
    "least_byte": Row(least_byte, (np.uint8, np.uint8), np.uint8, np.minimum),
    "most_byte": Row(most_byte, (np.uint8, np.uint8), np.uint8, np.maximum),
    "dot": Row(dot, (np.int32, np.int32, np.int32), np.int32, _dot_meaning),
}
