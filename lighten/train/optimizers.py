"""What turns gradients into steps: a table, and which parameters decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from lighten.core.recipe import Training
from lighten.errors import RecipeError

Groups = list[dict[str, Any]]
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _sgd(groups: Groups, training: Training) -> torch.optim.Optimizer:
    nesterov = training.momentum > 0
    return torch.optim.SGD(groups, training.lr, training.momentum, nesterov=nesterov)


def _adamw(groups: Groups, training: Training) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, training.lr, betas=(training.momentum, 0.999))


OPTIMIZERS: dict[str, Callable[[Groups, Training], torch.optim.Optimizer]] = {
    "sgd": _sgd,  # with Nesterov momentum
    "adamw": _adamw,  # Loshchilov & Hutter 2019; `momentum` is its first beta
}


def trainable(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that learn, each once, in the order of the modules."""
    found = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
    return list(found.values())


def decay_groups(modules: Sequence[nn.Module], weight_decay: float) -> Groups:
    """Two parameter groups: weights, which decay, and biases, norms and scalars, which do not."""
    exempt = {
        id(p)
        for module in modules
        for owner in module.modules()
        if isinstance(owner, NORMS)
        for p in owner.parameters(recurse=False)
    }
    parameters = trainable(modules)
    free = [p for p in parameters if p.ndim <= 1 or id(p) in exempt]
    kept = {id(p) for p in free}
    decayed = [p for p in parameters if id(p) not in kept]
    groups = [(decayed, weight_decay), (free, 0.0)]
    return [{"params": ps, "weight_decay": decay} for ps, decay in groups if ps]


def optimizer(modules: Sequence[nn.Module], training: Training) -> torch.optim.Optimizer:
    """The optimiser of `training.optimizer` over everything in `modules` that learns."""
    if training.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise RecipeError(f"The optimizer must be one of {known}, got {training.optimizer!r}.")
    groups = decay_groups(modules, training.weight_decay)
    if not groups:
        raise RecipeError(
            "The network must have parameters that learn, but got none.",
            "Set requires_grad on some, or ask for epochs=0.",
        )
    return OPTIMIZERS[training.optimizer](groups, training)
