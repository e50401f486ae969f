"""The op kinds that state sizes, or that stored arrays flow into: what they are at other shapes.

Each gives the op as it then is, or refuses it. Kinds that are not here state nothing about sizes:
what they make follows from their inputs, as it does in the network the program came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from lighten.program.ir import Op
from lighten.program.resized_axes import Resizing, Sized, plainly, regrouped
from lighten.program.shapes import demand
from lighten.program.spec import operands

UNKNOWN = "whether that was measured on the size of the example cannot be seen"
FEW = 3  # of so many, the first and the last are no halves
CLOSE = 1e-6  # relative; of a stored number that is a count


def _with(op: Op, **attributes: Any) -> Op:
    return replace(op, attributes={**op.attributes, **attributes})


def _differs(x: Sized, axis: int) -> bool:
    return x.was[axis] != x.now[axis]


# ── stored arrays among what flows ────────────────────────────────────────────────────────────


def broadcast(whole: Resizing, op: Op) -> Op:
    """Operands meet as they did: nothing is repeated now that was not."""
    _meet(whole, op, [whole.of(name) for name in operands(op)])
    return op


def binary(whole: Resizing, op: Op) -> Op:
    """As `broadcast`; and a sum is not divided by how many there were in the program."""
    for name, other in zip(op.inputs[:2], op.inputs[1::-1], strict=True):
        if name in whole.known and other in whole.program.arrays:
            _check_count(whole, op, name, other)
    return broadcast(whole, op)


def matmul(whole: Resizing, op: Op) -> Op:
    """The matrices' leading axes as in `broadcast`."""
    given = [whole.of(name) for name in op.inputs]
    _meet(whole, op, [replace(x, axes=x.axes[:-2]) for x in given])
    return op


def _meet(whole: Resizing, op: Op, given: Sequence[Sized]) -> None:
    rank = max(len(x.axes) for x in given)
    for end in range(1, rank + 1):
        met = [(x.was[-end], x.now[-end], x.stored) for x in given if len(x.axes) >= end]
        before, now = max(one[0] for one in met), max(one[1] for one in met)
        if all(a == b for a, b, _ in met):
            continue
        shrunk = now > 1 and any(a > b == 1 for a, b, _ in met)
        demand(not shrunk, op, f"an axis that had {before} is 1 now, and would be repeated")
        grown = before == 1 and any(stored for *_, stored in met)
        demand(not grown, op, f"it reads a stored array of 1 along an axis that is {now} now")


def _check_count(whole: Resizing, op: Op, name: str, other: str) -> None:
    maker, stored = whole.makers.get(name), whole.program.arrays[other].decode()
    if maker is None or maker.kind != "reduce" or maker["function"] != "sum" or stored.size != 1:
        return
    x, number = whole.of(maker.inputs[0]), float(stored.reshape(-1)[0])
    count = prod(x.was[axis] for axis in maker["axes"])
    counts = any(abs(number - one) <= CLOSE * one for one in (count, 1 / count))
    changed = any(_differs(x, axis) for axis in maker["axes"])
    demand(not (counts and changed), op, f"it divides a sum of {count}, which are others now")


def concat(whole: Resizing, op: Op) -> Op:
    """Stored arrays longer than 1 may have filled the axis up to some length; so may copies."""
    given, axis = [whole.of(name) for name in op.inputs], op["axis"]
    count = len(given)
    copies = count > 1 and len(set(op.inputs)) == 1 and count in whole.extents
    demand(not copies, op, f"it repeats {count} times: {UNKNOWN}")
    fills = any(x.stored and x.was[axis] > 1 for x in given)
    changed = any(_differs(x, axis) for x in given)
    demand(not (fills and changed), op, f"it appends a stored array: {UNKNOWN}")
    return op


def gather(whole: Resizing, op: Op) -> Op:
    """Stored indices were made for one length of the axis."""
    table, indices = (whole.of(name) for name in op.inputs)
    lists = indices.stored and _differs(table, op["axis"])
    demand(not lists, op, f"it takes listed places of axis {op['axis']}: {UNKNOWN}")
    return op


# ── numbers that were measured ────────────────────────────────────────────────────────────────


def sized_axes(op: Op, x: Sized) -> Sequence[int]:
    """The axes whose extents an op's numbers hold for, where they were measured."""
    everything = range(len(x.axes))
    if op.kind == "pad":
        pads = op["pads"]
        padded = [axis for axis in everything if pads[axis] or pads[len(x.axes) + axis]]
        return padded if padded == [0] else everything  # channels are padded on purpose
    if op.kind == "slice":
        return (op["axis"],)
    return tuple(op["axes"]) if op.kind == "reduce" else everything


# ── stated numbers ────────────────────────────────────────────────────────────────────────────


def slice_(whole: Resizing, op: Op) -> Op:
    """All of an axis stays all, its first or last stays that; so do bounds from the end."""
    x, axis = whole.of(op.inputs[0]), op["axis"]
    before, now = x.was[axis], x.now[axis]
    start, stop = op["start"], op["stop"]
    if before == now or (start <= 0 and stop < 0):
        return op
    if start <= 0 and stop >= before:
        return _with(op, stop=now)
    alone = before >= FEW and not any(
        other.kind == "slice" and other["axis"] == axis and _bounds(other) != _bounds(op)
        for other in whole.readers[op.inputs[0]]
    )
    if alone and (start, stop) == (0, 1):
        return op
    if alone and (start, stop) == (before - 1, before):
        return _with(op, start=now - 1, stop=now)
    what = f"it takes {start}:{stop} of the {before} along axis {axis}"
    demand(False, op, f"{what}: {UNKNOWN}")
    return op


def _bounds(op: Op) -> tuple[int, int, int]:
    return op["start"], op["stop"], op["step"]


def reshape(whole: Resizing, op: Op) -> Op:
    """The same extents, split and joined as they were."""
    x, target = whole.of(op.inputs[0]), tuple(op["shape"])
    if not x.changed:
        whole.parts[op.output] = plainly(target, target)
        return op
    found = regrouped(x.axes, target) if x.was != target else x.axes
    if found is None:
        demand(False, op, f"{x.was} became {target}; what becomes of {x.now} is not certain")
        return op
    whole.parts[op.output] = found
    return _with(op, shape=Sized(found).now)


def expand(whole: Resizing, op: Op) -> Op:
    """Axes that are not repeated follow; the others stay, unless they have an extent that did not.

    A new axis in front is one that is repeated.
    """
    x, target = whole.of(op.inputs[0]), tuple(op["shape"])
    lead = len(target) - len(x.axes)
    sizes = []
    for size, was, now in zip(target, (1,) * lead + x.was, (1,) * lead + x.now, strict=True):
        repeated = size != was
        measured = repeated and (now != 1 or size in whole.extents)
        demand(not measured, op, f"it repeats to {size}: {UNKNOWN}")
        sizes.append(size if repeated else now)
    return _with(op, shape=tuple(sizes))


def resize(whole: Resizing, op: Op) -> Op:
    """A size that is a whole multiple, or fraction, of the input's is that of it now as well, if
    all values that had this size have that one: torch's `scale_factor=2` and the size of a value
    twice as large agree there.
    """
    x = whole.of(op.inputs[0])
    sizes = []
    for size, was, now in zip(op["size"], x.was[1:], x.now[1:], strict=True):
        up, down = was > 1 and size % was == 0, size > 1 and was % size == 0
        fixed = was == now and (was > 1 or size not in whole.extents)
        exact = fixed or up or (down and now * size % was == 0)
        demand(exact, op, f"{was} became {size}; what becomes of {now} is not certain")
        sizes.append(size if was == now else now * size // was)
    for other in whole.known.values():
        follows = other.was[1:] != tuple(op["size"]) or other.now[1:] == tuple(sizes)
        demand(follows, op, f"its size {tuple(op['size'])} would be {tuple(sizes)} or another")
    return _with(op, size=tuple(sizes))


RULES: Mapping[str, Callable[[Resizing, Op], Op]] = {
    "binary": binary,
    "where": broadcast,
    "matmul": matmul,
    "concat": concat,
    "gather": gather,
    "slice": slice_,
    "reshape": reshape,
    "expand": expand,
    "resize": resize,
}
