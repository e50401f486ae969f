"""A trained network, its data and a budget in; the network that meets it on this machine out.

    import lighten
    result = lighten.compress(net, lighten.data("builtin:digits"), lighten.Budget(latency="0.25x"))
    result.model, result.program, result.report

Names load on first use: `import lighten` alone brings none of torch, onnx, onnxruntime, openvino.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lighten.api import (
        Options,
        Result,
        apply,
        compile,
        compress,
        data,
        lower,
        measure_latency,
        network,
        space,
        trace,
        train,
    )
    from lighten.core.budget import Budget
    from lighten.core.recipe import Edit, Recipe, Training
    from lighten.core.task import Batch, Metric, Preprocess, Task
    from lighten.errors import LightenError

# public name → the module it lives in
NAMES = {
    "Batch": "lighten.core.task",
    "Budget": "lighten.core.budget",
    "Edit": "lighten.core.recipe",
    "LightenError": "lighten.errors",
    "Metric": "lighten.core.task",
    "Options": "lighten.api",
    "Preprocess": "lighten.core.task",
    "Recipe": "lighten.core.recipe",
    "Result": "lighten.api",
    "Task": "lighten.core.task",
    "Training": "lighten.core.recipe",
    "apply": "lighten.api",
    "compile": "lighten.api",
    "compress": "lighten.api",
    "data": "lighten.api",
    "lower": "lighten.api",
    "measure_latency": "lighten.api",
    "network": "lighten.api",
    "space": "lighten.api",
    "trace": "lighten.api",
    "train": "lighten.api",
}

__all__ = [
    "Batch",
    "Budget",
    "Edit",
    "LightenError",
    "Metric",
    "Options",
    "Preprocess",
    "Recipe",
    "Result",
    "Task",
    "Training",
    "__version__",
    "apply",
    "compile",
    "compress",
    "data",
    "lower",
    "measure_latency",
    "network",
    "space",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module 'lighten' has no attribute {name!r}")
    return getattr(import_module(NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
