"""What the lowering rules see: flows, constants, and the step that turns one node into ops.

A torch tensor in the trace has its batch on some axis; a program value has none. A `Flow` is the
pair: the value's name and per-sample shape, and where the batch lies in the torch tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lighten.program.ir import Op, Stored, Value


class Unsupported(Exception):
    """Why one node has no counterpart in a program."""


@dataclass(frozen=True)
class Layout:
    """Where the batch lies in a torch tensor.

    `axis` is the batch's own axis. Where a view merged it with neighbours, that axis holds
    `outer` × batch × `inner` entries, and the per-sample value keeps `outer` · `inner` of them.
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def merged(self) -> int:
        """Entries of the batch's axis that belong to one sample."""
        return self.outer * self.inner

    def sample(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The per-sample part of a torch shape."""
        kept = () if self.merged == 1 else (self.merged,)
        return (*shape[: self.axis], *kept, *shape[self.axis + 1 :])


@dataclass(frozen=True)
class Flow:
    """One value of the program, and where the batch lies in the torch tensor it stands for.

    `dtype` is torch's: a truth value is the real number 1 or 0 in the program.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout = Layout()
    dtype: torch.dtype = torch.float32

    @property
    def rank(self) -> int:
        """Dimensions of the torch tensor."""
        return len(self.shape) + (self.layout.merged == 1)

    def axis(self, dim: int) -> int:
        """The per-sample axis of torch dimension `dim`."""
        dim = dim % self.rank
        if self.layout.merged > 1:
            if dim == self.layout.axis:
                raise Unsupported("it works on a dimension that the batch is merged into")
            return dim
        if dim == self.layout.axis:
            raise Unsupported("it mixes the samples of a batch")
        return dim - (dim > self.layout.axis)


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that no input reaches; `name` is the parameter's, or the node's that made it.

    `batch` says where it was repeated once per sample, or is None. `counts`: it is instead the
    number of the sample, 0, 1, 2 …, along that axis.
    """

    tensor: Tensor
    name: str
    batch: Layout | None = None
    counts: bool = False

    def sample(self, rank: int, layout: Layout) -> np.ndarray[Any, Any]:
        """What one sample sees of it, as an operand of a torch result of `rank` dimensions whose
        batch lies at `layout`: it broadcasts against the per-sample result from the end.
        """
        array, at = numpy(self.tensor), layout.axis - (rank - self.tensor.ndim)
        if self.counts or (self.batch and (self.batch.axis != at or layout.outer != 1)):
            raise Unsupported("a constant differs between samples")
        if at < 0:
            return array
        if self.batch is None and array.shape[at] != 1:
            raise Unsupported("a constant differs between samples")
        merged = self.batch.merged if self.batch else 1
        if merged not in (1, layout.merged):
            raise Unsupported("a constant differs between samples")
        array = array.take(range(merged), axis=at)
        return np.asarray(array.squeeze(at)) if layout.merged == 1 else array


Operand = Flow | Constant


@dataclass
class Draft:
    """The program under construction. Names are unique over ops, values and arrays.

    `measured` names ops that hold at the example's size alone (`Program.measured`).
    """

    ops: list[Op] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    arrays: dict[str, Stored] = field(default_factory=dict)
    stored: dict[str, Tensor] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)

    def unique(self, name: str) -> str:
        """`name`, or `name#2`, `name#3`, … where it is taken."""
        count, free = 1, name
        while free in self.values or free in self.arrays:
            count += 1
            free = f"{name}#{count}"
        return free

    def store(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """Keep an array: floats as float32, integers as they are."""
        name = self.unique(name)
        if array.dtype.kind in "fb":
            array = array.astype(np.float32)
        self.arrays[name] = Stored(np.ascontiguousarray(array).reshape(array.shape))
        return name

    def constant(self, constant: Constant) -> str:
        """Keep a constant tensor, once however often it is read."""
        if self.stored.get(constant.name) is constant.tensor:
            return constant.name
        name = self.store(constant.name, numpy(constant.tensor))
        self.stored[name] = constant.tensor
        return name


def numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A detached copy on the CPU; bfloat16 and half come as float32."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return np.array(tensor.numpy())


@dataclass
class Step:
    """One node being lowered: what it reads and what it must give.

    `name` is the path its ops are named after. `shape` is the per-sample shape of the result
    (the first where there are several), `layout` its batch. `stated`: its numbers are those of a
    module of torch's own; others may have been measured on the example.
    """

    draft: Draft
    name: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]
    layout: Layout
    stated: bool = False

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    @property
    def rank(self) -> int:
        """Dimensions of the torch result."""
        return len(self.shape) + (self.layout.merged == 1)

    def flow(self, argument: str, *, leading: bool = False) -> Flow:
        """An argument that must flow; `leading`: with the batch on axis 0, unmerged."""
        operand = self.arguments[argument]
        if not isinstance(operand, Flow):
            raise Unsupported(f"its {argument} must depend on the input")
        if leading and operand.layout != Layout():
            raise Unsupported("the batch must be the first dimension")
        return operand

    def constant(self, argument: str) -> Tensor | None:
        """An argument that must not flow; None where it is absent."""
        operand = self.arguments.get(argument)
        if operand is None or isinstance(operand, Constant):
            return None if operand is None else operand.tensor
        raise Unsupported(f"its {argument} must be a constant")

    def weight(self, argument: str) -> str:
        """The stored name of a constant argument; "" where it is absent."""
        if self.constant(argument) is None:
            return ""
        return self.draft.constant(self.arguments[argument])

    def store(self, suffix: str, array: Any) -> str:
        """Keep an array of this step's own."""
        return self.draft.store(f"{self.name}.{suffix}", np.asarray(array))

    def emit(
        self, kind: str, inputs: Sequence[str], shape: Sequence[int], /, **attributes: Any
    ) -> Flow:
        """Append one op; its output is a new value of that per-sample shape."""
        name = self.draft.unique(self.name)
        sizes = tuple(int(size) for size in shape)
        self.draft.values[name] = Value(sizes)
        self.draft.ops.append(Op(kind, name, tuple(inputs), (name,), attributes))
        return Flow(name, sizes, self.layout)

    def measured(self, x: Flow, y: Flow) -> Flow:
        """`y`, which was made of `x` with numbers that hold at this size alone."""
        self.draft.measured.append(f"{self.name} at this size" if x.name == y.name else y.name)
        return y

    def reshape(self, x: Flow, shape: Sequence[int]) -> Flow:
        """The same numbers in the same order, in another per-sample shape."""
        if tuple(shape) == x.shape:
            return x
        if math.prod(shape) != math.prod(x.shape):
            raise Unsupported("it moves numbers from one sample to another")
        return self.emit("reshape", [x.name], shape, shape=tuple(shape))

    def unary(self, x: Flow, function: str, **parameters: float) -> Flow:
        """One function on every number."""
        return self.emit("unary", [x.name], x.shape, function=function, **parameters)

    def binary(self, a: Flow | str, b: Flow | str, function: str, shape: Sequence[int]) -> Flow:
        """Two operands, broadcast against each other; a string names a stored array."""
        names = [operand if isinstance(operand, str) else operand.name for operand in (a, b)]
        return self.emit("binary", names, shape, function=function)

    def reduce(self, x: Flow, function: str, axes: Sequence[int], keepdims: bool) -> Flow:
        """Mean, sum or max over per-sample axes."""
        gone = set(axes)
        shape = [
            1 if axis in gone else size
            for axis, size in enumerate(x.shape)
            if keepdims or axis not in gone
        ]
        attributes = {"axes": tuple(sorted(gone)), "keepdims": keepdims}
        return self.emit("reduce", [x.name], shape, function=function, **attributes)

    def transpose(self, x: Flow, permutation: Sequence[int]) -> Flow:
        """Per-sample axes in another order."""
        permutation = tuple(permutation)
        if permutation == tuple(range(len(permutation))):
            return x
        shape = [x.shape[axis] for axis in permutation]
        return self.emit("transpose", [x.name], shape, permutation=permutation)
