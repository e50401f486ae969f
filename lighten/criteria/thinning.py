"""What a network loses when one layer is thinned: its sensitivity to each density (C5, C9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lighten.formats.projections import Pattern, mask


def losses(
    module: nn.Module,
    inputs: Sequence[tuple[Tensor, ...]],
    layers: Sequence[str],
    pattern: Pattern,
    offered: Sequence[float],
) -> dict[str, list[float]]:
    """Layer → for each density the squared change of the answers, relative to their variance.

    One layer at a time keeps its largest weights and nothing is trained; afterwards every weight
    has its bits again. `inputs` are batches; the module gives one tensor.
    """
    module.eval()
    with torch.no_grad():
        answers = [module(*batch) for batch in inputs]
        spread = torch.cat([answer.reshape(-1) for answer in answers]).var().clamp(min=1e-12)
        found: dict[str, list[float]] = {}
        for name in layers:
            found[name] = []
            for density in offered:
                with thinned(module.get_submodule(name), pattern, density):
                    changes = [
                        (module(*batch) - answer).square().mean()
                        for batch, answer in zip(inputs, answers, strict=True)
                    ]
                found[name].append(float(torch.stack(changes).mean() / spread))
    return found


@contextmanager
def thinned(layer: nn.Module, pattern: Pattern, density: float) -> Iterator[None]:
    """The layer with its largest weights alone, inside the block."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    whole = weight.detach().clone()
    weight.mul_(mask(whole.abs().cpu(), pattern, density).to(weight))
    try:
        yield
    finally:
        weight.copy_(whole)
