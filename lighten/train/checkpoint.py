"""A training run on disk: tensors in safetensors, everything else as JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lighten.core.files import write_bytes
from lighten.core.recipe import Training
from lighten.errors import InputError

KEY = "lighten.run"


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and plain values to `path`, whole or not at all."""
    apart = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_bytes(path, safetensors.torch.save(apart, metadata={KEY: json.dumps(meta)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote. Raises `InputError` naming the file where it cannot be read."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})[KEY])
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is not a checkpoint of a training run.", "Remove it to start again."
        ) from error


def identity(training: Training, data: str, modules: Iterable[nn.Module]) -> str:
    """Names a run by how it trains, on what data, and from which weights."""
    digest = hashlib.sha256(json.dumps([asdict(training), data]).encode())
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def collect(modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor that decides how a run goes on, by name."""
    found = {f"module.{i}.{k}": t for i, m in enumerate(modules) for k, t in _state(m).items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if torch.is_tensor(value):
                found[f"optimizer.{index}.{slot}"] = value
    return found


def restore_(
    tensors: Mapping[str, Tensor], modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `collect` gathered, in the memory layout each parameter has now."""
    restore_modules_(tensors, modules)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        kind, index, slot = name.split(".", 2)
        if kind == "optimizer":
            like = parameters[int(index)]
            shaped = tensor.shape == like.shape
            kept = torch.empty_like(like).copy_(tensor) if shaped else tensor
            optimizer.state[like][slot] = kept


def restore_modules_(tensors: Mapping[str, Tensor], modules: Sequence[nn.Module]) -> None:
    """Put parameters and buffers back, in place."""
    with torch.no_grad():
        for i, module in enumerate(modules):
            for key, tensor in _state(module).items():
                tensor.copy_(tensors[f"module.{i}.{key}"])


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, also those that a state dict leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
