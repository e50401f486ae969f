"""The meaning of every op kind, in plain NumPy: what other ways of running are compared with.

Each function takes the op and its inputs. Operands are `[n, …]`, or `[1, …]` where a stored array
stands for the same constant in every sample; weights are as stored; absent ones are None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lighten.program.reference import dense, elementwise, moves, recurrent, sliding

REFERENCE: Mapping[str, Callable[..., Any]] = {
    "conv": sliding.conv,
    "conv_transpose": sliding.conv_transpose,
    "pool": sliding.pool,
    "linear": dense.linear,
    "matmul": dense.matmul,
    "recurrent": recurrent.recurrent,
    "affine": dense.affine,
    "group_norm": dense.group_norm,
    "layer_norm": dense.layer_norm,
    "softmax": dense.softmax,
    "reduce": dense.reduce,
    "unary": elementwise.unary,
    "binary": elementwise.binary,
    "where": elementwise.where,
    "concat": moves.concat,
    "slice": moves.slice_,
    "pad": moves.pad,
    "reshape": moves.reshape,
    "transpose": moves.transpose,
    "expand": moves.expand,
    "resize": moves.resize,
    "gather": moves.gather,
    "cast": moves.cast,
}
