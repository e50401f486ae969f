"""The executable form of a network: a list of ops, its spec, and what can be done with it.

ir          Program, Op, Value, Stored      build      writing one down op by op
spec        KINDS, check, infer             show       one op per line
interpret   the reference, in NumPy         fuse       fewer ops, the same function
resized     the same at other input shapes
quantize    int8 after training             onnx_out   ONNX, float or QDQ int8
integers    int8 in whole numbers           emulate    running that in NumPy
cost        multiply-accumulates, stored numbers
"""

from lighten.program.build import Builder, empty
from lighten.program.fuse import fuse
from lighten.program.interpret import activations, interpret
from lighten.program.ir import Op, Program, Sparsity, Stored, Value
from lighten.program.onnx_out import read_metadata, to_onnx
from lighten.program.quantize import (
    bias_correction,
    observe,
    quantizable,
    quantization,
)
from lighten.program.resized import resized
from lighten.program.show import show
from lighten.program.spec import KINDS, check, infer

__all__ = [
    "KINDS",
    "Builder",
    "Op",
    "Program",
    "Sparsity",
    "Stored",
    "Value",
    "activations",
    "bias_correction",
    "check",
    "empty",
    "fuse",
    "infer",
    "interpret",
    "observe",
    "quantizable",
    "quantization",
    "read_metadata",
    "resized",
    "show",
    "to_onnx",
]
