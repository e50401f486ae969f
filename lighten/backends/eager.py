"""The Program interpreted in torch: the oracle the other backends are compared with.

It computes in float32 on decoded numbers and rounds every value that has an integer format, as
`program.interpret` does in plain NumPy, but fast enough to calibrate and score with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lighten.backends.eager_ops import TABLE
from lighten.errors import InputError, ProgramError, UnsupportedOps
from lighten.formats.integer import Float32, Integer, Scale
from lighten.formats.signs import Binary
from lighten.program.interpret import last_reads
from lighten.program.ir import Op, Program, Value
from lighten.program.spec import integer_values, operands, weights

Array = np.ndarray[Any, Any]
SPATIAL = ("conv", "conv_transpose", "pool", "resize")
MOST_AXES = 3  # torch convolves over at most three spatial axes


class Eager:
    """Runs any Program, op by op.

    >>> from lighten.program.build import Builder
    >>> b = Builder()
    >>> doubled = b.finish(b.op("binary", *[b.input("x", (2,))] * 2, function="add"))
    >>> Eager().compile(doubled)(np.ones((1, 2), np.float32))[0].tolist()
    [[2.0, 2.0]]
    """

    name = "eager"
    joins = False
    skips_zeros = False

    def missing(self, program: Program) -> Sequence[str]:
        """The ops it cannot run, each with what about it."""
        return [f"{op.kind} {op.name}" for op in program.ops if not _runs(op, program)]

    def load(self, data: bytes, threads: int = 1) -> Interpreted:
        """Refused: it runs Programs, not files."""
        raise InputError(
            "The eager backend runs networks, but got an ONNX file.",
            "Choose --backend onnxruntime or openvino.",
        )

    def compile(self, program: Program, threads: int = 1) -> Interpreted:
        """The program with its weights decoded. UnsupportedOps where some op has no counterpart."""
        missing = self.missing(program)
        if missing:
            raise UnsupportedOps(self.name, missing)
        return Interpreted(program, threads)


def _runs(op: Op, program: Program) -> bool:
    axes = len(program.values[op.output].shape) - 1
    return op.kind in TABLE and (op.kind not in SPATIAL or 1 <= axes <= MOST_AXES)


def activations(program: Program, *inputs: Array, keep: Collection[str]) -> dict[str, Array]:
    """The values named in `keep`, `[n, …]` each, as real numbers.

    It takes what `program.interpret.activations` takes, so calibration can run here instead: much
    faster, with as many threads as torch has.
    """
    return Eager().compile(program, torch.get_num_threads()).activations(*inputs, keep=keep)


@dataclass(frozen=True)
class Line:
    """One op, ready to run: `given` are its operands (names, or constants), `held` its weights."""

    op: Op
    given: tuple[str | Tensor, ...]
    held: tuple[Tensor | None, ...]
    rounding: tuple[Integer | Binary, Scale] | None
    finished: tuple[str, ...]


class Interpreted:
    """A compiled program: arrays `[n, …]` in, a tuple of arrays `[n, …]` out."""

    def __init__(self, program: Program, threads: int = 1) -> None:
        self.program = program
        self.threads = threads
        self._whole = integer_values(program)
        self._inputs = {name: _rounding(program.values[name]) for name in program.inputs}
        arrays = {name: _tensor(stored.decode()) for name, stored in program.arrays.items()}
        last = last_reads(program)
        self._lines = tuple(
            Line(
                op,
                tuple(arrays[name][None] if name in arrays else name for name in operands(op)),
                tuple(arrays[name] if name else None for name in weights(op)),
                _rounding(program.values[op.output]),
                tuple(name for name in dict.fromkeys(operands(op)) if last[name] == at),
            )
            for at, op in enumerate(program.ops)
        )

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """The outputs, in the program's order."""
        found = self.activations(*inputs, keep=self.program.outputs)
        return tuple(found[name] for name in self.program.outputs)

    def activations(self, *inputs: Array, keep: Collection[str]) -> dict[str, Array]:
        """The values named in `keep`, `[n, …]` each, as real numbers."""
        with torch.inference_mode(), on_threads(self.threads):
            found = self.run(self.arrived(inputs), keep)
        return {name: found[name].numpy() for name in keep}

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> dict[str, float]:
        """Median milliseconds per op, of `runs` calls."""
        taken: dict[str, list[float]] = {line.op.name: [] for line in self._lines}
        with torch.inference_mode(), on_threads(self.threads):
            for _ in range(runs):
                self.run(self.arrived(inputs), (), taken)
        return {name: float(np.median(times)) for name, times in taken.items()}

    def arrived(self, inputs: Sequence[Array]) -> dict[str, Tensor]:
        """Inputs as tensors, checked against the program and rounded to their formats."""
        names = self.program.inputs
        if len(inputs) != len(names):
            raise ProgramError(f"The program takes {len(names)} input(s), but got {len(inputs)}.")
        tensors = {}
        for (name, rounding), x in zip(self._inputs.items(), inputs, strict=True):
            shape = self.program.values[name].shape
            if x.shape[1:] != shape:
                wanted = ", ".join(map(str, ("n", *shape)))
                raise ProgramError(f"Input {name!r} must be [{wanted}], but got {list(x.shape)}.")
            dtype = np.int64 if name in self._whole else np.float32
            tensors[name] = _rounded(torch.from_numpy(np.ascontiguousarray(x, dtype)), rounding)
        return tensors

    def run(
        self,
        flowing: dict[str, Tensor],
        keep: Collection[str],
        taken: dict[str, list[float]] | None = None,
    ) -> dict[str, Tensor]:
        """The values named in `keep`, from those in `flowing`, which is used up; `taken` is given
        each op's milliseconds.
        """
        kept = {name: x for name, x in flowing.items() if name in keep}
        for line in self._lines:
            began = perf_counter()
            given = [flowing[x] if isinstance(x, str) else x for x in line.given]
            y = _rounded(TABLE[line.op.kind](line.op, *given, *line.held), line.rounding)
            flowing[line.op.output] = y
            if taken is not None:
                taken[line.op.name].append(1e3 * (perf_counter() - began))
            if line.op.output in keep:
                kept[line.op.output] = y
            for name in line.finished:
                flowing.pop(name, None)
        return kept


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Torch limited to `count` threads inside the block."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


def _tensor(array: Array) -> Tensor:
    """A weight as float32, an index table as integers."""
    whole = np.issubdtype(array.dtype, np.integer)
    return torch.from_numpy(np.array(array, np.int64 if whole else np.float32))


def _rounding(value: Value) -> tuple[Integer | Binary, Scale] | None:
    """The format to round to, with its scale as tensors; the batch stands before its axis."""
    if isinstance(value.format, Float32) or value.params is None:
        return None
    params = value.params
    scale = torch.from_numpy(np.array(params.scale, np.float32))
    zero = torch.from_numpy(np.array(params.zero_point, np.float32))
    axis = None if params.axis is None else params.axis + 1
    return value.format, replace(params, scale=scale, zero_point=zero, axis=axis)


def _rounded(x: Tensor, rounding: tuple[Integer | Binary, Scale] | None) -> Tensor:
    if rounding is None:
        return x
    form, params = rounding
    rounded: Tensor = form.decode(form.encode(x, params), params)
    return rounded
