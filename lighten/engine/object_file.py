"""A planned network as an object file and a C header: to be linked into a program without Python.

    int64_t net_arena_bytes(int64_t n);
    int net(const float *x, float *y, void *arena, int64_t n);

The file holds code and packed weights, and calls nothing but libc's memcpy and memset and libm's
rounding. It keeps no state: threads that each bring an arena may call it at the same time.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from lighten.emit import Function
from lighten.emit.function import module
from lighten.emit.target import Target, emit_object
from lighten.engine.codes import has_codes
from lighten.engine.executable import Network
from lighten.engine.memory import LINE
from lighten.engine.plan import plan
from lighten.engine.steps import Plan
from lighten.errors import UnsupportedOps
from lighten.program.ir import Program

ALONE = {"part": "i64 0", "parts": "i64 1", "team": "ptr null"}  # one thread does it all
WORDS = frozenset("arena n int float void const char double long short static return if".split())


@dataclass(frozen=True)
class ObjectFile:
    """An object file and the header that declares what is in it."""

    code: bytes
    header: str


def object_file(program: Program, name: str, target: Target) -> ObjectFile:
    """The program under a C name, for a processor.

    UnsupportedOps names the ops that no kernel runs; they need the interpreter, which is Python.
    """
    target = target.for_codes() if has_codes(program) else target
    name, made = identifier(name), plan(program, target.isa)
    if made.interpreted:
        hint = "An object file holds kernels alone; run it with lighten.load, or onnxruntime."
        raise UnsupportedOps("An object file", made.interpreted, hint)
    network = Network(made, compiled=False)
    kernels, entries = network.functions()
    entry = entries["segment0"]
    text = module([*kernels, entry]).replace("define void @", "define internal void @")
    text += _arena(name, network) + _call(name, network, entry)
    code = emit_object(text, "weights", network.weights.tobytes(), target)
    return ObjectFile(code, _header(name, made, target))


def identifier(name: str) -> str:
    """A name as C takes it, such as `net_0` for `net.0`.

    >>> identifier("zoo:resnet20"), identifier("3d-net")
    ('zoo_resnet20', '_3d_net')
    """
    found = re.sub(r"\W+", "_", name, flags=re.ASCII) or "_"
    return f"_{found}" if found[0].isdigit() or found in WORDS else found


# ── code ──────────────────────────────────────────────────────────────────────────────────────


def _arena(name: str, network: Network) -> str:
    base = network.arena_bytes(0)
    return (
        f"define i64 @{name}_arena_bytes(i64 %n) {{\n"
        f"  %samples = mul i64 %n, {network.arena_bytes(1) - base}\n"
        f"  %all = add i64 %samples, {base}\n  ret i64 %all\n}}\n"
    )


def _call(name: str, network: Network, entry: Function) -> str:
    """Inputs into the arena, the kernels, outputs out of it; −1 for a wrong n or arena."""
    program = network.program
    inputs = [f"%x{i}" for i in range(len(program.inputs))]
    outputs = [f"%y{i}" for i in range(len(program.outputs))]
    pointers = ", ".join(f"ptr {each}" for each in (*inputs, *outputs, "%arena"))
    lines = [
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
        f"define i32 @{name}({pointers}, i64 %n) #0 {{",
        "  %small = icmp slt i64 %n, 1",
        "  %address = ptrtoint ptr %arena to i64",
        f"  %low = and i64 %address, {LINE - 1}",
        "  %askew = icmp ne i64 %low, 0",
        "  %wrong = or i1 %small, %askew",
        "  br i1 %wrong, label %refused, label %begun",
        "refused:\n  ret i32 -1",
        "begun:",
    ]
    before = "begun"
    for at, bound in network.inputs.bounds.items():
        lines += _checked(at, bound, _numbers(program, program.inputs[at]), before)
        before = f"checked{at}"
    for place, value in zip(inputs, program.inputs, strict=True):
        lines += _copied(place, network.offset(value), _numbers(program, value), inward=True)
    more = "".join(f", {ALONE[p]}" for p in list(entry.parameters)[3:])
    lines.append(f"  call void @{entry.name}(ptr %arena, ptr @weights, i64 %n{more})")
    for place, value, held in zip(outputs, program.outputs, network.plan.results, strict=True):
        lines += _copied(place, network.offset(held), _numbers(program, value), inward=False)
    return "\n".join([*lines, "  ret i32 0\n}\n"])


def _checked(at: int, bound: int, numbers: int, before: str) -> list[str]:
    """Refuse whole numbers outside of −bound … bound − 1: rows of a table, which is read unchecked.

    The block `before` runs before; what follows is in the block checked<at>.
    """
    low, high = (f"0x{struct.unpack('<Q', struct.pack('<d', b))[0]:016X}" for b in (-bound, bound))
    return [
        f"  %all{at} = mul i64 %n, {numbers}",
        f"  br label %check{at}",
        f"check{at}:",
        f"  %i{at} = phi i64 [0, %{before}], [%next{at}, %number{at}]",
        f"  %more{at} = icmp slt i64 %i{at}, %all{at}",
        f"  br i1 %more{at}, label %number{at}, label %checked{at}",
        f"number{at}:",
        f"  %place{at} = getelementptr float, ptr %x{at}, i64 %i{at}",
        f"  %given{at} = load float, ptr %place{at}, align 4",
        f"  %above{at} = fcmp oge float %given{at}, {low}",
        f"  %below{at} = fcmp olt float %given{at}, {high}",
        f"  %right{at} = and i1 %above{at}, %below{at}",
        f"  %next{at} = add i64 %i{at}, 1",
        f"  br i1 %right{at}, label %check{at}, label %refused",
        f"checked{at}:",
    ]


def _numbers(program: Program, value: str) -> int:
    """How many numbers a sample of a value has."""
    return math.prod(program.values[value].shape)


def _copied(place: str, offset: int, numbers: int, inward: bool) -> list[str]:
    """A row-major value of so many numbers a sample from the caller, or to it."""
    own = place.replace("%", "%at_")
    pair = f"ptr {own}, ptr {place}" if inward else f"ptr {place}, ptr {own}"
    return [
        f"  {own}_by = mul i64 %n, {offset}",
        f"  {own} = getelementptr i8, ptr %arena, i64 {own}_by",
        f"  {own}_size = mul i64 %n, {4 * numbers}",
        f"  call void @llvm.memcpy.p0.p0.i64({pair}, i64 {own}_size, i1 false)",
    ]


# ── header ────────────────────────────────────────────────────────────────────────────────────


def _header(name: str, made: Plan, target: Target) -> str:
    program, upper = made.program, name.upper()
    values = [*program.inputs, *program.outputs]
    given = _parameters(values)
    sizes = [
        f"#define {upper}_{own.upper()} {_numbers(program, value)}"
        f"  /* floats a sample: {list(program.values[value].shape)} */"
        for own, value in zip(given, values, strict=True)
    ]
    count = len(program.inputs)
    listed = [f"const float *{x}" for x in given[:count]] + [f"float *{y}" for y in given[count:]]
    return f"""\
/* {name}: {len(program.ops)} ops for {target.isa.name} ({target.isa.cpu}), {target.triple}.
 * Written by lighten. Link the object file beside this header, and libm. */
#ifndef LIGHTEN_{upper}_H
#define LIGHTEN_{upper}_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif

{_joined(sizes)}
#define {upper}_ALIGNMENT {LINE}  /* bytes: an arena begins at a multiple of it */

/* Bytes of the arena that a call of n samples works in. */
int64_t {name}_arena_bytes(int64_t n);

/* Runs n samples: row-major float32 arrays [n, ...] in and out, which must not overlap the arena.
 * {_preprocess(program)} Whole numbers are floats, too.
 * The arena may hold anything before and holds nothing of use after. Calls may run at the same
 * time, each with an arena and outputs of its own. Returns 0; -1, having done nothing, where n < 1,
 * the arena is not aligned, or a whole number lies outside of the table that it is looked up in. */
int {name}({", ".join(listed)}, void *arena, int64_t n);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)


def _preprocess(program: Program) -> str:
    """What the inputs are, told in one line of a comment."""
    made = program.preprocess
    if made.scale == 1.0 and not made.mean and not made.std:
        return "The inputs are the network's own, nothing is done to them."
    mean, std = list(made.mean) or 0, list(made.std) or 1
    return f"The inputs are (pixel / {made.scale:g} - mean) / std; mean {mean}, std {std}."


def _parameters(values: Sequence[str]) -> list[str]:
    """The values' names in C, each different."""
    found: list[str] = []
    for value in values:
        own = identifier(value)
        while own in found:
            own += "_"
        found.append(own)
    return found
