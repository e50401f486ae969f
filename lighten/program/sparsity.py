"""How many zeros a program's weights hold, and what could be skipped for them (row C11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lighten.program.cost import op_macs
from lighten.program.ir import Op, Program
from lighten.program.spec import weights

LAYERS = ("conv", "conv_transpose", "linear")


@dataclass(frozen=True)
class Zeros:
    """One layer: weights, how many are zero, and its multiplications, whole and without these."""

    layer: str
    weights: int
    zeros: int
    macs: int
    left: int

    @property
    def sparsity(self) -> float:
        """The share of zeros: 1 − nnz/n."""
        return self.zeros / self.weights


def zeros(program: Program) -> tuple[Zeros, ...]:
    """Every layer with its zeros, in order.

    Every weight of a layer is multiplied equally often, so what is left of its multiplications is
    the share of weights that are not zero. A dense kernel does them all the same.
    """
    return tuple(_zeros(program, op) for op in program.ops if op.kind in LAYERS)


def _zeros(program: Program, op: Op) -> Zeros:
    stored = program.arrays[weights(op)[0]].decode()
    size, filled = stored.size, int(np.count_nonzero(stored))
    macs = op_macs(op, program)
    return Zeros(op.name, size, size - filled, macs, macs * filled // size)


def sparsity(program: Program) -> float:
    """The share of zeros among all weights of layers."""
    found = zeros(program)
    return sum(layer.zeros for layer in found) / max(1, sum(layer.weights for layer in found))
