"""What a Program costs: multiply-accumulates (row I1) and stored numbers, of what really runs."""

from __future__ import annotations

from math import prod

from lighten.program.ir import Op, Program


def op_macs(op: Op, program: Program) -> int:
    """Multiply-accumulates of one op on one sample; 0 for ops that do not multiply arrays."""
    if op.kind not in ("conv", "conv_transpose", "linear", "matmul", "recurrent"):
        return 0
    output = prod(program.values[op.output].shape)
    if op.kind == "matmul":
        return output * program.values[op.inputs[0]].shape[-1]
    weight = program.arrays[op.inputs[1]].shape
    if op.kind == "recurrent":
        steps, hidden = program.values[op.output].shape
        return steps * weight[0] * (weight[1] + hidden)
    if op.kind == "conv_transpose":
        return prod(program.values[op.inputs[0]].shape) * prod(weight[1:])
    return output * prod(weight[1:])


def macs(program: Program) -> int:
    """Multiply-accumulates of one sample."""
    return sum(op_macs(op, program) for op in program.ops)


def parameters(program: Program) -> int:
    """Numbers stored for the ops that run: weights, biases, and what BatchNorm became."""
    used = {name for op in program.ops for name in op.inputs}
    return sum(prod(array.shape) for name, array in program.arrays.items() if name in used)
