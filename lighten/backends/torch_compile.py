"""torch.compile (inductor) for inference: a peer to measure against, its weights constants.

What the eager backend runs is traced and compiled once for the shapes of a call. Seconds to minutes
go by, in a C++ compiler mostly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch._inductor.config as inductor
from torch import Tensor
from torch._inductor.cpp_builder import get_cpp_compiler
from torch.fx.experimental.proxy_tensor import make_fx

from lighten.backends.eager import Eager, Interpreted, on_threads
from lighten.backends.names import REST
from lighten.errors import InputError, UnsupportedOps
from lighten.program.ir import Program

Array = np.ndarray[Any, Any]
Shapes = tuple[torch.Size, ...]


class Compiled:
    """A compiled program: arrays `[n, …]` in, a tuple of arrays `[n, …]` out.

    Compiled at the first call with inputs of a shape. InputError where inductor fails.
    """

    def __init__(self, program: Program, threads: int) -> None:
        self.threads = threads
        self._eager = Interpreted(program, threads)
        self._runs: dict[Shapes, Callable[..., list[Tensor]]] = {}

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """The outputs, in the program's order."""
        with torch.inference_mode(), on_threads(self.threads):
            given = tuple(self._eager.arrived(inputs).values())
            shapes = tuple(x.shape for x in given)
            if shapes not in self._runs:
                self._runs[shapes] = self._compiled(given)
            found = self._runs[shapes](*given)
        return tuple(y.numpy() for y in found)

    def _compiled(self, given: tuple[Tensor, ...]) -> Callable[..., list[Tensor]]:
        """The program for inputs of these shapes; the code has `threads` written into it."""
        with inductor.patch(freezing=True):
            try:
                run = torch.compile(make_fx(self._outputs)(*given), dynamic=False)
                run(*given)
            except Exception as error:  # a type per stage, none of them public
                raise InputError(
                    f"torch.compile fails here: {_cause(error)}.", "Choose another --backend."
                ) from error
        return run

    def _outputs(self, *given: Tensor) -> list[Tensor]:
        program = self._eager.program
        found = self._eager.run(dict(zip(program.inputs, given, strict=True)), program.outputs)
        return [found[name] for name in program.outputs]

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> dict[str, float]:
        """The median of whole calls under `names.REST`: ops are fused past telling apart."""
        taken = []
        for _ in range(runs):
            began = perf_counter()
            self(*inputs)
            taken.append(1e3 * (perf_counter() - began))
        return {REST: float(np.median(taken))}


class TorchCompile:
    """torch.compile of what the eager backend runs."""

    name = "torch.compile"
    joins = False

    def missing(self, program: Program) -> Sequence[str]:
        """The ops that the eager backend cannot run."""
        return Eager().missing(program)

    def load(self, data: bytes, threads: int = 1) -> Compiled:
        """Refused: it runs Programs, not files."""
        raise InputError(
            "torch.compile runs networks, but got an ONNX file.",
            "Choose --backend onnxruntime or openvino.",
        )

    def compile(self, program: Program, threads: int = 1) -> Compiled:
        """The program, to be compiled at its first call. UnsupportedOps where some op has no
        counterpart in torch; InputError where there is no C++ compiler.
        """
        missing = self.missing(program)
        if missing:
            raise UnsupportedOps(self.name, missing)
        try:
            get_cpp_compiler()
        except RuntimeError as error:
            raise InputError(
                "torch.compile needs a C++ compiler, but found none.",
                "Install g++, or name a compiler in the variable CXX.",
            ) from error
        return Compiled(program, threads)


def _cause(error: BaseException) -> str:
    """The first line of what failed first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".")
