"""The executable form: a list of ops over arrays that know their number format and sparsity.

    values   what flows: name → shape, format, scale. An op computes in real numbers on decoded
             inputs; a result whose value has an integer format is rounded to it. So an int8
             network is the float one with formats written on its values, and "cast" changes format.
    arrays   what is stored: weights as codes with their format, scale and sparsity.

Shapes are per sample: the batch dimension is not written, every value has one.
`program.spec.KINDS` lists the op kinds and what each means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lighten.core.task import Preprocess
from lighten.formats.integer import FLOAT32, Float32, Scale
from lighten.formats.signs import Format


@dataclass(frozen=True)
class Value:
    """One thing that flows: per-sample shape (no batch), format, and its scale if integer."""

    shape: tuple[int, ...]
    format: Format = FLOAT32
    params: Scale | None = None


@dataclass(frozen=True)
class Sparsity:
    """Which entries may differ from zero: "dense", all of them; "unstructured", `density` of them;
    "block", whole blocks, `density` of these; "n:m", `density` of each block's entries.

    `block` is the extent of one block along each dimension of the array; unstructured: all ones.
    """

    kind: str = "dense"
    block: tuple[int, ...] = ()
    density: float = 1.0


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant: its codes, how to read them, and which of them are zero by construction."""

    codes: np.ndarray[Any, Any]
    format: Format = FLOAT32
    params: Scale | None = None
    sparsity: Sparsity = Sparsity()

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return tuple(self.codes.shape)

    def decode(self) -> np.ndarray[Any, Any]:
        """The real numbers it stands for (integer index tables come back as they are)."""
        if isinstance(self.format, Float32) or self.params is None:
            return self.codes
        decoded = self.format.decode(self.codes.astype(np.float32), self.params)
        return np.asarray(decoded, np.float32)


@dataclass(frozen=True)
class Op:
    """One step. `inputs` name values or stored arrays ("" where an optional one is absent).

    `name` is the module path of the layer it came from where there is one, and unique.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The only (or first) output."""
        return self.outputs[0]

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or `default` where it is absent."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, eq=False)
class Program:
    """A whole network, ready to run anywhere. Ops stand in an order in which they can run.

    `integers` names the inputs that arrive as whole numbers: token numbers, masks of 0 and 1.
    `measured` names ops whose numbers hold at the inputs' shapes that they have here alone, and
    what was measured where no op is left (adaptive pooling to the size that was there).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    values: Mapping[str, Value]
    arrays: Mapping[str, Stored]
    preprocess: Preprocess = field(default_factory=Preprocess)
    labels: tuple[str, ...] = ()
    origin: str = ""
    integers: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()

    def changed(self, **fields: Any) -> Program:
        """The same program with some fields replaced."""
        return replace(self, **fields)

    def op(self, name: str) -> Op:
        """The op of that name."""
        return next(op for op in self.ops if op.name == name)

    def producers(self) -> dict[str, Op]:
        """Value name → the op that makes it."""
        return {output: op for op in self.ops for output in op.outputs}

    def consumers(self) -> dict[str, list[Op]]:
        """Value name → the ops that read it, in order."""
        readers: dict[str, list[Op]] = {name: [] for name in self.values}
        for op in self.ops:
            for name in dict.fromkeys(op.inputs):
                if name in readers:
                    readers[name].append(op)
        return readers

    def stored(self, op: Op) -> Iterator[tuple[str, Stored]]:
        """The stored arrays an op reads."""
        return ((name, self.arrays[name]) for name in op.inputs if name in self.arrays)
