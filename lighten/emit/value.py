"""A value in emitted code, with the operators of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lighten.emit.types import Type

if TYPE_CHECKING:
    from lighten.emit.function import Function

Tile = list["Value"]  # values that stay in registers
Body = Callable[["Value", Tile], "Tile | None"]


@dataclass(frozen=True, eq=False)
class Value:
    """Something computed: its name in the text, its type, and the function it belongs to.

    Pointers move by bytes. An int beside an index is a constant; floats are made by `constant`.
    """

    name: str
    type: Type
    function: Function

    def __add__(self, other: Index) -> Value:
        return self.function.arithmetic("+", self, other)

    def __radd__(self, other: int) -> Value:
        return self + other

    def __sub__(self, other: Index) -> Value:
        return self.function.arithmetic("-", self, other)

    def __mul__(self, other: Index) -> Value:
        return self.function.arithmetic("*", self, other)

    def __rmul__(self, other: int) -> Value:
        return self * other

    def __rsub__(self, other: int) -> Value:
        return self.function.constant(other, self.type) - self

    def __truediv__(self, other: Value) -> Value:
        return self.function.arithmetic("/", self, other)

    def __floordiv__(self, other: Index) -> Value:
        return self.function.arithmetic("//", self, other)


Index = Value | int
