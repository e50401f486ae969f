"""Fewer ops, the same function: what is constant is computed now, and neighbours are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.formats.integer import Float32
from lighten.formats.signs import Binary
from lighten.program.flow import carries
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.reference import REFERENCE
from lighten.program.spec import operands, weights

Array = np.ndarray[Any, Any]
WEIGHTED = ("conv", "conv_transpose", "linear")
# only these end in a plain saturation: others would keep a rounding out between the two
ACTIVATIONS = ("relu", "relu6")
# kind → does this op give its input back unchanged, at these shapes?
IDENTITY: Mapping[str, Callable[[Op, Any, Any], bool]] = {
    "cast": lambda op, x, y: True,
    "reshape": lambda op, x, y: bool(x == y),
    "expand": lambda op, x, y: bool(x == y),
    "slice": lambda op, x, y: bool(x == y),
    "pad": lambda op, x, y: bool(x == y),
    "resize": lambda op, x, y: bool(x == y),
    "transpose": lambda op, x, y: list(op["permutation"]) == list(range(len(x))),
    "concat": lambda op, x, y: len(op.inputs) == 1,
}


def fuse(program: Program) -> Program:
    """The same program with fewer ops; equal to 1e-5 of the largest output.

    Stored arithmetic is done now, identities go, a BatchNorm (`affine`) is folded into the layer
    before it and an activation becomes that layer's attribute, where nothing else reads between.
    """
    for one_pass in PASSES:
        program = one_pass(program)
    return program


def fold_constants(program: Program) -> Program:
    """Compute every op that reads stored arrays only."""
    arrays, values = dict(program.arrays), dict(program.values)
    kept: list[Op] = []
    for op in program.ops:
        if op.output in program.outputs or not all(name in arrays for name in operands(op)):
            kept.append(op)
            continue
        given = [arrays[name].decode()[None] for name in operands(op)]
        held = [arrays[name].decode() if name else None for name in weights(op)]
        result = np.ascontiguousarray(REFERENCE[op.kind](op, *given, *held)[0])
        whole = np.issubdtype(result.dtype, np.integer)
        arrays[op.output] = Stored(result if whole else result.astype(np.float32))
        del values[op.output]
    return program.changed(ops=tuple(kept), values=values, arrays=arrays)


def drop_identities(program: Program) -> Program:
    """Leave out ops that change neither numbers, nor shape, nor format."""
    for name in [op.name for op in program.ops if op.kind in IDENTITY]:
        op = program.op(name)
        if operands(op)[0] not in program.values:
            continue
        source, target = operands(op)[0], op.output
        x, y = program.values[source], program.values[target]
        unchanged = IDENTITY[op.kind](op, x.shape, y.shape)
        if unchanged and x.format == y.format and x.params is y.params:
            program = _drop(program, op, source, target)
    return program


def _drop(program: Program, op: Op, source: str, target: str) -> Program:
    """`op` left out; what it gave is what it was given, under the name the program promises."""
    old, new = target, source
    if target in program.outputs:
        if source in program.outputs or source in program.inputs:
            return program
        old, new = source, target
    rest = [other for other in program.ops if other is not op]
    return program.changed(
        ops=tuple(_renamed(other, old, new) for other in rest),
        values={name: value for name, value in program.values.items() if name != old},
    )


def _renamed(op: Op, old: str, new: str) -> Op:
    if old not in (*op.inputs, *op.outputs):
        return op
    inputs = tuple(new if name == old else name for name in op.inputs)
    return replace(
        op, inputs=inputs, outputs=tuple(new if name == old else name for name in op.outputs)
    )


def _pairs(program: Program, joins: Callable[[Program, Op, Op], Program | None]) -> Program:
    """Offer `joins` every pair of ops where the second alone reads the first's float output."""
    for second in program.ops:
        producers = program.producers()
        here = next((op for op in program.ops if op.name == second.name), None)
        first = producers.get(operands(here)[0]) if here else None
        if here is None or first is None or first.output in program.outputs:
            continue
        alone = len(program.consumers()[first.output]) == 1
        if alone and isinstance(program.values[first.output].format, Float32):
            program = joins(program, first, here) or program
    return program


def _joined(program: Program, first: Op, second: Op, joint: Op, **arrays: Stored) -> Program:
    """`first` and `second` replaced by `joint`, standing where `second` stood."""
    ops = [joint if op is second else op for op in program.ops if op is not first]
    values = {name: value for name, value in program.values.items() if name != first.output}
    return program.changed(ops=tuple(ops), values=values, arrays={**program.arrays, **arrays})


def fold_affine(program: Program) -> Program:
    """A per-channel scale and shift after a layer go into its weights (row B10: BN folding)."""
    return _pairs(program, _fold_affine)


def _fold_affine(program: Program, layer: Op, affine: Op) -> Program | None:
    if affine.kind != "affine" or layer.kind not in WEIGHTED or layer.get("activation"):
        return None
    rank = len(program.values[layer.output].shape)
    stored = program.arrays[weights(layer)[0]]
    if affine["axis"] != (rank - 1 if layer.kind == "linear" else 0):
        return None
    scale, shift = (program.arrays[name].decode().astype(np.float64) for name in weights(affine))
    if not isinstance(stored.format, Float32):
        codes = None if layer.kind == "conv_transpose" else _scaled_codes(stored, scale)
        return None if codes is None else _fold(program, (layer, affine), codes, scale, shift)
    w = stored.decode().astype(np.float64)
    if layer.kind == "conv_transpose":  # [in, out / groups, …]: outputs of group g lie in its rows
        groups = layer["groups"]
        by_group = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
        factor = scale.reshape(groups, 1, -1, *(1,) * (w.ndim - 2))
        w = (by_group * factor).reshape(w.shape)
    else:
        w = w * scale.reshape(-1, *(1,) * (w.ndim - 1))
    folded = replace(stored, codes=w.astype(np.float32))
    return _fold(program, (layer, affine), folded, scale, shift)


def _fold(
    program: Program, pair: tuple[Op, Op], folded: Stored, scale: Array, shift: Array
) -> Program:
    """The layer with the scale already in its weight, and the shift put into its bias."""
    layer, affine = pair
    b_name = weights(layer)[1]
    b = program.arrays[b_name].decode().astype(np.float64) if b_name else 0.0
    names = (f"{layer.name}.folded.weight", f"{layer.name}.folded.bias")
    joint = replace(layer, inputs=(layer.inputs[0], *names), outputs=affine.outputs)
    bias = Stored((b * scale + shift).astype(np.float32))
    return _joined(program, layer, affine, joint, **dict(zip(names, (folded, bias), strict=True)))


def _scaled_codes(stored: Stored, scale: Array) -> Stored | None:
    """Symmetric codes times one number per output channel: the same codes in another step.

    Nothing is rounded anew: a negative factor turns the codes' signs, zero clears them. None where
    the zero point forbids it.
    """
    params = stored.params
    if params is None or params.axis != 0 or np.any(params.zero_point):
        return None
    if isinstance(stored.format, Binary):
        return _scaled_signs(stored, scale)
    signs = np.sign(scale).astype(stored.codes.dtype).reshape(-1, *(1,) * (stored.codes.ndim - 1))
    factor = np.where(scale == 0, 1.0, np.abs(scale))
    step = (np.asarray(params.scale, np.float64) * factor).astype(np.float32)
    return replace(stored, codes=stored.codes * signs, params=replace(params, scale=step))


def _scaled_signs(stored: Stored, scale: Array) -> Stored | None:
    """Sums of ±α: the sizes go into α, the signs into the codes, which have none for zero."""
    params, codes = stored.params, stored.codes
    if params is None or not isinstance(stored.format, Binary) or not scale.all():
        return None
    turned = (scale < 0).reshape(-1, *(1,) * (codes.ndim - 1))
    held = np.where(turned, stored.format.high - codes, codes).astype(codes.dtype)
    alpha = np.asarray(params.scale, np.float64) * np.abs(scale)[:, None]
    return replace(stored, codes=held, params=replace(params, scale=alpha.astype(np.float32)))


def fuse_activations(program: Program) -> Program:
    """ReLU and ReLU6 after a layer or arithmetic become its `activation`."""
    return _pairs(program, _fuse_activation)


def _fuse_activation(program: Program, first: Op, second: Op) -> Program | None:
    if second.kind != "unary" or first.kind not in (*WEIGHTED, "binary"):
        return None
    function = second["function"]
    if function == "clip" and (second["low"], second["high"]) == (0, 6):
        function = "relu6"
    if function not in ACTIVATIONS or first.get("activation"):
        return None
    attributes = {**first.attributes, "activation": function}
    joint = replace(first, attributes=attributes, outputs=second.outputs)
    return _joined(program, first, second, joint)


def round_where_made(program: Program) -> Program:
    """A cast that alone reads a result gives its format to the result itself."""
    return _pairs(program, _round_where_made)


def _round_where_made(program: Program, first: Op, cast: Op) -> Program | None:
    if cast.kind != "cast" or isinstance(program.values[cast.output].format, Float32):
        return None
    return _joined(program, first, cast, replace(first, outputs=cast.outputs))


def carry_formats(program: Program) -> Program:
    """What only moves codes gives codes: its result has the format of all that it reads."""
    values = dict(program.values)
    for op in program.ops:
        if not carries(op) or (op.kind == "pad" and op["value"] != 0):
            continue
        given = [values.get(name) for name in operands(op)]
        first = given[0]
        if first is None or isinstance(first.format, Float32):
            continue
        if all(other is not None and _alike(first, other) for other in given):
            values[op.output] = replace(values[op.output], format=first.format, params=first.params)
    return program.changed(values=values)


def _alike(a: Value, b: Value) -> bool:
    """Whether equal codes of both mean the same number."""
    if a.format != b.format or a.params is None or b.params is None:
        return False
    pairs = ((a.params.scale, b.params.scale), (a.params.zero_point, b.params.zero_point))
    whole = a.params.axis is None and b.params.axis is None
    return whole and all(np.array_equal(x, y) for x, y in pairs)


def drop_unused(program: Program) -> Program:
    """Leave out ops whose results nothing reads, then values and arrays no op names."""
    wanted, kept = set(program.outputs), []
    for op in reversed(program.ops):
        if wanted.intersection(op.outputs):
            kept.append(op)
            wanted.update(op.inputs)
    named = wanted | set(program.inputs)
    return program.changed(
        ops=tuple(reversed(kept)),
        values={name: value for name, value in program.values.items() if name in named},
        arrays={name: array for name, array in program.arrays.items() if name in named},
    )


PASSES: tuple[Callable[[Program], Program], ...] = (
    fold_constants,
    drop_identities,
    fold_affine,
    fuse_activations,
    round_where_made,
    carry_formats,
    drop_unused,
)
