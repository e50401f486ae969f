"""Writing vector code in Python: values, loops and tiles become LLVM IR, then machine code.

types         what a value is: float32, integers, pointers, vectors of them
isa           the instruction sets: lanes, registers, features; which of them this machine has
instructions  what a vector instruction is called, and what it means (NumPy; run in tests)
value         something computed, with the operators of Python
function      one function being written: values, loads and stores, loops
lanes         what happens across the lanes of a register: parts, sums, tiles turned
atomic        what threads say to each other through memory, and loops that wait for it
bfloat16      pairs of bfloat16 in words: rounding to them, and their products
integers      bytes in words: widened, narrowed, and the dot product of four
bits          signs in words: how many differ
build         IR text to callable machine code; compiled objects are kept on disk (`cache`)
"""

from lighten.emit import atomic, bfloat16, bits, integers, lanes
from lighten.emit.build import Library, build, llvm_version, reload
from lighten.emit.function import Function
from lighten.emit.isa import ISAS, Isa, features, host
from lighten.emit.types import F32, I8, I32, I64, POINTER, Type, vector
from lighten.emit.value import Index, Tile, Value

__all__ = [
    "F32",
    "I8",
    "I32",
    "I64",
    "ISAS",
    "POINTER",
    "Function",
    "Index",
    "Isa",
    "Library",
    "Tile",
    "Type",
    "Value",
    "atomic",
    "bfloat16",
    "bits",
    "build",
    "features",
    "host",
    "integers",
    "lanes",
    "llvm_version",
    "reload",
    "vector",
]
