"""What ops over codes become: layers, sums, means, casts. Moves are those of any image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from lighten.engine.choose import Choice, settled
from lighten.engine.codes import MOVES
from lighten.engine.images import plain
from lighten.engine.writer import Writer, blocked_name, plain_name
from lighten.engine.writers import WRITERS
from lighten.kernels import combine, encode, linear_codes, pool, requantize
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv, Window, window
from lighten.program import integers
from lighten.program.integers import Ends, coded
from lighten.program.ir import Op


def _conv(w: Writer, op: Op) -> bool:
    """A convolution in blocks, or a linear layer of one row."""
    choice = w.plan.chosen[op.name]
    made, residual = integers.layer(op, w.plan.program), op.get("residual")
    read, source = w.read(op.inputs[0])
    added = w.blocked(residual) if residual else None
    conv = settled(choice.conv, source, w.make(op.output), added)
    call(w, op, (replace(conv, activation=made.activation), choice), made, read)
    return True


def call(w: Writer, op: Op, chosen: tuple[Conv, Choice], made: integers.Layer, x: str) -> None:
    """Call a convolution's kernel on its weights and on how its sums end."""
    (conv, choice), isa, residual = chosen, w.plan.isa, op.get("residual")
    weight = made.weight.reshape(*made.weight.shape[:2], *conv.window.kernel)
    held = w.packed(f"{op.name} weight", choice.kernel.pack(weight, conv, choice.schedule))
    width = conv.target.blocks * conv.target.lanes
    ends = requantize.pack(made.bias, made.multiplier, made.ends, width)
    b = w.packed(f"{op.name} bias", ends)
    name = choice.kernel.__name__.rsplit(".", 1)[-1]
    emit = partial(choice.kernel.emit, conv=conv, schedule=choice.schedule, isa=isa)
    places = (x, held, b, w.place(residual) if residual else b, op.output)
    w.step((op.name, name), (conv, choice.schedule), emit, *places)


def _linear(w: Writer, op: Op) -> bool:
    """One row is a convolution; many are a product of matrices."""
    if op.name in w.plan.chosen:
        return _conv(w, op)
    program, isa, residual = w.plan.program, w.plan.isa, op.get("residual")
    made, shape = integers.layer(op, program), program.values[op.output].shape
    x = w.as_plain(op.inputs[0])
    added = w.as_plain(residual) if residual else ""
    filters, channels = made.weight.shape
    w.in_rows(op.output)
    layer = linear_codes.LinearCodes(
        math.prod(shape[:-1]),
        channels,
        filters,
        1 if made.coded else 4,
        w.plan.layouts[added].size if added else 0,
        made.activation,
    )
    block = linear_codes.schedule(layer, isa)
    panel = block.blocks * isa.lanes
    ends = requantize.pack(made.bias, made.multiplier, made.ends, -(-filters // panel) * panel)
    b = w.packed(f"{op.name} bias", ends)
    held = w.packed(f"{op.name} weight", linear_codes.pack(made.weight, block, isa))
    emit = partial(linear_codes.emit, op=layer, schedule=block, isa=isa)
    places = (x, held, b, added or b, plain_name(op.output))
    w.step((op.name, "linear_codes"), (layer, block), emit, *places)
    return True


def _binary(w: Writer, op: Op) -> bool:
    program = w.plan.program
    a, b = (w.blocked(name) for name in op.inputs)
    made = combine.Combine((a, b), w.make(op.output), op["function"])
    zeros = [integers.zero_of(program.values[name]) for name in op.inputs]
    held = _numbers(w, op, zeros)
    emit = partial(combine.combine, op=made, isa=w.plan.isa)
    places = [w.place(name) for name in op.inputs]
    w.step((op.name, "combine"), (made,), emit, *places, held, op.output)
    return True


def _numbers(w: Writer, op: Op, zeros: list[int]) -> str:
    program = w.plan.program
    ends, factors = integers.ends_of(op, program), integers.factors(op, program)
    return w.packed(f"{op.name} numbers", combine.pack(ends, zeros, factors))


def _average(w: Writer, op: Op, sliding: Window) -> bool:
    source, program = w.blocked(op.inputs[0]), w.plan.program
    made = combine.Average(source, w.make(op.output), sliding)
    zero = integers.zero_of(program.values[op.inputs[0]]) * integers.count(op, program)
    held, x = _numbers(w, op, [zero]), w.place(op.inputs[0])
    emit = partial(combine.average, op=made, isa=w.plan.isa)
    w.step((op.name, "average"), (made,), emit, x, held, op.output)
    return True


def _pool(w: Writer, op: Op) -> bool:
    sliding = window(op, tuple(op["kernel"]))
    if op["function"] == "average":
        return _average(w, op, sliding)
    made = pool.Pool(w.blocked(op.inputs[0]), w.make(op.output), sliding, "max")
    emit, x = partial(pool.emit, pool=made, isa=w.plan.isa), w.place(op.inputs[0])
    w.step((op.name, "pool"), (made,), emit, x, op.output)
    return True


def _reduce(w: Writer, op: Op) -> bool:
    _, height, width = w.plan.program.values[op.inputs[0]].shape
    kernel = (height if 1 in op["axes"] else 1, width if 2 in op["axes"] else 1)
    return _average(w, op, Window(kernel))


# ── casts ─────────────────────────────────────────────────────────────────────────────────────


def _cast(w: Writer, op: Op) -> bool:
    values, (source, target) = w.plan.program.values, (op.inputs[0], op.output)
    codes = values[target] if coded(values[target]) else values[source]
    zero, scale = integers.zero_of(codes), integers.scale_of(codes)
    ends = Ends(0.0 - zero, 255.0 - zero, zero, zero, scale, scale)
    held = w.packed(f"{op.name} numbers", requantize.numbers(ends))
    x, y, (a, b) = _ends(w, source, target)
    made = encode.Encoding(a, b)
    emit = partial(encode.emit, op=made, isa=w.plan.isa)
    w.step((op.name, "encode"), (made,), emit, x, held, y)
    return True


def _ends(w: Writer, source: str, target: str) -> tuple[str, str, tuple[Blocked, Blocked]]:
    """Where a cast reads and writes: both lie alike, or planes become words."""
    shape = w.plan.program.values[target].shape
    if w.is_thin(target):
        found = w.dense(source).place
        return found, target, (plain(shape), w.make(target))
    if w.in_blocks(source):
        return w.place(source), target, (w.blocked(source), w.make(target))
    if blocked_name(source) in w.plan.layouts:
        return blocked_name(source), target, (w.blocked(source), w.make(target))
    found = w.as_plain(source)
    w.in_rows(target)
    place = plain_name(target)
    return found, place, (w.plan.layouts[found], w.plan.layouts[place])


CODES: Mapping[str, Callable[[Writer, Op], bool]] = {
    "binary": _binary,
    "cast": _cast,
    "conv": _conv,
    "linear": _linear,
    "pool": _pool,
    "reduce": _reduce,
    **{kind: WRITERS[kind] for kind in MOVES},
}
