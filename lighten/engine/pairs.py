"""Neighbouring ops that one of the engine's kernels runs.

What every runtime can join is joined by `program.fuse`; here a convolution takes a later addition
and any activation that a kernel knows. Such a program is the engine's own: `program.check` does not
know the attribute `residual`, nor all activations.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from lighten.engine.codes import kept_apart
from lighten.engine.heads import with_attention
from lighten.kernels.functions import FUNCTIONS
from lighten.program.fuse import fuse
from lighten.program.ir import Op, Program, Value

ACTIVE = ("conv", "linear", "affine", "binary")


def joined(program: Program) -> Program:
    """The program with its ops joined as far as the choice of kernels does not matter."""
    return kept_apart(fuse(program), lambda p: with_attention(with_shuffles(with_activations(p))))


def with_activations(program: Program) -> Program:
    """A function of one number after an op that knows activations becomes its attribute."""
    readers, makers = program.consumers(), program.producers()
    gone: dict[str, Op] = {}
    for op in program.ops:
        if op.kind != "unary" or op["function"] not in FUNCTIONS:
            continue
        before = makers.get(op.inputs[0])
        alone = len(readers.get(op.inputs[0], ())) == 1 and op.inputs[0] not in program.outputs
        if before is None or before.kind not in ACTIVE or before.get("activation") or not alone:
            continue
        attributes = {**before.attributes, "activation": op["function"]}
        gone[op.name] = before
        gone[before.name] = replace(before, outputs=op.outputs, attributes=attributes)
    ops = [gone.get(op.name, op) for op in program.ops if not _absorbed(op, gone)]
    return program.changed(ops=tuple(ops))


def _absorbed(op: Op, gone: dict[str, Op]) -> bool:
    return op.kind == "unary" and op.name in gone


def with_residuals(program: Program, native: Container[str]) -> Program:
    """Linear layers, and those of the convolutions that are `native`, by name, that are added to
    another value do it before their activation: attribute `residual`.
    """
    readers, makers = program.consumers(), program.producers()
    position = {op.output: at for at, op in enumerate(program.ops)}
    gone: set[str] = set()
    merged: dict[str, Op] = {}
    for op in program.ops:
        if op.kind != "binary" or op["function"] != "add" or op.inputs[0] == op.inputs[1]:
            continue
        shapes = [program.values[n].shape if n in program.values else () for n in op.inputs]
        if shapes[0] != shapes[1] or not shapes[0] or op.get("activation", "") not in FUNCTIONS:
            continue
        # the later of the two adds the other, or else the earlier waits for it
        for made in sorted(op.inputs, key=lambda name: -position.get(name, -1)):
            conv, other = makers.get(made), next(name for name in op.inputs if name != made)
            if conv is None or conv.name in gone or not _adds(conv, native):
                continue
            if len(readers[made]) > 1 or made in program.outputs or other not in program.values:
                continue
            active = op.get("activation", "")
            attributes = {**conv.attributes, "activation": active, "residual": other}
            merged[op.name] = replace(conv, outputs=op.outputs, attributes=attributes)
            gone.add(conv.name)
            break
    ops = [merged.get(op.name, op) for op in program.ops if op.name not in gone]
    return program.changed(ops=tuple(ops))


def _adds(op: Op, native: Container[str]) -> bool:
    """Whether its kernel can add a value before an activation that is still to come."""
    known = op.kind == "linear" or (op.kind == "conv" and op.name in native)
    return known and not op.get("activation")


def with_crops(program: Program, native: Container[str]) -> Program:
    """Slices of an image from one of the `native` convolutions, one after the other, and what pads
    the last of them, as one op: `crop` from `begin` in `steps`, put into `pads` of `value`.
    """
    readers, makers = program.consumers(), program.producers()
    crops: dict[str, Op] = {}  # by what they give
    gone: set[str] = set()
    for op in program.ops:
        cuts = op.kind in ("slice", "pad") and op.get("step", 1) > 0
        if not cuts or min(op.get("pads", (0,))) < 0:
            continue
        before = crops.get(x := op.inputs[0])
        shape, maker = program.values[x].shape if x in program.values else (), makers.get(x)
        image = len(shape) == 3 and maker is not None and maker.name in native
        if before is None and not (image and op.kind == "slice"):
            continue
        if x in program.values and not _same(program.values[x], program.values[op.output]):
            continue
        if before is not None:
            if len(readers[x]) > 1 or x in program.outputs or any(before["pads"]):
                continue
            gone.add(before.name)
        crops[op.output] = _crop(op, before, shape)
    made = {crop.name: crop for crop in crops.values()}
    ops = [made.get(op.name, op) for op in program.ops if op.name not in gone]
    return program.changed(ops=tuple(ops))


def _same(a: Value, b: Value) -> bool:
    """Whether both are floats, or codes of one scale."""
    if a.params is None or b.params is None:
        return a.params is b.params
    return bool(a.params.scale == b.params.scale and a.params.zero_point == b.params.zero_point)


def _crop(op: Op, before: Op | None, shape: tuple[int, ...]) -> Op:
    """A slice, or the padding, of what was cropped before."""
    begin, steps = (list(before[k]) if before else [v] * 3 for k, v in (("begin", 0), ("steps", 1)))
    pads, value = (0,) * 6, 0.0
    if op.kind == "slice":
        axis = op["axis"]
        start = slice(op["start"], op["stop"], op["step"]).indices(shape[axis])[0]
        begin[axis] += steps[axis] * start
        steps[axis] *= op["step"]
    else:
        pads, value = op["pads"], op["value"]
    found = {"begin": tuple(begin), "steps": tuple(steps), "pads": tuple(pads), "value": value}
    return Op("crop", op.name, before.inputs if before else op.inputs, op.outputs, found)


def with_shuffles(program: Program) -> Program:
    """Channels that are split in groups, turned and joined again (ShuffleNet) as one op, `shuffle`
    with its number of groups.
    """
    readers, makers = program.consumers(), program.producers()
    merged: dict[str, Op] = {}
    gone: set[str] = set()
    for op in program.ops:
        turned = makers.get(op.inputs[0]) if op.kind == "reshape" else None
        split = makers.get(turned.inputs[0]) if turned and turned.kind == "transpose" else None
        if turned is None or split is None or split.kind != "reshape":
            continue
        x, between = split.inputs[0], (split.output, turned.output)
        alone = all(len(readers[n]) == 1 and n not in program.outputs for n in between)
        if not alone or x not in program.values or list(turned["permutation"]) != [1, 0, 2, 3]:
            continue
        shape, grouped = program.values[x].shape, program.values[split.output].shape
        same = shape == program.values[op.output].shape and len(shape) == 3
        if same and grouped[2:] == shape[1:]:
            attributes = {"groups": grouped[0]}
            merged[op.name] = Op("shuffle", op.name, (x,), op.outputs, attributes)
            gone |= {split.name, turned.name}
    ops = [merged.get(op.name, op) for op in program.ops if op.name not in gone]
    return program.changed(ops=tuple(ops))
