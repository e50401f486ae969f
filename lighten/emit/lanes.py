"""What happens across the lanes of a register: parts of one, sums over one, tiles turned."""

from __future__ import annotations

from lighten.emit.function import Function
from lighten.emit.types import F32, I1, I64, POINTER, Type, vector
from lighten.emit.value import Tile, Value


def load_first(
    f: Function, pointer: Value, kind: Type, count: int, fill: Value | None = None
) -> Value:
    """The first `count` numbers at `pointer`, `fill` (else zeros) in the lanes beyond: no byte
    after them is read.
    """
    if count == kind.lanes:
        return f.load(pointer, kind)
    rest = (fill or f.zero(kind)).name
    name, mask = f"@llvm.masked.load.{kind.suffix}.p0", vector(I1, kind.lanes).text
    f.declarations.add(f"declare {kind.text} {name}(ptr, i32, {mask}, {kind.text})")
    align = f"i32 {kind.element.bytes}"
    given = f"ptr {pointer.name}, {align}, {mask} {_first(kind.lanes, count)}, {kind.text} {rest}"
    return f.instruction(f"call {kind.text} {name}({given})", kind)


def store_first(f: Function, value: Value, pointer: Value, count: int) -> None:
    """Store the first `count` lanes; no byte after them is written."""
    kind = value.type
    if count == kind.lanes:
        f.store(value, pointer)
        return
    name, mask = f"@llvm.masked.store.{kind.suffix}.p0", vector(I1, kind.lanes).text
    f.declarations.add(f"declare void {name}({kind.text}, ptr, i32, {mask})")
    given = f"{kind.text} {value.name}, ptr {pointer.name}, i32 {kind.element.bytes}"
    f.statement(f"call void {name}({given}, {mask} {_first(kind.lanes, count)})")


def load_apart(f: Function, pointer: Value, what: tuple[Type, int], step: int) -> Value:
    """The first `count` lanes of a type from places `step` bytes apart, zeros beyond: (type, count)
    is `what`.
    """
    kind, count = what
    offsets = ", ".join(f"i64 {step * lane}" for lane in range(kind.lanes))
    pointers = f"<{kind.lanes} x ptr>"
    text = f"getelementptr i8, ptr {pointer.name}, <{kind.lanes} x i64> <{offsets}>"
    places = f.instruction(text, vector(POINTER, kind.lanes)).name
    name = f"@llvm.masked.gather.{kind.suffix}.v{kind.lanes}p0"
    mask = vector(I1, kind.lanes).text
    f.declarations.add(f"declare {kind.text} {name}({pointers}, i32, {mask}, {kind.text})")
    given = f"{pointers} {places}, i32 4, {mask} {_first(kind.lanes, count)}"
    return f.instruction(f"call {kind.text} {name}({given}, {kind.text} {f.zero(kind).name})", kind)


def _first(lanes: int, count: int) -> str:
    return f"<{', '.join(f'i1 {str(lane < count).lower()}' for lane in range(lanes))}>"


def total(f: Function, value: Value) -> Value:
    """The sum of all lanes, in the order that the machine likes best."""
    return _reduced(f, value, "fadd", f"{F32.text} -0.0, ")


def largest(f: Function, value: Value) -> Value:
    """The largest of all lanes; NaN is passed over."""
    return _reduced(f, value, "fmax", "")


def _reduced(f: Function, value: Value, how: str, start: str) -> Value:
    kind = value.type
    name = f"@llvm.vector.reduce.{how}.{kind.suffix}"
    before = f"{F32.text}, " if start else ""
    f.declarations.add(f"declare {F32.text} {name}({before}{kind.text})")
    text = f"call reassoc {F32.text} {name}({start}{kind.text} {value.name})"
    return f.instruction(text, F32)


def reciprocal(f: Function, value: Value) -> Value:
    """1 / x to a few last bits, of numbers that are neither 0 nor endless: an estimate and a step
    of Newton's where the machine has one.
    """
    kind, one = value.type, f.constant(1.0, value.type).name
    return f.instruction(f"fdiv arcp {kind.text} {one}, {value.name}", kind)


def compare(f: Function, how: str, left: Value, right: Value) -> Value:
    """Lane by lane: `how` is LLVM's name of the comparison, "oeq", "olt", "une"."""
    kind = left.type
    text = f"fcmp {how} {kind.text} {left.name}, {right.name}"
    return f.instruction(text, vector(I1, kind.lanes))


def whole(f: Function, number: Value) -> Value:
    """A float as an index, cut towards zero."""
    return f.instruction(f"fptosi float {number.name} to i64", I64)


def turned(f: Function, tile: Tile) -> Tile:
    """As many registers as each has lanes, transposed: lane j of register i ↔ lane i of j.

    Each round exchanges halves, quarters, … of pairs of registers (Eklundh 1972).
    """
    lanes, tile = len(tile), list(tile)
    half = lanes // 2
    while half:
        low = [i for i in range(lanes) if not i & half]
        for i in low:
            a, b = tile[i], tile[i + half]
            first = [j if not j & half else lanes + j - half for j in range(lanes)]
            second = [j + half if not j & half else lanes + j for j in range(lanes)]
            tile[i], tile[i + half] = _shuffled(f, a, b, first), _shuffled(f, a, b, second)
        half //= 2
    return tile


def _shuffled(f: Function, a: Value, b: Value, order: list[int]) -> Value:
    kind = a.type
    picked = ", ".join(f"i32 {lane}" for lane in order)
    pair = f"{kind.text} {a.name}, {kind.text} {b.name}"
    return f.instruction(f"shufflevector {pair}, <{len(order)} x i32> <{picked}>", kind)
