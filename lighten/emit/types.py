"""What a value in emitted code is."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Type:
    """A machine type: `kind` is "float", "int" or "pointer", `bits` those of one lane.

    >>> vector(F32, 16).text
    '<16 x float>'
    >>> vector(F32, 16).bytes
    64
    """

    kind: str
    bits: int
    lanes: int = 1

    @functools.cached_property
    def element(self) -> Type:
        """The type of one lane."""
        return replace(self, lanes=1) if self.lanes > 1 else self

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return self.lanes * self.bits // 8

    @functools.cached_property
    def text(self) -> str:
        """Its name in LLVM IR."""
        if self.lanes > 1:
            return f"<{self.lanes} x {self.element.text}>"
        if self.kind == "float":
            return {16: "bfloat", 32: "float", 64: "double"}[self.bits]
        return "ptr" if self.kind == "pointer" else f"i{self.bits}"

    @property
    def suffix(self) -> str:
        """Its name in that of an overloaded intrinsic: `v16f32`."""
        lane = f"{'f' if self.kind == 'float' else 'i'}{self.bits}"
        return f"v{self.lanes}{lane}" if self.lanes > 1 else lane


F32 = Type("float", 32)
I1 = Type("int", 1)
I8 = Type("int", 8)
I32 = Type("int", 32)
I64 = Type("int", 64)
POINTER = Type("pointer", 64)


@functools.cache
def vector(element: Type, lanes: int) -> Type:
    """`lanes` of `element` side by side."""
    return replace(element, lanes=lanes)
