"""How good a network's answers are, sample by sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lighten.core.task import Batch, Metric, correct
from lighten.errors import DataError
from lighten.train.outputs import arrays, inputs_of, logits_of, widened

Array = np.ndarray[Any, Any]


def device_of(module: nn.Module) -> torch.device:
    """Where the module's first parameter or buffer lives; the CPU where it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def judging(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, without gradients; every part gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def logits(module: nn.Module, batches: Iterable[Batch]) -> Array:
    """The network's answers `[n, …]` in float32, over all batches in order."""
    device = device_of(module)
    with judging(module):
        found = [arrays(widened(logits_of(module(*inputs_of(b, device, False))))) for b in batches]
    if not found:
        raise DataError("There must be at least one batch to judge by, but got none.")
    return np.concatenate(found)


def rows(module: nn.Module, batches: Iterable[Batch], metric: Metric) -> Array:
    """One row of statistics per sample, `[n]` or `[n, k]`: `metric.reduce` turns them into one.

    Accuracy reads the answer among the outputs; a metric of your own gets all of them as arrays.
    """
    device = device_of(module)
    found = []
    with judging(module):
        for batch in batches:
            outputs = widened(module(*inputs_of(batch, device, False)))
            judged = logits_of(outputs) if metric.rows is correct else outputs
            found.append(np.asarray(metric.rows(arrays(judged), batch.target)))
    if not found:
        raise DataError("There must be at least one batch to judge by, but got none.")
    return np.concatenate(found)


def quality(module: nn.Module, batches: Iterable[Batch], metric: Metric) -> float:
    """The metric over all batches, in its unit."""
    return float(metric.reduce(rows(module, batches, metric)))
