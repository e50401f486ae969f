"""What ops over packed signs become: layers that count them, and what packs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from lighten.engine.choose import settled
from lighten.engine.writer import Writer
from lighten.formats.signs import WORD
from lighten.kernels import binary, binary_layer, signs
from lighten.kernels.layout import Blocked
from lighten.program.ir import Op
from lighten.program.signs import factors, signed


def _layer(w: Writer, op: Op) -> bool:
    """A convolution or linear layer by counting; its results may be packed as they are made."""
    choice, residual = w.plan.chosen[op.name], op.get("residual")
    made = w.make(op.output)
    conv = replace(choice.conv, activation=op.get("activation", ""))
    added = w.blocked(residual) if residual else None
    packs = made if signed(w.plan.program.values[op.output]) else None
    source = w.plan.layouts[op.inputs[0]]
    ragged = made.channels * WORD > w.size(op.output)[0]
    if packs is not None and ragged and (added is not None or conv.activation):
        return _apart(w, op, packs)
    target = conv.target if packs is not None else made
    layer = binary_layer.Layer(settled(conv, source, target, added), choice.schedule, packs)
    _call(w, op, layer, op.output)
    return True


def _apart(w: Writer, op: Op, packed: Blocked) -> bool:
    """The results as floats first, where more is done to them than to channels of no filter, which
    fill the last word.
    """
    choice, floats, residual = w.plan.chosen[op.name], f"{op.name} floats", op.get("residual")
    added = w.blocked(residual) if residual else None
    w.plan.layouts[floats] = target = Blocked(*w.size(op.output), w.plan.isa.lanes)
    conv = replace(choice.conv, activation=op.get("activation", ""))
    conv = settled(conv, w.plan.layouts[op.inputs[0]], target, added)
    kind, isa = choice.schedule.kind, w.plan.isa
    options = binary_layer.schedules(conv, isa, kind)
    best = min(options, key=lambda schedule: binary_layer.cycles(conv, schedule, isa))
    _call(w, op, binary_layer.Layer(conv, best), floats)
    _pack(w, op.name, signs.Packing(target, packed), (floats, "", op.output))
    return True


def _call(w: Writer, op: Op, layer: binary_layer.Layer, target: str) -> None:
    held, isa, residual = factors(op, w.plan.program), w.plan.isa, op.get("residual")
    weight = w.packed(f"{op.name} weight", binary_layer.pack(held.weight, layer, isa))
    ends = binary_layer.pack_ends(held.weight, held.scale, held.shift, layer, isa)
    b = w.packed(f"{op.name} bias", ends)
    emit = partial(binary.emit, layer=layer, isa=isa)
    places = (op.inputs[0], weight, b, w.place(residual) if residual else b, target)
    w.step((op.name, "binary"), (layer, layer.conv, layer.schedule), emit, *places)


def _affine(w: Writer, op: Op) -> bool:
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    scale, shift = (w.array(name) for name in op.inputs[1:])
    held = w.packed(f"{op.name} scale and shift", signs.pack(scale, shift, w.plan.isa.lanes))
    places = (w.place(op.inputs[0]), held, op.output)
    _pack(w, op.name, signs.Packing(source, target, scaled=True), places)
    return True


def _cast(w: Writer, op: Op) -> bool:
    source, target = w.blocked(op.inputs[0]), w.make(op.output)
    _pack(w, op.name, signs.Packing(source, target), (w.place(op.inputs[0]), "", op.output))
    return True


def _pack(w: Writer, op: str, made: signs.Packing, places: tuple[str, str, str]) -> None:
    x, scales, y = places
    emit = partial(signs.emit, op=made, isa=w.plan.isa)
    w.step((op, "signs"), (made,), emit, x, scales or x, y)


SIGNS: Mapping[str, Callable[[Writer, Op], bool]] = {
    "affine": _affine,
    "cast": _cast,
    "conv": _layer,
    "linear": _layer,
}
