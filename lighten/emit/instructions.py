"""Vector instructions: what LLVM calls each, and what it means. The meaning is run in the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Instruction:
    """An intrinsic of LLVM on vectors of one type, and the same on NumPy arrays."""

    intrinsic: str
    operands: int
    meaning: Callable[..., Array]


def _fma(a: Array, b: Array, c: Array) -> Array:
    wide = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
    return np.asarray(wide, a.dtype)


INSTRUCTIONS: Mapping[str, Instruction] = {
    "fma": Instruction("llvm.fma", 3, _fma),
    "maximum": Instruction("llvm.maximum", 2, np.maximum),
    "minimum": Instruction("llvm.minimum", 2, np.minimum),
    "sqrt": Instruction("llvm.sqrt", 1, np.sqrt),
    "absolute": Instruction("llvm.fabs", 1, np.abs),
    "copysign": Instruction("llvm.copysign", 2, np.copysign),
    "floor": Instruction("llvm.floor", 1, np.floor),
    "nearest": Instruction("llvm.rint", 1, np.rint),
    # the C library's, lane by lane
    "log": Instruction("llvm.log", 1, np.log),
    "sin": Instruction("llvm.sin", 1, np.sin),
    "cos": Instruction("llvm.cos", 1, np.cos),
    "pow": Instruction("llvm.pow", 2, np.power),
}
