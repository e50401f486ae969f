"""Number by number over tensors of any rank and any steps: arithmetic, choice, repetition, copies.

reference, one sample:
    for every index:
        y[index] = activation(function(a[index], b[index], …))
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lighten.emit import F32, POINTER, Function, Index, Isa, Tile, Type, Value, lanes
from lighten.kernels import share
from lighten.kernels.functions import BINARY, FUNCTIONS, PARAMETRIC, TERNARY
from lighten.kernels.strided import Strided, joined
from lighten.kernels.walk import Pointers, along, walk

NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Elementwise:
    """`function` is a row of `FUNCTIONS`, `BINARY` or `TERNARY`, by the number of operands; all
    have the target's shape. `parameters` go to a function that has some.
    """

    operands: tuple[Strided, ...]
    target: Strided
    function: str = ""
    activation: str = ""
    parameters: tuple[float, ...] = ()


def emit(name: str, op: Elementwise, isa: Isa) -> Function:
    """The kernel `name(a, …, y, n)`, as many sources as there are operands."""
    names = NAMES[: len(op.operands)]
    f = Function(name, {**dict.fromkeys((*names, "y"), POINTER), **share.COUNT}, isa)
    views = joined((*op.operands, op.target))
    if not views[0].shape:
        views = tuple(replace(view, shape=(1,), strides=(1,)) for view in views)
    size, steps = views[0].shape[-1], [view.strides[-1] for view in views]
    wide = steps[-1] == 1 and size > 1

    def row(at: Pointers) -> None:
        def some(i: Index, count: int, _: Tile) -> Tile:
            places = [p + i * (4 * step) for p, step in zip(at, steps, strict=True)]
            kind = f.lane if wide else F32
            given = [
                _read(f, p, s, (kind, count)) for p, s in zip(places, steps[:-1], strict=False)
            ]
            value = FUNCTIONS[op.activation](f, _apply(f, op, given))
            lanes.store_first(f, value, places[-1], count)
            return []

        if wide:
            along(f, size, some, [])
        else:
            f.loop(0, size, lambda i, _: some(i, 1, []))

    walk(f, [f[x] for x in (*names, "y")], views, row, inner=1)
    return f


def _read(f: Function, place: Value, step: int, what: tuple[Type, int]) -> Value:
    """`count` numbers of one operand, `step` apart, as the lanes of a type."""
    kind, count = what
    if kind.lanes == 1:
        return f.load(place, kind)
    if step == 0:
        return f.load_spread(place, kind)
    if step == 1:
        return lanes.load_first(f, place, kind, count)
    return lanes.load_apart(f, place, (kind, count), 4 * step)


def _apply(f: Function, op: Elementwise, given: list[Value]) -> Value:
    if op.function in PARAMETRIC:
        return PARAMETRIC[op.function][1](f, *given, *op.parameters)
    if len(given) == 1:
        return FUNCTIONS[op.function](f, *given)
    table = BINARY if len(given) == 2 else TERNARY
    return table[op.function](f, *given)
