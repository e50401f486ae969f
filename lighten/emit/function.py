"""One function being written: values with operators, loads and stores, loops that carry tiles.

    f = Function("relu", {"x": POINTER, "y": POINTER, "count": I64}, isa)
    lane = vector(F32, isa.lanes)

    def step(i: Value, _: Tile) -> None:
        x = f.load(f["x"] + i * lane.bytes, lane)
        f.store(f.call("maximum", x, f.zero(lane)), f["y"] + i * lane.bytes)

    f.loop(0, f["count"], step)

Values are in SSA form and each is written once; a Python int stands for a constant index and is
folded, so that an address known while writing costs nothing. `text()` is the function in LLVM IR,
the same for the same calls.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from lighten.emit.instructions import INSTRUCTIONS
from lighten.emit.isa import Isa
from lighten.emit.types import F32, I1, I32, I64, POINTER, Type, vector
from lighten.emit.value import Body, Index, Tile, Value

FLOATING = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
WHOLE = {"+": "add nsw", "-": "sub nsw", "*": "mul nsw", "//": "sdiv"}


class Function:
    """The text of one function, growing. Parameters are read by name: `f["x"]`."""

    def __init__(self, name: str, parameters: Mapping[str, Type], isa: Isa) -> None:
        self.name, self.isa = name, isa
        self.parameters = {p: Value(f"%{p}", kind, self) for p, kind in parameters.items()}
        self.declarations: set[str] = set()
        self.callees: dict[str, Function] = {}
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry"

    def __getitem__(self, parameter: str) -> Value:
        return self.parameters[parameter]

    @property
    def lane(self) -> Type:
        """A register full of float32."""
        return vector(F32, self.isa.lanes)

    # ── numbers ───────────────────────────────────────────────────────────────────────────

    def constant(self, number: float, kind: Type) -> Value:
        """A number, in every lane; exactly the float32 nearest to it where floats are meant."""
        if kind.kind == "float":
            single = struct.unpack("<f", struct.pack("<f", number))[0]
            literal = f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"
        else:
            literal = str(int(number))
        spread = f"splat ({kind.element.text} {literal})" if kind.lanes > 1 else literal
        return Value(spread, kind, self)

    def zero(self, kind: Type) -> Value:
        """Zero in every lane."""
        return self.constant(0.0, kind)

    def arithmetic(self, sign: str, left: Value, right: Index) -> Value:
        """`left sign right`, both of one type; what an int leaves as it is costs nothing."""
        if left.type.kind == "pointer":
            return self._moved(left, right if sign == "+" else -1 * right)
        if isinstance(right, int):
            if (sign in ("+", "-") and right == 0) or (sign in ("*", "//") and right == 1):
                return left
            right = self.constant(right, left.type)
        table = FLOATING if left.type.kind == "float" else WHOLE
        return self._value(f"{table[sign]} {left.type.text} {left.name}, {right.name}", left.type)

    def _moved(self, pointer: Value, by: Index) -> Value:
        if isinstance(by, int):
            if by == 0:
                return pointer
            by = self.constant(by, I64)
        return self._value(f"getelementptr i8, ptr {pointer.name}, i64 {by.name}", POINTER)

    def call(self, instruction: str, *operands: Value) -> Value:
        """A row of `INSTRUCTIONS`; `fma` is two steps where the machine has not the one."""
        kind, row = operands[0].type, INSTRUCTIONS[instruction]
        if instruction == "fma" and not self.isa.fused:
            return operands[0] * operands[1] + operands[2]
        name = f"@{row.intrinsic}.{kind.suffix}"
        given = ", ".join(f"{kind.text} {value.name}" for value in operands)
        kinds = ", ".join(kind.text for _ in operands)
        self.declarations.add(f"declare {kind.text} {name}({kinds})")
        return self._value(f"call {kind.text} {name}({given})", kind)

    def at_least(self, value: Value, bound: float) -> Value:
        """The larger of a float and a number; NaN stays NaN. One instruction, unlike `maximum`."""
        return self._bounded("olt", value, bound)

    def at_most(self, value: Value, bound: float) -> Value:
        """The smaller of a float and a number; NaN stays NaN."""
        return self._bounded("ogt", value, bound)

    def _bounded(self, beyond: str, value: Value, bound: float) -> Value:
        kind, limit = value.type, self.constant(bound, value.type)
        outside = vector(I1, kind.lanes)
        text = f"fcmp {beyond} {kind.text} {value.name}, {limit.name}"
        return self.select(self._value(text, outside), limit, value)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a · b + c."""
        return self.call("fma", a, b, c)

    def power_of_two(self, exponent: Value) -> Value:
        """2^k for floats k that hold whole numbers from −126 to 127: k goes into the exponent."""
        kind, whole = exponent.type, vector(I32, exponent.type.lanes)
        number = self._value(f"fptosi {kind.text} {exponent.name} to {whole.text}", whole)
        biased = number + 127
        shift = self.constant(23, whole).name
        moved = self._value(f"shl {whole.text} {biased.name}, {shift}", whole)
        return self._value(f"bitcast {whole.text} {moved.name} to {kind.text}", kind)

    def less(self, left: Value, right: Index) -> Value:
        """Whether left < right, of indices."""
        right = self.constant(right, left.type) if isinstance(right, int) else right
        return self._value(f"icmp slt {left.type.text} {left.name}, {right.name}", I1)

    def equal(self, left: Value, right: Index) -> Value:
        """Whether left = right, of indices."""
        right = self.constant(right, left.type) if isinstance(right, int) else right
        return self._value(f"icmp eq {left.type.text} {left.name}, {right.name}", I1)

    def least(self, left: Index, right: Index) -> Index:
        """The smaller of two indices."""
        if isinstance(left, int) and isinstance(right, int):
            return min(left, right)
        a, b = self._index(left), self._index(right)
        return self.select(self.less(a, b), a, b)

    def most(self, left: Index, right: Index) -> Index:
        """The larger of two indices."""
        if isinstance(left, int) and isinstance(right, int):
            return max(left, right)
        a, b = self._index(left), self._index(right)
        return self.select(self.less(a, b), b, a)

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two values."""
        kind = yes.type.text
        text = f"select {condition.type.text} {condition.name}, {kind} {yes.name}, {kind} {no.name}"
        return self._value(text, yes.type)

    def settled(self, value: Value) -> Value:
        """The same value, of whose making LLVM knows nothing: from a settled address all loads of a
        loop are offsets, where else it may keep an address in a register for each.
        """
        return self._value(f"freeze {value.type.text} {value.name}", value.type)

    def real(self, index: Index) -> Value:
        """An index as a float32."""
        if isinstance(index, int):
            return self.constant(index, F32)
        return self._value(f"sitofp i64 {index.name} to float", F32)

    # ── memory ────────────────────────────────────────────────────────────────────────────

    def load(self, pointer: Value, kind: Type, offset: int = 0) -> Value:
        """What lies at `pointer`, `offset` bytes on; aligned to its element only."""
        place = pointer + offset
        align = kind.element.bytes
        return self._value(f"load {kind.text}, ptr {place.name}, align {align}", kind)

    def store(self, value: Value, pointer: Value, offset: int = 0) -> None:
        """Put a value at `pointer`, `offset` bytes on."""
        place = pointer + offset
        align = value.type.element.bytes
        self._line(f"store {value.type.text} {value.name}, ptr {place.name}, align {align}")

    def prefetch(self, pointer: Value) -> None:
        """Ask for the line at `pointer` to come into the second cache; any address will do."""
        self.declarations.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self._line(f"call void @llvm.prefetch.p0(ptr {pointer.name}, i32 0, i32 2, i32 1)")

    def spread(self, value: Value, lanes: int) -> Value:
        """One number in every lane."""
        kind, one = vector(value.type, lanes), value.type.text
        first = self._value(
            f"insertelement {kind.text} poison, {one} {value.name}, i32 0", kind
        ).name
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self._value(f"shufflevector {kind.text} {first}, {kind.text} poison, {zeros}", kind)

    def permute(self, value: Value, lanes: Sequence[int], other: Value | None = None) -> Value:
        """The lanes of a register in another order, or some of them, those of `other` counted after
        its own; a single one is a number.
        """
        kind, wanted = value.type, ", ".join(f"i32 {lane}" for lane in lanes)
        if len(lanes) == 1:
            one = f"extractelement {kind.text} {value.name}, i32 {lanes[0]}"
            return self._value(one, kind.element)
        mask = f"<{len(lanes)} x i32> <{wanted}>"
        made = vector(kind.element, len(lanes))
        beside = "poison" if other is None else other.name
        return self._value(
            f"shufflevector {kind.text} {value.name}, {kind.text} {beside}, {mask}", made
        )

    def load_spread(self, pointer: Value, kind: Type, offset: int = 0) -> Value:
        """The one number that lies there, in every lane of `kind`."""
        return self.spread(self.load(pointer, kind.element, offset), kind.lanes)

    # ── control ───────────────────────────────────────────────────────────────────────────

    def loop(
        self, start: Index, stop: Index, body: Body, carried: Sequence[Value] = (), step: int = 1
    ) -> Tile:
        """Run `body(i, tile)` for i from `start` below `stop`; the tile it returns goes into the
        next round, and the last one is the result. A loop that is known to run once is no loop;
        one whose bounds are not known is skipped where it has no round.
        """
        tile = list(carried)
        if isinstance(start, int) and isinstance(stop, int):
            if start >= stop:
                return tile
            if start + step >= stop:
                return list(body(self.constant(start, I64), tile) or [])
        return self._loop(self._index(start), self._index(stop), body, tile, step)

    def _loop(self, start: Value, stop: Value, body: Body, tile: Tile, step: int) -> Tile:
        self._count += 1
        number, before = self._count, self._block
        head, inside, after = (f"{part}{number}" for part in ("head", "body", "after"))
        self._line(f"br label %{head}")
        self._begin(head)
        hole = len(self._lines)
        index = Value(f"%i{number}", I64, self)
        rounds = [Value(f"%c{number}_{n}", value.type, self) for n, value in enumerate(tile)]
        self._line(f"br i1 {self.less(index, stop).name}, label %{inside}, label %{after}")
        self._begin(inside)
        results = list(body(index, list(rounds)) or [])
        following = index + step
        self._line(f"br label %{head}, !llvm.loop !0")
        phis = [self._phi(index, start, before, following, self._block)]
        phis += [
            self._phi(value, first, before, last, self._block)
            for value, first, last in zip(rounds, tile, results, strict=True)
        ]
        self._lines[hole:hole] = phis
        self._begin(after)
        return rounds

    def _phi(self, value: Value, first: Value, before: str, last: Value, end: str) -> str:
        pairs = f"[{first.name}, %{before}], [{last.name}, %{end}]"
        return f"  {value.name} = phi {value.type.text} {pairs}"

    def run(self, callee: Function, *given: Value) -> None:
        """Call another function; it comes into the same module."""
        self.callees[callee.name] = callee
        listed = ", ".join(f"{value.type.text} {value.name}" for value in given)
        self._line(f"call void @{callee.name}({listed})")

    # ── text ──────────────────────────────────────────────────────────────────────────────

    def text(self) -> str:
        """The function in LLVM IR."""
        listed = ", ".join(f"{v.type.text} {v.name}" for v in self.parameters.values())
        body = "\n".join(self._lines)
        return f"define void @{self.name}({listed}) #0 {{\nentry:\n{body}\n  ret void\n}}\n"

    def _index(self, value: Index) -> Value:
        return self.constant(value, I64) if isinstance(value, int) else value

    def instruction(self, text: str, kind: Type) -> Value:
        """One line of LLVM IR that makes a value."""
        return self._value(text, kind)

    def statement(self, text: str) -> None:
        """One line of LLVM IR that makes none."""
        self._line(text)

    def _value(self, text: str, kind: Type) -> Value:
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        return Value(name, kind, self)

    def _line(self, text: str) -> None:
        self._lines.append(f"  {text}")

    def _begin(self, block: str) -> None:
        self._lines.append(f"{block}:")
        self._block = block


def module(functions: Iterable[Function]) -> str:
    """The functions, and those that they call, as one LLVM module for their instruction set."""
    listed = _with_callees(functions)
    isa = listed[0].isa
    declared = sorted(set().union(*(f.declarations for f in listed)))
    attributes = (
        f'attributes #0 = {{ nounwind "target-cpu"="{isa.cpu}" "target-features"="{isa.features}"'
        f' "prefer-vector-width"="{32 * isa.lanes}" "frame-pointer"="none" "no-builtins" }}'
    )
    unrolling = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}'
    return "\n".join([*declared, *(f.text() for f in listed), attributes, unrolling, ""])


def _with_callees(functions: Iterable[Function]) -> list[Function]:
    """Each function once, by name, whoever calls it."""
    found: dict[str, Function] = {}
    waiting = list(functions)
    while waiting:
        f = waiting.pop(0)
        if f.name not in found:
            found[f.name] = f
            waiting += f.callees.values()
    return list(found.values())
