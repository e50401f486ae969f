"""What one core can do at most: multiply-adds between registers, nothing read and nothing written.

    s₀ s₁ … s₁₁ (of 16 registers; of 32: s₂₇)      a  b
    each sum waits for its own last product alone, and there are more of them than are in flight

reference: for _ in range(rounds): s = s · a + b, for every sum

Of codes, each step is a dot product of four instead, and of signs 32 products by a count of bits;
their second factor is the next sum: what does not change would be computed once.
"""

from __future__ import annotations

import ctypes
import functools
import time

import numpy as np

from lighten.emit import I32, I64, POINTER, Function, Isa, Tile, Value, build, integers, vector
from lighten.emit.bits import MOST, Counter, differ, has_counts

SPARE = 4  # registers that hold no sum
ROUNDS, BURSTS = 100_000, 10


@functools.cache
def gflops(isa: Isa) -> float:
    """Billions of additions and multiplications a second of one core; the best of some bursts."""
    return 2e-9 * isa.lanes / _seconds(emit("ceiling", isa), isa)


@functools.cache
def gops(isa: Isa) -> float:
    """Billions of additions and multiplications of codes a second of one core."""
    return 8e-9 * isa.lanes / _seconds(emit("ceiling", isa, codes=True), isa)


@functools.cache
def signs(isa: Isa) -> float:
    """Billions of additions and multiplications of signs a second of one core."""
    made = emit_signs("ceiling", isa)
    return 64e-9 * isa.lanes * _turns(isa) / _seconds(made, isa, _sums(isa))


def _sums(isa: Isa) -> int:
    """Registers of counts: those of bytes need as many again, and more to count with."""
    return (isa.registers - SPARE) // (1 if has_counts(isa) else 3)


def _turns(isa: Isa) -> int:
    """Words that are counted at a time."""
    return 1 if has_counts(isa) else MOST


def _seconds(f: Function, isa: Isa, sums: int = 0) -> float:
    """Of one step of one sum; the best of some bursts."""
    call = build([f]).function("ceiling", ctypes.c_void_p, ctypes.c_int64)
    y = np.zeros(isa.registers * isa.lanes, np.float32)
    taken = []
    for _ in range(BURSTS):
        begun = time.perf_counter()
        call(y.ctypes.data, ROUNDS)
        taken.append(time.perf_counter() - begun)
    return min(taken) / ROUNDS / (sums or isa.registers - SPARE)


def emit(name: str, isa: Isa, codes: bool = False) -> Function:
    """The kernel `name(y, rounds)`, over floats or over `codes`; the sums go to y."""
    f = Function(name, {"y": POINTER, "n": I64}, isa)
    kind = vector(I32, isa.lanes) if codes else f.lane
    a, b = (f.constant(number, kind) for number in ((3, 1) if codes else (0.5, 1.0)))
    sums = [f.constant(i, kind) for i in range(isa.registers - SPARE)]

    def step(_: Value, tile: Tile) -> Tile:
        if codes:
            return [integers.dot(f, s, a, tile[i - 1]) for i, s in enumerate(tile)]
        return [f.fma(s, a, b) for s in tile]

    for i, s in enumerate(f.loop(0, f["n"], step, sums)):
        f.store(s, f["y"], i * f.lane.bytes)
    return f


def emit_signs(name: str, isa: Isa) -> Function:
    """The same, over words of signs, as many in each round as bytes can count."""
    f = Function(name, {"y": POINTER, "n": I64}, isa)
    kind = vector(I32, isa.lanes)
    sums = [f.constant(i, kind) for i in range(_sums(isa))]

    def step(_: Value, tile: Tile) -> Tile:
        counter = Counter(f, tile)
        for turn in range(_turns(isa)):
            a = f.constant(3 + turn, kind)  # others each time: the same would be computed once
            for i in range(len(tile)):
                counter.add(i, differ(f, a, tile[i - 1]))
        return counter.totals()

    for i, s in enumerate(f.loop(0, f["n"], step, sums)):
        f.store(s, f["y"], i * f.lane.bytes)
    return f
