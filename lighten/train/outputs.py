"""Between NumPy batches and what networks return: tensors, dicts and tuples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from lighten.core.task import Batch
from lighten.errors import NetworkError


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` on every leaf of nested dicts, tuples and lists; lists become tuples."""
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(mapped(item, change) for item in value)
    return change(value)


def tensors(value: Any, device: torch.device) -> Any:
    """Targets as tensors: integers as int64, floats as float32; a list of numbers is one array."""
    if isinstance(value, Mapping):
        return {key: tensors(item, device) for key, item in value.items()}
    if isinstance(value, tuple) or (isinstance(value, list) and not _all_numbers(value)):
        return tuple(tensors(item, device) for item in value)
    if value is None or isinstance(value, (str, bytes)):
        return value
    tensor = torch.as_tensor(value)
    if tensor.dtype != torch.bool:
        tensor = tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64)
    return tensor.to(device)


def _all_numbers(items: list[Any]) -> bool:
    return all(isinstance(item, (int, float, np.number)) for item in items)


def inputs_of(batch: Batch, device: torch.device, channels_last: bool) -> tuple[torch.Tensor, ...]:
    """The inputs of a batch on `device`; images in the layout the network runs in."""
    found = []
    for array in batch.inputs:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
        if channels_last and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        found.append(tensor)
    return tuple(found)


def widened(value: Any) -> Any:
    """Every floating-point tensor as float32: losses are never taken in bfloat16."""
    return mapped(value, lambda t: t.float() if torch.is_tensor(t) and t.is_floating_point() else t)


def arrays(value: Any) -> Any:
    """Every tensor as a NumPy array."""
    return mapped(value, lambda t: t.detach().cpu().numpy() if torch.is_tensor(t) else t)


def logits_of(outputs: Any) -> torch.Tensor:
    """The answer among a network's outputs.

    A tensor is the answer itself; in a dict it is `"logits"`, else the only tensor; in a tuple it
    is the first tensor. Raises `NetworkError` where none of these is there.
    """
    if torch.is_tensor(outputs):
        return outputs
    if isinstance(outputs, Mapping):
        found = [t for t in outputs.values() if torch.is_tensor(t)]
        answer = outputs.get("logits", found[0] if len(found) == 1 else None)
        if torch.is_tensor(answer):
            return answer
    elif isinstance(outputs, (tuple, list)):
        for item in outputs:
            if torch.is_tensor(item):
                return item
    keys = f" with keys {sorted(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
    raise NetworkError(
        "The network's output must be a tensor, a tuple that holds one, or a dict with 'logits', "
        f"but got {type(outputs).__name__}{keys}.",
        "Wrap the network, or give the task a loss that reads these outputs.",
    )
