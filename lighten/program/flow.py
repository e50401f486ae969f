"""Where int8 flows: which values are worth rounding, and which must share one scale.

An int8 layer wants its inputs as codes. From there the wish runs backwards through ops that can
work on codes (`passes`), so that no value is decoded between two int8 layers only to be encoded
again. onnxruntime has an int8 convolution only where the output is int8 as well, so a chosen
layer's output is rounded too, unless it leaves the program.

Our own engine (`joins`) adds another value to a convolution's sums, and computes most functions of
them, before they are rounded: what goes into one addition or function alone stays float there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lighten.program.ir import Op, Program
from lighten.program.spec import integer_values, operands

LAYERS = ("conv", "linear")
WEIGHTED = (*LAYERS, "conv_transpose")
CARRIERS = ("concat", "slice", "pad", "reshape", "transpose", "expand")
SATURATING = ("relu", "relu6", "clip")
# functions that our engine computes of a layer's sums
JOINED = (
    *("relu", "relu6", "hardsigmoid", "hardswish", "sigmoid", "silu", "tanh"),
    *("gelu", "gelu_tanh", "mish"),
)


@dataclass(frozen=True)
class Flow:
    """`rounded`: values that become int8 where they are made. `cast`: values that stay float, with
    an int8 copy for the ops named.
    """

    rounded: frozenset[str]
    cast: dict[str, tuple[str, ...]]


def carries(op: Op) -> bool:
    """Whether the op only moves codes, so that its output has its input's scale."""
    return op.kind in CARRIERS or (op.kind == "pool" and op["function"] == "max")


def passes(op: Op, program: Program) -> bool:
    """Whether runtimes have an int8 form of the op, given int8 inputs."""
    if any(name in program.arrays for name in operands(op)):
        return False
    if carries(op) or op.kind == "pool":
        return op.kind != "pad" or op["value"] == 0
    if op.kind == "binary":
        return op["function"] in ("add", "mul")
    if op.kind == "unary":
        return op["function"] in SATURATING
    return op.kind == "reduce" and op["function"] == "mean"


def plan(program: Program, chosen: Collection[str], joins: bool = False) -> Flow:
    """Where int8 flows when the layers named in `chosen` compute in int8, on a runtime that `joins`
    what follows them or not.
    """
    consumers, producers = program.consumers(), program.producers()
    spared: Collection[str] = joined(program, chosen) if joins else ()
    coded = coded_ops(program, chosen, spared)
    rounded: set[str] = set()
    cast: dict[str, tuple[str, ...]] = {}
    for name in sorted(_wanted(program, chosen, coded).difference(spared)):
        maker, readers = producers.get(name), consumers[name]
        takers = tuple(reader.name for reader in readers if reader.name in coded)
        inside = maker is not None and name not in program.outputs
        made_in_codes = maker is not None and maker.name in coded
        if inside and (made_in_codes or len(takers) == len(readers)):
            rounded.add(name)
        elif takers:
            cast[name] = takers
    return Flow(frozenset(rounded), cast)


def joined(program: Program, chosen: Collection[str]) -> frozenset[str]:
    """What chosen layers make for one addition or one function alone, without an activation of
    their own: of two that are added, the later.
    """
    consumers = program.consumers()
    found: dict[str, str] = {}  # the reader, and what it takes in floats
    for op in reversed(program.ops):
        if op.name not in chosen or op.get("activation") or op.output in program.outputs:
            continue
        if len(consumers[op.output]) == 1 and _takes(consumers[op.output][0], program):
            found.setdefault(consumers[op.output][0].name, op.output)
    return frozenset(found.values())


def _takes(reader: Op, program: Program) -> bool:
    """Whether a layer before it can compute it: a function, or an addition of equal shapes."""
    if reader.kind == "unary":
        return reader["function"] in JOINED
    if reader.kind != "binary" or reader["function"] != "add":
        return False
    a, b = (program.values.get(name) for name in reader.inputs)
    return a is not None and b is not None and a is not b and a.shape == b.shape


def coded_ops(
    program: Program, chosen: Collection[str], alone: Collection[str] = ()
) -> frozenset[str]:
    """Names of the ops that work on codes: the chosen layers, and what lies between them.

    An op between takes part if its result is wanted as codes, something that works on codes feeds
    it, and no float layer does: what that one computed is not rounded for its sake. What a layer
    makes for a function `alone` is as good as the layer.
    """
    coded = {op.name for op in program.ops if op.name in chosen or passes(op, program)}
    producers = program.producers()
    ends = {op.name for op in program.ops if op.kind == "unary" and op.inputs[0] in alone}
    while True:
        wanted = _wanted(program, chosen, coded)
        kept: set[str] = set()
        for op in program.ops:
            makers = [producers[name] for name in operands(op) if name in producers]
            between = op.name in coded and op.output in wanted
            fed = any(maker.name in kept or maker.name in ends for maker in makers)
            spared = all(maker.name in chosen for maker in makers if maker.kind in WEIGHTED)
            if op.name in chosen or (between and fed and spared):
                kept.add(op.name)
        if kept == coded:
            return frozenset(kept)
        coded = kept


def _wanted(program: Program, chosen: Collection[str], coded: Collection[str]) -> set[str]:
    """Values that something working on codes reads, or that a chosen convolution makes."""
    wanted: set[str] = set()
    for op in reversed(program.ops):
        if op.name in chosen or (op.name in coded and op.output in wanted):
            wanted.update(name for name in operands(op) if name in program.values)
        if op.name in chosen and op.kind == "conv":
            wanted.add(op.output)
    return wanted - integer_values(program)


def groups(program: Program, rounded: Collection[str]) -> list[frozenset[str]]:
    """Sets of rounded values that must share one scale: joined by ops that only move codes."""
    group_of = {name: {name} for name in sorted(rounded)}
    for op in program.ops:
        if not carries(op) or op.output not in rounded:
            continue
        for name in operands(op):
            if name in rounded and group_of[name] is not group_of[op.output]:
                joined = group_of[name] | group_of[op.output]
                for member in joined:
                    group_of[member] = joined
    return list(dict.fromkeys(frozenset(group) for group in group_of.values()))
