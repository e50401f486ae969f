"""An ONNX file as a `Program`: what was stored as integers stays so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lighten.errors import InputError
from lighten.network.lower import lower
from lighten.network.onnx_in.net import OnnxNet
from lighten.program.ir import Program, Stored
from lighten.program.spec import check


def to_program(net: OnnxNet, example: Sequence[Tensor] = ()) -> Program:
    """The network lowered, with the codes, formats and scales of the file's integer weights.

    `example` gives the inputs' shapes where the file leaves them open, batch first.
    """
    program = lower(net, tuple(example) or examples(net))
    arrays = dict(program.arrays)
    for name, (codes, form, scale) in net.coded.items():
        stored = arrays.get(name)
        coded = Stored(np.ascontiguousarray(codes), form, scale)
        if stored is not None and np.array_equal(stored.codes, coded.decode()):
            arrays[name] = replace(coded, sparsity=stored.sparsity)
    return check(program.changed(arrays=arrays))


def examples(net: OnnxNet, batch: int = 1) -> tuple[Tensor, ...]:
    """Zeros of the shapes in the file; InputError where one is open."""
    made: list[Tensor] = []
    for name in net.inputs:
        shape, dtype = net.shapes[name]
        if not all(shape[1:]):
            raise InputError(
                f"The ONNX file leaves the shape of its input {name!r} open: {list(shape)}.",
                "Give --data, whose samples have a shape, or --input 3x224x224.",
            )
        made.append(torch.zeros(batch, *shape[1:], dtype=dtype))
    return tuple(made)
