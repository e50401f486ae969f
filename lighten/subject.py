"""What is looked at: an ONNX file, a program in a .lighten file, a run's folder, or a network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lighten import data, store
from lighten.core.progress import Progress, silent
from lighten.core.protocols import Backend, Executable
from lighten.core.task import Preprocess, Task
from lighten.errors import InputError, NetworkError
from lighten.program import onnx_out
from lighten.program.ir import Program

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Subject:
    """What is looked at: an ONNX file, or a live network (then `net` is there).

    `prefers` is the backend a run's folder was made for. An ONNX file is timed and scored as it
    is; where layers are asked for, it is read as a network.
    """

    name: str
    task: Task | None
    shapes: tuple[tuple[int, ...], ...]
    file: bytes | None = field(default=None, repr=False)
    net: Any = field(default=None, repr=False)
    prefers: str = ""
    path: Path | None = None
    stored: Program | None = field(default=None, repr=False)

    @cached_property
    def module(self) -> Any:
        """The live network. NetworkError where only a program was stored."""
        if self.stored is not None:
            raise NetworkError(
                f"{self.name} holds a program, from which a network cannot be taken apart.",
                "Give the NETWORK or .onnx file that it was built from.",
            )
        if self.net is None and self.path is not None:
            from lighten.network.onnx_in import read_onnx

            return read_onnx(self.path)
        return self.net

    @cached_property
    def program(self) -> Program:
        """The network as a Program."""
        if self.stored is not None:
            return self._described(self.stored)
        from lighten.network import lower

        task = self.task
        if self.net is None:
            import torch

            from lighten.network.onnx_in import to_program

            read = to_program(self.module, tuple(map(torch.from_numpy, self.inputs(2))))
            return self._described(read)
        preprocess = task.preprocess if task else Preprocess()
        labels = task.labels if task else ()
        return lower(self.module, self.inputs(2), preprocess=preprocess, labels=labels)

    def _described(self, program: Program) -> Program:
        """With the data's labels and preprocessing, where there is data."""
        if self.task is None:
            return program
        return program.changed(preprocess=self.task.preprocess, labels=self.task.labels)

    def inputs(self, batch: int) -> tuple[Array, ...]:
        """What it is timed on: valid samples, or seeded noise where there is no data."""
        if self.task is not None:
            return self.task.example(batch)
        rng = np.random.default_rng(0)
        return tuple(rng.standard_normal((batch, *s), np.float32) for s in self.shapes)

    def executable(self, backend: Backend, threads: int) -> Executable:
        """It, compiled in a backend."""
        if self.file is not None:
            return backend.load(self.file, threads)
        return backend.compile(self.program, threads)


def open_model(
    model: str,
    weights: Path | None = None,
    data_spec: str | None = None,
    skip_corrupt: int = 0,
    progress: Progress = silent,
    shape: str | None = None,
) -> Subject:
    """What MODEL names: an .onnx or .lighten file, a run's folder, or a NETWORK with its weights.

    Raises `NetworkError` where it cannot be found or no input shape is known.
    """
    task = data.load(data_spec, skip_corrupt=skip_corrupt, progress=progress) if data_spec else None
    path = Path(model)
    if path.suffix == ".lighten":
        program = store.load(path)
        return Subject(model, task, _input_shapes(program), stored=program, prefers="native")
    if path.is_dir() or path.suffix == ".onnx":
        return _onnx(model, path, task)
    from lighten import api

    net = api.load_network(model, weights=weights, task=task)
    shapes = _shapes(model, task, shape)
    return Subject(model, task, shapes, net=net)


def _input_shapes(program: Program) -> tuple[tuple[int, ...], ...]:
    return tuple(program.values[name].shape for name in program.inputs)


def _onnx(model: str, path: Path, task: Task | None) -> Subject:
    file = path / "model.onnx" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NetworkError(
            f"{file} cannot be read: {error.strerror}.", "Give an .onnx file or a run's folder."
        ) from error
    summary = path / "summary.json"
    prefers = json.loads(summary.read_text()).get("backend", "") if summary.exists() else ""
    shapes = onnx_out.input_shapes(content)
    return Subject(model, task, shapes, file=content, prefers=prefers, path=file)


def _shapes(model: str, task: Task | None, shape: str | None) -> tuple[tuple[int, ...], ...]:
    if task is not None:
        return tuple(x.shape[1:] for x in task.example(1))
    if shape is not None:
        try:
            return (tuple(int(side) for side in shape.split("x")),)
        except ValueError as error:
            raise InputError(f"--input must look like 3x32x32, but got {shape!r}.") from error
    if model.startswith("zoo:"):
        from lighten import zoo

        return (zoo.TABLE[model.removeprefix("zoo:").split("?")[0]].input_shape,)
    raise InputError(f"The input shape of {model} is not known.", "Give --input 3x32x32 or --data.")
