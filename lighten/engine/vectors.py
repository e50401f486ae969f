"""Linear layers on one vector whose weights are mostly zeros: the sparse product, where it pays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lighten.emit import Isa
from lighten.engine.choose import Choice
from lighten.kernels import sparse_linear
from lighten.kernels.layout import Halo
from lighten.program.ir import Program


def with_vectors(program: Program, isa: Isa, chosen: Mapping[str, Choice]) -> dict[str, Choice]:
    """The choices, those replaced that are predicted to take longer than their weights that are not
    zero.
    """
    found = dict(chosen)
    for op in program.ops:
        dense = chosen.get(op.name)
        if dense is None or op.kind not in ("conv", "linear") or dense.conv.batch > 1:
            continue
        if not sparse_linear.accepts(dense.conv, isa):
            continue
        weight = np.asarray(program.arrays[op.inputs[1]].decode())
        schedule = sparse_linear.schedule(weight, dense.conv)
        cycles = sparse_linear.cycles(dense.conv, schedule, isa)
        if cycles < dense.cycles:
            found[op.name] = Choice(dense.conv, sparse_linear, schedule, Halo(), cycles)
    return found


def skips_zeros(choice: Choice | None) -> bool:
    """Whether a layer has been given the sparse product."""
    return choice is not None and choice.kernel is sparse_linear
