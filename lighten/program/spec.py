"""What a program may say, as a table, and the check that it says nothing else.

`KINDS` is read by people and by `check`, which runs after every pass in the tests. All shapes and
axes are per sample: the batch dimension is never written, and axis 0 is the channel axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lighten.errors import ProgramError
from lighten.formats.integer import Float32
from lighten.program import shapes as rule
from lighten.program.ir import Op, Program, Stored, Value
from lighten.program.shapes import Shape, demand


@dataclass(frozen=True)
class Kind:
    """A kind of op: its inputs in order, its attributes, and the shape it makes.

    `operands` are values, or stored arrays standing for the same constant in every sample ("xs*":
    one or more). `weights` are stored; "b?" may be absent ("" or left out). `attributes` must be
    there, `optional` ones may.
    """

    operands: tuple[str, ...]
    weights: tuple[str, ...]
    attributes: tuple[str, ...]
    shape: Callable[[Op, Sequence[Shape]], Shape]
    optional: tuple[str, ...] = ()


SLIDING = ("strides", "pads", "dilations")
KINDS: Mapping[str, Kind] = {
    # with weights; `activation` is "" or a parameterless function of FUNCTIONS
    "conv": Kind(("x",), ("w", "b?"), (*SLIDING, "groups"), rule.conv, ("activation",)),
    "conv_transpose": Kind(
        ("x",),
        ("w", "b?"),
        (*SLIDING, "groups", "output_padding"),
        rule.conv_transpose,
        ("activation",),
    ),
    "linear": Kind(("x",), ("w", "b?"), (), rule.linear, ("activation",)),
    # one direction of one layer, time on axis 0; w, r, b, rb: for the input and for the state
    "recurrent": Kind(("x",), ("w", "r", "b?", "rb?"), ("function", "reverse"), rule.recurrent),
    "affine": Kind(("x",), ("scale", "shift"), ("axis",), rule.affine),
    "group_norm": Kind(("x",), ("w?", "b?"), ("groups", "epsilon"), rule.group_norm),
    "layer_norm": Kind(("x",), ("w?", "b?"), ("axes", "epsilon", "rms"), rule.layer_norm),
    # element by element, and across
    "matmul": Kind(("a", "b"), (), (), rule.matmul),
    "unary": Kind(("x",), (), ("function",), rule.same, ("low", "high", "slope")),
    "binary": Kind(("a", "b"), (), ("function",), rule.broadcast, ("activation",)),
    "where": Kind(("condition", "a", "b"), (), (), rule.broadcast),
    "softmax": Kind(("x",), (), ("axis",), rule.along_axis),
    "pool": Kind(("x",), (), ("function", "kernel", *SLIDING, "ceil", "include_pad"), rule.pool),
    "reduce": Kind(("x",), (), ("function", "axes", "keepdims"), rule.reduce),
    # where things lie
    "concat": Kind(("xs*",), (), ("axis",), rule.concat),
    "slice": Kind(("x",), (), ("axis", "start", "stop", "step"), rule.slice_),
    "pad": Kind(("x",), (), ("pads", "value"), rule.pad),
    "reshape": Kind(("x",), (), ("shape",), rule.reshape),
    "transpose": Kind(("x",), (), ("permutation",), rule.transpose),
    "expand": Kind(("x",), (), ("shape",), rule.expand),
    "resize": Kind(("x",), (), ("size", "mode", "align_corners"), rule.resize),
    "gather": Kind(("table", "indices"), (), ("axis",), rule.gather),
    # the same numbers in another format
    "cast": Kind(("x",), (), (), rule.same),
}
# functions of unary → the parameters each needs
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        "relu relu6 sigmoid tanh gelu gelu_tanh silu hardswish hardsigmoid softplus mish exp log "
        "sqrt rsqrt neg abs reciprocal square erf sin cos sign floor round".split(),
        (),
    ),
    "leaky_relu": ("slope",),
    "elu": ("slope",),
    "clip": ("low", "high"),
}
# the last two give 1 where they hold and 0 where they do not; `where` takes b only where it reads 0
BINARY = ("add", "sub", "mul", "div", "max", "min", "pow", "equal", "less")
MOVES = ("concat", "slice", "pad", "reshape", "transpose", "expand", "cast", "gather")


def operands(op: Op) -> tuple[str, ...]:
    """The inputs that flow (or stand for a constant that does)."""
    names = KINDS[op.kind].operands
    return op.inputs if names[-1].endswith("*") else op.inputs[: len(names)]


def weights(op: Op) -> tuple[str, ...]:
    """The inputs that must be stored, "" where absent, as many as the kind has."""
    kind = KINDS[op.kind]
    given = op.inputs[len(operands(op)) :]
    return given + ("",) * (len(kind.weights) - len(given))


def infer(op: Op, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """The shapes of an op's outputs from those of its inputs (`()` where one is absent).

    Raises `ProgramError` naming the op. Per-sample shapes, no batch.

    >>> infer(Op("linear", "fc", ("x", "w"), ("y",)), [(8,), (10, 8)])
    ((10,),)
    """
    return (tuple(int(extent) for extent in KINDS[op.kind].shape(op, shapes)),)


def integer_values(program: Program) -> frozenset[str]:
    """Values that carry whole numbers, not reals: inputs that are said to or that `gather` is
    indexed by, and what only moves them.
    """
    indices: set[str] = set()
    for op in reversed(program.ops):
        if op.kind == "gather":
            indices.add(op.inputs[1])
        elif op.kind in MOVES and op.output in indices:
            indices.update(operands(op))
    found = set(program.integers) | indices & set(program.inputs)
    found |= {name for name, stored in program.arrays.items() if stored.codes.dtype.kind in "iu"}
    for op in program.ops:
        moved = op.inputs[:1] if op.kind == "gather" else operands(op)
        if op.kind in MOVES and found.issuperset(moved):
            found.add(op.output)
    return frozenset(found & set(program.values))


def check(program: Program) -> Program:
    """Give the program back, or raise `ProgramError` at the first thing it may not say."""
    known = set(program.inputs)
    for name, value in program.values.items():
        _check_format("value", name, value)
    for name, stored in program.arrays.items():
        _check_format("array", name, stored)
    both = set(program.values) & set(program.arrays)
    if both:
        raise ProgramError(f"{min(both)!r} is both a value and a stored array.")
    names: set[str] = set()
    for op in program.ops:
        demand(op.name not in names, op, "the name is taken by an earlier op")
        names.add(op.name)
        _check_form(op)
        _check_op(op, program, known)
        known.update(op.outputs)
    missing = [name for name in (*program.inputs, *program.outputs) if name not in program.values]
    missing += [name for name in program.outputs if name not in known]
    if missing:
        raise ProgramError(f"The program's input or output {missing[0]!r} is made by no op.")
    return program


def _check_form(op: Op) -> None:
    """Kind, number of inputs and outputs, attributes: what can be seen without shapes."""
    kind = KINDS.get(op.kind)
    if kind is None:
        raise ProgramError(f"{op.kind!r} {op.name!r}: no such kind of op.")
    if kind.operands[-1].endswith("*"):
        demand(len(op.inputs) >= 1, op, "needs at least one input")
    else:
        least = len(kind.operands) + sum(not name.endswith("?") for name in kind.weights)
        most = len(kind.operands) + len(kind.weights)
        demand(least <= len(op.inputs) <= most, op, f"needs {least}–{most} inputs")
    demand(len(op.outputs) == 1, op, "must have one output")
    absent = set(kind.attributes) - set(op.attributes)
    demand(not absent, op, f"attribute {min(absent, default='')!r} is missing")
    extra = set(op.attributes) - {*kind.attributes, *kind.optional}
    demand(not extra, op, f"attribute {min(extra, default='')!r} is unknown")
    activation = op.get("activation", "")
    demand(activation == "" or FUNCTIONS.get(activation) == (), op, f"activation {activation!r}")
    if op.kind == "unary":
        demand(op["function"] in FUNCTIONS, op, f"function {op['function']!r} is unknown")
        for parameter in FUNCTIONS[op["function"]]:
            demand(parameter in op.attributes, op, f"attribute {parameter!r} is missing")
    if op.kind == "binary":
        demand(op["function"] in BINARY, op, f"function {op['function']!r} is unknown")


def _check_op(op: Op, program: Program, known: set[str]) -> None:
    """Names, order, and shapes as inferred against as declared."""
    for name in operands(op):
        there = name in known or name in program.arrays
        late = name in program.values
        demand(there, op, f"{name!r} is read before it is made" if late else f"{name!r} is unknown")
    for name, role in zip(weights(op), KINDS[op.kind].weights, strict=True):
        absent = not name and role.endswith("?")
        demand(absent or name in program.arrays, op, f"{role.rstrip('?')} {name!r} is not stored")
    found: Mapping[str, Value | Stored] = {**program.values, **program.arrays}
    shapes = [found[name].shape if name else () for name in op.inputs]
    for output, shape in zip(op.outputs, infer(op, shapes), strict=True):
        demand(output in program.values, op, f"output {output!r} is not declared")
        demand(output not in known, op, f"output {output!r} is made twice")
        declared = program.values[output].shape
        demand(declared == shape, op, f"{output!r} is declared {declared}, but comes out {shape}")


def _check_format(what: str, name: str, holder: Value | Stored) -> None:
    """An integer format has its scale, one per index where it has an axis; codes fit."""
    if isinstance(holder.format, Float32):
        return
    if holder.params is None:
        raise ProgramError(f"The {what} {name!r} has an integer format, but no scale.")
    axis = holder.params.axis
    if axis is not None:
        extent = holder.shape[axis] if axis < len(holder.shape) else -1
        if tuple(holder.params.scale.shape) != holder.format.scales(extent):
            raise ProgramError(f"The {what} {name!r} needs one scale per index along axis {axis}.")
    if isinstance(holder, Stored) and holder.codes.dtype != holder.format.dtype:
        raise ProgramError(
            f"The {what} {name!r} must hold {holder.format.dtype}, but holds {holder.codes.dtype}."
        )
