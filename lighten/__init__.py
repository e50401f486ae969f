"""A trained network, its data and a budget in; the network that meets it on this machine out.

    import lighten
    task = lighten.load_task("builtin:digits")
    result = lighten.compress(net, task, lighten.Budget(latency="0.25x", drop=0.5))
    result.model, result.program, result.report, result.front
    model = lighten.load("model.lighten")  # what `lighten build` wrote; numpy in, numpy out

The steps in between are `lighten.api`: trace, space, search, apply, train, lower, compile, measure.
Names load on first use: `import lighten` alone brings none of torch, onnx, onnxruntime, openvino.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lighten import metrics
    from lighten.api import (
        Options,
        Result,
        apply,
        compile,
        compress,
        from_onnx,
        load_network,
        load_task,
        lower,
        open,
        space,
        trace,
    )
    from lighten.core.budget import Budget
    from lighten.core.recipe import Edit, Recipe, Training
    from lighten.core.task import Batch, Metric, Preprocess, Task
    from lighten.errors import LightenError
    from lighten.runtime import load

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
    "from_onnx": "lighten.api",
    "load": "lighten.runtime",
    "load_network": "lighten.api",
    "load_task": "lighten.api",
    "lower": "lighten.api",
    "metrics": "lighten.metrics",
    "open": "lighten.api",
    "space": "lighten.api",
    "trace": "lighten.api",
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
    "from_onnx",
    "load",
    "load_network",
    "load_task",
    "lower",
    "metrics",
    "open",
    "space",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module 'lighten' has no attribute {name!r}")
    module = import_module(NAMES[name])
    return module if NAMES[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
