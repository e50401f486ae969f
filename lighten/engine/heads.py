"""Attention, as programs spell it in several ops, found and made one: `attention`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lighten.program.ir import Op, Program


def with_attention(program: Program) -> Program:
    """softmax(scale · q · kᵀ + mask) · v as one op with inputs q, kᵀ, v and, where there is one,
    the mask, and the attribute `scale`.
    """
    search = _Search(program)
    merged: dict[str, Op] = {}
    gone: set[str] = set()
    for op in program.ops:
        found = search.ending(op) if op.kind == "matmul" else None
        if found is not None:
            merged[op.name], inside = found
            gone |= inside
    ops = [merged.get(op.name, op) for op in program.ops if op.name not in gone]
    return program.changed(ops=tuple(ops))


class _Search:
    """Walks backwards from a product with values to the scores, through what nothing else reads."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.readers, self.makers = program.consumers(), program.producers()

    def maker(self, name: str) -> Op | None:
        """The op that makes a value, if that has one reader and is no output."""
        alone = len(self.readers.get(name, ())) == 1 and name not in self.program.outputs
        return self.makers.get(name) if alone else None

    def ending(self, last: Op) -> tuple[Op, set[str]] | None:
        """The attention that ends in this product, and the names of what goes into it."""
        weights = self.maker(last.inputs[0])
        values = self.program.values
        if weights is None or weights.kind != "softmax" or last.inputs[1] not in values:
            return None
        shape = values[weights.output].shape
        if weights["axis"] != len(shape) - 1 or len(shape) < 3:
            return None
        scores = self.scores(weights.inputs[0], _Scores())
        if scores is None or scores.product is None:
            return None
        q, k = scores.product.inputs
        batches = {values[n].shape[:-2] for n in (q, k, last.inputs[1]) if n in values}
        if len(batches) > 1 or q not in values or k not in values:
            return None
        inputs = (q, k, last.inputs[1], *([scores.mask] if scores.mask else []))
        made = Op("attention", last.name, inputs, last.outputs, {"scale": scores.scale})
        return made, {weights.name, *scores.names}

    def scores(self, name: str, held: _Scores) -> _Scores | None:
        """What is below a value: a product, scaled, then masked."""
        op = self.maker(name)
        if op is None:
            return None
        held = replace(held, names=(*held.names, op.name))
        if op.kind == "matmul":
            return replace(held, product=op)
        if op.kind != "binary" or op.get("activation", ""):
            return None
        for flowing, other in (op.inputs, op.inputs[::-1]):
            number = self.number(other)
            scaling = op["function"] == "mul" or (op["function"] == "div" and other == op.inputs[1])
            found = None
            if scaling and number is not None:
                factor = number if op["function"] == "mul" else 1 / number
                found = self.scores(flowing, replace(held, scale=held.scale * factor))
            elif op["function"] == "add" and not held.mask and held.scale == 1.0:
                found = self.scores(flowing, replace(held, mask=other))
            if found is not None:
                return found
        return None

    def number(self, name: str) -> float | None:
        """A stored array that is one number other than 0."""
        if name not in self.program.arrays:
            return None
        array = self.program.arrays[name].decode()
        return float(array.reshape(-1)[0]) or None if array.size == 1 else None


@dataclass(frozen=True)
class _Scores:
    """What was met on the way down."""

    names: tuple[str, ...] = ()
    scale: float = 1.0
    mask: str = ""
    product: Op | None = None
