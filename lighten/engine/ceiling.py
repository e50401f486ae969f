"""What one core can do at most: multiply-adds between registers, nothing read and nothing written.

    s₀ s₁ … s₁₁ (of 16 registers; of 32: s₂₇)      a  b
    each sum waits for its own last product alone, and there are more of them than are in flight

reference: for _ in range(rounds): s = s · a + b, for every sum
"""

from __future__ import annotations

import ctypes
import functools
import time

import numpy as np

from lighten.emit import I64, POINTER, Function, Isa, Tile, Value, build

SPARE = 4  # registers that hold no sum
ROUNDS, BURSTS = 100_000, 10


@functools.cache
def gflops(isa: Isa) -> float:
    """Billions of additions and multiplications a second of one core; the best of some bursts."""
    call = build([emit("ceiling", isa)]).function("ceiling", ctypes.c_void_p, ctypes.c_int64)
    y = np.zeros(isa.registers * isa.lanes, np.float32)
    taken = []
    for _ in range(BURSTS):
        begun = time.perf_counter()
        call(y.ctypes.data, ROUNDS)
        taken.append(time.perf_counter() - begun)
    return 2e-9 * ROUNDS * (isa.registers - SPARE) * isa.lanes / min(taken)


def emit(name: str, isa: Isa) -> Function:
    """The kernel `name(y, rounds)`; the sums go to y."""
    f = Function(name, {"y": POINTER, "n": I64}, isa)
    a, b = (f.constant(number, f.lane) for number in (0.5, 1.0))
    sums = [f.constant(i, f.lane) for i in range(isa.registers - SPARE)]

    def step(_: Value, tile: Tile) -> Tile:
        return [f.fma(s, a, b) for s in tile]

    for i, s in enumerate(f.loop(0, f["n"], step, sums)):
        f.store(s, f["y"], i * f.lane.bytes)
    return f
