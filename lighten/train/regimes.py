"""How a kind of network is usually trained: which optimiser, how fast, with how much decay."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn


@dataclass(frozen=True)
class Regime:
    """An optimiser's usual settings: `lr` from random weights, `gentle` from trained ones."""

    optimizer: str
    lr: float
    gentle: float
    weight_decay: float


SGD = Regime("sgd", lr=0.1, gentle=0.05, weight_decay=5e-4)
ADAMW = Regime("adamw", lr=1e-3, gentle=2e-4, weight_decay=0.01)
BRISK = Regime("adamw", lr=1e-3, gentle=1e-3, weight_decay=0.01)  # where no layer norm is
REGIMES = {regime.optimizer: regime for regime in (SGD, ADAMW)}


def regime(module: nn.Module, names_samples: bool = True) -> Regime:
    """SGD where every sample gets one class; AdamW for transformers, and for all other answers.

    A network is taken for a transformer where it normalises layers and never batches. Without
    batch statistics, or with losses of another scale, SGD's usual rates go wrong by orders of
    magnitude; where classes of pixels are rare, it ends in the most frequent one. AdamW's steps
    do not depend on the gradient's scale.

    >>> regime(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))).optimizer
    'adamw'
    """
    kinds = [kind.__name__ for part in module.modules() for kind in type(part).__mro__]
    if isinstance(module, fx.GraphModule):  # in which a class of one's own is only its operations
        kinds += [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    if any(_is(kind, "layernorm", "rmsnorm", "embedding") for kind in kinds) and not any(
        _is(kind, "batchnorm") for kind in kinds
    ):
        return ADAMW
    return SGD if names_samples else BRISK


def _is(kind: str, *names: str) -> bool:
    """Whether a class or operation is one of these: `LayerNorm`, `aten.layer_norm.default`."""
    return any(name in kind.replace("_", "").lower() for name in names)
