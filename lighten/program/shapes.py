"""What shape each op kind makes of its inputs' shapes; all per sample, batch not written."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, prod

import numpy as np

from lighten.errors import ProgramError
from lighten.program.ir import Op

Shape = tuple[int, ...]
Shapes = Sequence[Shape]


def demand(holds: bool, op: Op, message: str) -> None:
    """Raise `ProgramError` with the op's kind and name unless `holds`."""
    if not holds:
        raise ProgramError(f"{op.kind} {op.name!r}: {message}.")


def same(op: Op, shapes: Shapes) -> Shape:
    """Element by element."""
    return shapes[0]


def windows(op: Op, size: Shape, kernel: Shape, up: bool = False) -> Shape:
    """How many windows of `kernel` fit along each spatial axis of `size` (row by row, N-D).

    >>> windows(Op("conv", "c", (), (), {"strides": (2,), "pads": (1, 1), "dilations": (1,)}),
    ...         (8,), (3,))
    (4,)
    """
    rank = len(size)
    strides, pads, dilations = op["strides"], op["pads"], op["dilations"]
    demand(len(kernel) == rank, op, f"kernel {kernel} must have {rank} axes")
    demand(len(strides) == len(dilations) == rank, op, "strides and dilations: one per axis")
    demand(len(pads) == 2 * rank, op, f"pads {pads} must be {rank} begins, then {rank} ends")
    rounding = ceil if up else floor
    counts = []
    for axis, extent in enumerate(size):
        padded = extent + pads[axis] + pads[rank + axis]
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        demand(padded >= reach, op, f"kernel reaches over {reach}, but only {padded} are there")
        count = rounding((padded - reach) / strides[axis]) + 1
        # as in torch: a window that would begin in the far padding is not made
        overhang = up and (count - 1) * strides[axis] >= extent + pads[axis]
        counts.append(count - overhang)
    return tuple(counts)


def _bias(op: Op, shapes: Shapes, channels: int, first: int = 2) -> None:
    for shape in shapes[first:]:
        demand(shape in ((), (channels,)), op, f"per-channel {shape} must be ({channels},)")


def conv(op: Op, shapes: Shapes) -> Shape:
    """[C, *size] and [K, C / groups, *kernel] give [K, *windows]."""
    x, w, groups = shapes[0], shapes[1], op["groups"]
    demand(len(w) == len(x) + 1, op, f"weight {w} must have one axis more than input {x}")
    demand(x[0] == w[1] * groups, op, f"input has {x[0]} channels, weight reads {w[1] * groups}")
    demand(w[0] % groups == 0, op, f"{w[0]} outputs must divide into {groups} groups")
    _bias(op, shapes, w[0])
    return (w[0], *windows(op, x[1:], w[2:]))


def conv_transpose(op: Op, shapes: Shapes) -> Shape:
    """[C, *size] and [C, K / groups, *kernel] give [K, …]: conv's shape rule, solved for x."""
    x, w, groups = shapes[0], shapes[1], op["groups"]
    rank = len(x) - 1
    demand(len(w) == rank + 2, op, f"weight {w} must have one axis more than input {x}")
    demand(x[0] == w[0], op, f"input has {x[0]} channels, weight reads {w[0]}")
    demand(len(op["pads"]) == 2 * rank, op, "pads must be begins, then ends")
    _bias(op, shapes, w[1] * groups)
    size = (
        (x[1 + a] - 1) * op["strides"][a]
        + op["dilations"][a] * (w[2 + a] - 1)
        + 1
        + op["output_padding"][a]
        - op["pads"][a]
        - op["pads"][rank + a]
        for a in range(rank)
    )
    return (w[1] * groups, *size)


def linear(op: Op, shapes: Shapes) -> Shape:
    """[…, C] and [K, C] give […, K]."""
    x, w = shapes[0], shapes[1]
    demand(len(w) == 2, op, f"weight {w} must be [out, in]")
    demand(bool(x) and x[-1] == w[1], op, f"input {x} ends in other than the {w[1]} weight reads")
    _bias(op, shapes, w[0])
    return (*x[:-1], w[0])


def matmul(op: Op, shapes: Shapes) -> Shape:
    """[…, M, K] and […, K, N] give […, M, N]."""
    a, b = shapes[0], shapes[1]
    demand(min(len(a), len(b)) >= 2, op, f"{a} and {b} must both be matrices")
    demand(a[-1] == b[-2], op, f"{a} and {b} do not chain")
    return (*broadcast(op, (a[:-2], b[:-2])), a[-2], b[-1])


def broadcast(op: Op, shapes: Shapes) -> Shape:
    """NumPy's rule on per-sample shapes."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ProgramError(f"{op.kind} {op.name!r}: {list(shapes)} do not broadcast.") from None


def affine(op: Op, shapes: Shapes) -> Shape:
    """x · scale + shift, one pair per index along `axis`."""
    _axis(op, shapes[0], op["axis"])
    _bias(op, shapes, shapes[0][op["axis"]], first=1)
    return shapes[0]


def recurrent(op: Op, shapes: Shapes) -> Shape:
    """[T, F] with w [G·H, F] and r [G·H, H] gives [T, H]; LSTMs have four gates, GRUs three."""
    x, w, r = shapes[:3]
    gates = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.get(op["function"], 0)
    demand(gates > 0, op, f"function {op['function']!r} is unknown")
    fits = len(x) == 2 and len(r) == 2 and w == (gates * r[1], x[-1]) and r[0] == gates * r[1]
    demand(fits, op, f"{x}, w {w} and r {r} must be [T, F], [{gates}H, F], [{gates}H, H]")
    for bias in shapes[3:]:
        demand(bias in ((), w[:1]), op, f"bias {bias} must be {w[:1]}")
    return (x[0], r[1])


def group_norm(op: Op, shapes: Shapes) -> Shape:
    """Channels (axis 0) normalised in `groups`."""
    channels = shapes[0][0]
    demand(channels % op["groups"] == 0, op, f"{channels} channels into {op['groups']} groups")
    _bias(op, shapes, channels, first=1)
    return shapes[0]


def layer_norm(op: Op, shapes: Shapes) -> Shape:
    """The last `axes` axes normalised."""
    demand(1 <= op["axes"] <= len(shapes[0]), op, f"axes must be 1 to {len(shapes[0])}")
    tail = shapes[0][-op["axes"] :]
    for shape in shapes[1:]:
        demand(shape in ((), tail), op, f"weight {shape} must be {tail}")
    return shapes[0]


def _axis(op: Op, shape: Shape, axis: int) -> None:
    demand(0 <= axis < len(shape), op, f"axis {axis} must be in 0 … {len(shape) - 1}")


def along_axis(op: Op, shapes: Shapes) -> Shape:
    """Element by element, with an `axis` that must exist."""
    _axis(op, shapes[0], op["axis"])
    return shapes[0]


def pool(op: Op, shapes: Shapes) -> Shape:
    """[C, *size] gives [C, *windows]."""
    demand(op["function"] in ("max", "average"), op, f"function {op['function']!r} is unknown")
    return (shapes[0][0], *windows(op, shapes[0][1:], tuple(op["kernel"]), op["ceil"]))


def reduce(op: Op, shapes: Shapes) -> Shape:
    """`axes` become 1 (`keepdims`) or go."""
    demand(op["function"] in ("mean", "sum", "max"), op, f"function {op['function']!r} is unknown")
    for axis in op["axes"]:
        _axis(op, shapes[0], axis)
    kept = (1 if axis in op["axes"] else extent for axis, extent in enumerate(shapes[0]))
    if op["keepdims"]:
        return tuple(kept)
    return tuple(extent for axis, extent in enumerate(shapes[0]) if axis not in op["axes"])


def concat(op: Op, shapes: Shapes) -> Shape:
    """End to end along `axis`."""
    axis, first = op["axis"], shapes[0]
    _axis(op, first, axis)
    for shape in shapes:
        alike = shape[:axis] == first[:axis] and shape[axis + 1 :] == first[axis + 1 :]
        demand(alike, op, f"{first} and {shape} must agree outside axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def slice_(op: Op, shapes: Shapes) -> Shape:
    """`x[start:stop:step]` along `axis`, Python's rules, step above zero."""
    axis = op["axis"]
    _axis(op, shapes[0], axis)
    demand(op["step"] > 0, op, "step must be above zero")
    length = len(range(*slice(op["start"], op["stop"], op["step"]).indices(shapes[0][axis])))
    demand(length > 0, op, "nothing is left of the axis")
    return (*shapes[0][:axis], length, *shapes[0][axis + 1 :])


def pad(op: Op, shapes: Shapes) -> Shape:
    """Begins of every axis, then ends, filled with `value`."""
    rank, pads = len(shapes[0]), op["pads"]
    demand(
        len(pads) == 2 * rank and min(pads) >= 0, op, f"pads {pads} must be 2·{rank}, not below 0"
    )
    return tuple(extent + pads[a] + pads[rank + a] for a, extent in enumerate(shapes[0]))


def reshape(op: Op, shapes: Shapes) -> Shape:
    """The same elements in row-major order."""
    target = tuple(op["shape"])
    demand(prod(target) == prod(shapes[0]), op, f"{shapes[0]} cannot become {target}")
    return target


def transpose(op: Op, shapes: Shapes) -> Shape:
    """Axis i of the result is axis `permutation[i]` of x."""
    order = op["permutation"]
    demand(sorted(order) == list(range(len(shapes[0]))), op, f"{order} is no permutation")
    return tuple(shapes[0][axis] for axis in order)


def expand(op: Op, shapes: Shapes) -> Shape:
    """Repeated to `shape`, NumPy's broadcasting."""
    target = tuple(op["shape"])
    demand(broadcast(op, (shapes[0], target)) == target, op, f"{shapes[0]} cannot become {target}")
    return target


def resize(op: Op, shapes: Shapes) -> Shape:
    """Spatial axes sampled anew to `size`."""
    demand(op["mode"] in ("nearest", "linear"), op, f"mode {op['mode']!r} is unknown")
    demand(len(op["size"]) == len(shapes[0]) - 1, op, "size: one extent per spatial axis")
    return (shapes[0][0], *op["size"])


def gather(op: Op, shapes: Shapes) -> Shape:
    """`axis` of the table replaced by the shape of the indices."""
    table, indices = shapes
    _axis(op, table, op["axis"])
    return (*table[: op["axis"]], *indices, *table[op["axis"] + 1 :])
