"""All that a deployment needs: a `model.lighten` loaded, compiled for this machine, called.

It stands on numpy and llvmlite alone: neither torch nor onnxruntime is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lighten import store
from lighten.core.task import Preprocess
from lighten.emit import bfloat16
from lighten.engine import Network, plan
from lighten.program.ir import Program

Array = np.ndarray[Any, Any]


class Model:
    """A program, compiled. Arrays `[n, …]` in, an array `[n, …]` out (a tuple where there are
    several); calls may run at the same time. Each runs on so many `threads`; with `bf16`, linear
    layers and convolutions may multiply in bfloat16.
    """

    def __init__(self, program: Program, threads: int = 1, bf16: bool = False) -> None:
        self.network = Network(plan(program, bfloat16.instructions(bf16)), threads)

    @property
    def program(self) -> Program:
        """What is run, as it was planned: some ops of the file are joined."""
        return self.network.program

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, where the file has them."""
        return self.program.labels

    @property
    def preprocess(self) -> Preprocess:
        """What turns stored pixels into the network's input."""
        return self.program.preprocess

    @property
    def interpreted(self) -> tuple[str, ...]:
        """The ops that no kernel runs, by name: the reference interpreter does, slowly."""
        return self.network.plan.interpreted

    def __call__(self, *inputs: Array) -> Any:
        """Run once. InputError where the inputs do not fit."""
        found = self.network(*inputs)
        return found[0] if len(found) == 1 else found

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]:
        """Median milliseconds per op name."""
        return self.network.profile(inputs, runs)


def load(path: str | os.PathLike[str], threads: int = 1, bf16: bool = False) -> Model:
    """The model in a `.lighten` file, run on one thread if nothing else is said: a server's own
    threads then do not wait for each other. ArtifactError where it is malformed.

    `bf16` lets it multiply in bfloat16 where that is faster: results are then off by up to a
    hundredth. InputError where the processor cannot.

    >>> from tempfile import mkdtemp
    >>> from lighten.program import Builder
    >>> b, file = Builder(), Path(mkdtemp()) / "model.lighten"
    >>> x = b.op("unary", b.input("x", (3,)), function="relu")
    >>> store.save(b.finish(x), file)
    >>> load(file)(np.array([[-1, 0, 2]], np.float32)).tolist()
    [[0.0, 0.0, 2.0]]
    """
    return Model(store.load(Path(path)), threads, bf16)
