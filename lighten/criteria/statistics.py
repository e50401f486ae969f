"""What the criteria look at: gradients and activations, for every layer in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lighten.core.task import Batch
from lighten.network.graph import Graph

Array = np.ndarray[Any, Any]
Loss = Callable[[Any, Any], Tensor]  # (what the network returned, the target) → scalar


@dataclass(frozen=True, eq=False)
class Statistics:
    """What was seen on the calibration batches.

    `products[parameter, dim]` is Σ w·∂loss/∂w over everything but `dim`, `[batches, n]` (signed,
    one row per batch). `inputs[layer]` is the mean |input| per channel of each weighted layer.
    `seed` feeds the random criterion.
    """

    products: Mapping[tuple[str, int], Array] = field(default_factory=dict)
    inputs: Mapping[str, Array] = field(default_factory=dict)
    seed: int = 0


def gather(
    graph: Graph, batches: Iterable[Batch], loss: Loss, samples: int = 32, seed: int = 0
) -> Statistics:
    """Run the batches once, `samples` at a time, forward and backward, in eval mode.

    The network's weights, gradients and modes are left as they were. `loss` gets what the network
    returns and the batch's target as tensors (`lighten.train.loss_of(task.loss)`).
    """
    module: nn.Module = graph.module
    parameters = {name: p for name, p in module.named_parameters() if p.is_floating_point()}
    rows: dict[tuple[str, int], list[Array]] = {}
    inputs: dict[str, list[Array]] = {}
    modes = [(part, part.training) for part in module.modules()]
    asked = [(p, p.requires_grad) for p in parameters.values()]
    hooks = [
        part.register_forward_pre_hook(_watch(name, inputs))
        for name, part in module.named_modules()
        if _channel_axis(part) is not None
    ]
    try:
        module.eval()
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        for batch in batches:
            for few in _split(batch, samples):
                target = tree_map(_tensor, few.target)
                value = loss(module(*(torch.from_numpy(x) for x in few.inputs)), target)
                _collect(value, parameters, rows)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, wanted in asked:
            parameter.requires_grad_(wanted)
        for part, mode in modes:
            part.training = mode
    return Statistics(
        {key: np.stack(found) for key, found in rows.items()},
        {name: np.mean(found, axis=0) for name, found in inputs.items()},
        seed,
    )


def _tensor(leaf: Any) -> Any:
    """An array as a tensor: integers as int64, floats as float32."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    whole = leaf.dtype.kind in "iu"
    return torch.from_numpy(np.ascontiguousarray(leaf, np.int64 if whole else np.float32))


def _split(batch: Batch, samples: int) -> Iterable[Batch]:
    """A batch in parts; whole where its target cannot be split alike."""
    target = batch.target
    if not isinstance(target, np.ndarray) or len(target) != len(batch):
        yield batch
        return
    for start in range(0, len(batch), samples):
        cut = slice(start, start + samples)
        yield Batch(tuple(np.ascontiguousarray(x[cut]) for x in batch.inputs), target[cut])


def _collect(
    loss: Tensor, parameters: Mapping[str, Tensor], rows: dict[tuple[str, int], list[Array]]
) -> None:
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    for (name, parameter), grad in zip(parameters.items(), grads, strict=True):
        product = torch.zeros_like(parameter) if grad is None else parameter.detach() * grad
        for dim in range(min(product.ndim, 2)):
            others = [d for d in range(product.ndim) if d != dim]
            total = product.sum(dim=others) if others else product
            rows.setdefault((name, dim), []).append(total.double().numpy())


def _channel_axis(module: nn.Module) -> int | None:
    """The axis of a layer's input that its weight reads: −1 for linear, 1 for convolutions."""
    if isinstance(module, nn.Linear):
        return -1
    return 1 if isinstance(module, nn.modules.conv._ConvNd) else None


def _watch(name: str, inputs: dict[str, list[Array]]) -> Callable[[nn.Module, Any], None]:
    def hook(module: nn.Module, given: Any) -> None:
        x = given[0].detach()
        axis = (_channel_axis(module) or 0) % x.ndim
        others = [d for d in range(x.ndim) if d != axis]
        inputs.setdefault(name, []).append(x.abs().mean(dim=others).double().numpy())

    return hook
