"""A program as text: one op per line."""

from __future__ import annotations

from typing import Any

from lighten.formats.integer import Float32
from lighten.formats.signs import Format
from lighten.program.ir import Op, Program


def show(program: Program) -> str:
    """One line per op: what it makes, from what, in which format.

    y: 8×16×16 u8 = conv(x, w: 8×3×3×3 i8) strides=(2, 2) …
    """
    lines = [f"{_declared(program, name)} = input" for name in program.inputs]
    lines += [_line(program, op) for op in program.ops]
    return "\n".join([*lines, f"return {', '.join(program.outputs)}"])


def _line(program: Program, op: Op) -> str:
    given = ", ".join(_declared(program, n) if n in program.arrays else n for n in op.inputs if n)
    said = "".join(
        f" {name}={value}" for name, value in op.attributes.items() if _telling(name, value)
    )
    label = "" if op.name == op.output else f"  # {op.name}"
    return f"{_declared(program, op.output)} = {op.kind}({given}){said}{label}"


def _telling(name: str, value: Any) -> bool:
    """Whether an attribute says more than its default."""
    if name in ("strides", "dilations"):
        return bool(set(value) != {1})
    if name == "pads":
        return any(value)
    return value not in ("", False) and (name, value) != ("groups", 1)


def _declared(program: Program, name: str) -> str:
    found = program.values.get(name) or program.arrays[name]
    shape = "×".join(map(str, found.shape)) or "1"
    return f"{name}: {shape}{_format(found.format)}"


def _format(format: Format) -> str:
    if isinstance(format, Float32):
        return ""
    return f" {format.name}"
