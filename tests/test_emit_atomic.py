"""What threads say to each other: atomic words, loops that wait, calls of a mere address."""

from __future__ import annotations

import ctypes

import numpy as np

from lighten.emit import I64, ISAS, POINTER, Function, Tile, Value, atomic, build, host
from lighten.emit.function import module
from lighten.engine import team
from lighten.kernels.meeting import meeting
from tests.together import with_threads

P, N = ctypes.c_void_p, ctypes.c_int64
EACH = 20_000


def run(f: Function, *words: int) -> list[int]:
    """The words after a call on them."""
    held = np.array(words, np.int64)
    build([f]).function(f.name, P)(held.ctypes.data)
    return list(map(int, held))


def function() -> Function:
    return Function("run", {"x": POINTER}, host())


def test_words_are_added_to_and_swapped_in_one_step() -> None:
    f = function()
    before = atomic.add(f, 5, f["x"])
    atomic.store(f, before, f["x"] + 8)
    taken = atomic.swap(f, 15, 99, f["x"])  # 15 is there
    refused = atomic.swap(f, 15, 77, f["x"])  # 99 is
    atomic.store(f, taken, f["x"] + 16)
    atomic.store(f, refused, f["x"] + 24)
    atomic.store(f, atomic.load(f, f["x"]) + 1, f["x"] + 32)
    assert run(f, 10, 0, 0, 0, 0) == [99, 10, 15, 99, 100]


def test_no_addition_is_lost() -> None:
    f = Function("run", {"x": POINTER, "n": I64}, host())
    f.loop(0, f["n"], lambda *_: atomic.add(f, 1, f["x"]) and None)
    call, held = build([f]).function("run", P, N), np.zeros(1, np.int64)
    with_threads(3, lambda part, _: call(held.ctypes.data, EACH))
    assert held[0] == 3 * EACH


def test_what_was_stored_before_a_word_is_seen_with_it() -> None:
    """One writes a number and then says so; the other waits for that and must find the number."""
    names = {"x": POINTER, "n": I64, "part": I64}
    f = Function("run", names, host())
    number, said, wrong = f["x"], f["x"] + 128, f["x"] + 256

    def write(i: Value, _: Tile) -> None:
        f.store(i, number)
        atomic.store(f, i * 2 + 1, said)
        awaited(i * 2 + 2)

    def read(i: Value, _: Tile) -> None:
        awaited(i * 2 + 1)
        same = f.equal(f.load(number, I64), i)
        atomic.when(f, same, lambda: None, lambda: atomic.add(f, 1, wrong))
        atomic.store(f, i * 2 + 2, said)

    def awaited(word: Value) -> None:
        def turn(_: Tile) -> tuple[Value, Tile]:
            atomic.pause(f)
            return f.equal(atomic.load(f, said), word), []

        atomic.until(f, turn)

    first = f.equal(f["part"], 0)
    atomic.when(f, first, lambda: f.loop(0, f["n"], write), lambda: f.loop(0, f["n"], read))
    call, held = build([f]).function("run", P, N, N), np.zeros(48, np.int64)
    with_threads(2, lambda part, _: call(held.ctypes.data, 100, part))
    assert held[0] == 99 and held[32] == 0


def test_one_way_or_the_other_or_none() -> None:
    f = function()
    x = f.load(f["x"], I64)
    small = f.less(x, 10)
    atomic.when(f, small, lambda: f.store(x + 1, f["x"] + 8), lambda: f.store(x, f["x"] + 16))
    atomic.when(f, f.equal(x, 3), lambda: f.store(x * 2, f["x"] + 24))
    assert run(f, 3, 0, 0, 0) == [3, 4, 0, 6]
    assert run(f, 12, 0, 0, 0) == [12, 0, 12, 0]


def test_turns_carry_tiles_and_are_done_at_least_once() -> None:
    """Powers of two until one exceeds x; and how many turns that took."""
    f = function()
    x, one = f.load(f["x"], I64), f.constant(1, I64)

    def turn(tile: Tile) -> tuple[Value, Tile]:
        power, turns = tile[0] * 2, tile[1] + 1
        return f.less(x, power), [power, turns]

    power, turns = atomic.until(f, turn, [one, one - 1])
    f.store(power, f["x"] + 8)
    f.store(turns, f["x"] + 16)
    assert run(f, 100, 0, 0) == [100, 128, 7]
    assert run(f, -5, 0, 0) == [-5, 2, 1]


def test_what_is_called_comes_along_and_addresses_can_be_called() -> None:
    inner = Function("inner", {"x": POINTER}, host())
    inner.store(inner.load(inner["x"], I64) + 1, inner["x"])
    f = function()
    f.run(inner, f["x"])
    f.run(inner, f["x"])
    assert module([f]).count("define void @inner") == 1
    assert run(f, 40) == [42]
    library = build([inner])
    g = Function("outer", {"x": POINTER, "called": POINTER}, host())
    atomic.call(g, g["called"], g["x"])
    held = np.array([7], np.int64)
    build([g]).function("outer", P, P)(held.ctypes.data, library.address("inner"))
    assert held[0] == 8


def test_every_instruction_set_has_a_way_to_wait() -> None:
    hints = {}
    for name, isa in ISAS.items():
        f = Function("run", {}, isa)
        atomic.pause(f)
        hints[name] = module([f])
    assert "call void @llvm.x86.sse2.pause()" in hints["avx2"]
    assert "call void @llvm.aarch64.hint(i32 1)" in hints["neon"]


def test_the_pool_is_assembled_for_other_machines() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machines = {"aarch64-linux-gnu": "neon", "arm64-apple-macosx": "neon"}
    for triple, name in {**machines, "x86_64-pc-windows-msvc": "x86-64"}.items():
        isa = ISAS[name]
        parsed = llvm.parse_assembly(module([team.work(isa), team.lead(isa), meeting(isa)]))
        target = llvm.Target.from_triple(triple)
        made = target.create_target_machine(cpu=isa.cpu, features=isa.features).emit_assembly(
            parsed
        )
        assert ("yield" if name == "neon" else "pause") in made


def test_the_least_of_what_is_known_is_known() -> None:
    f = function()
    assert (f.least(3, 5), f.most(3, 5)) == (3, 5)
    x = f.load(f["x"], I64)
    f.store(f.settled(f._index(f.least(x, 5))), f["x"] + 8)
    f.store(f._index(f.most(7, x)), f["x"] + 16)
    assert run(f, 4, 0, 0) == [4, 4, 7] and run(f, 9, 0, 0) == [9, 5, 9]
