"""The proof on every run: a cut network equals the masked one, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from lighten.errors import InexactError
from lighten.network.graph import Graph
from lighten.network.lift import as_examples
from lighten.network.surgery import Keep, cut, masked, sliced
from lighten.network.trace import coupling_of


def check_exact(
    graph: Graph, keep: Keep, drop: Sequence[str], example: Any, tolerance: float = 1e-5
) -> float:
    """The largest relative difference max|a − b| / max|b| between the cut and the masked network,
    over outputs and the gradients of every kept parameter; computed in float64, in eval mode.

    InexactError, naming the worst place, where it exceeds `tolerance`.
    """
    # with gradients: in backward torch 2.13 crashes at a GroupNorm of a channels-last input without
    inputs = tuple(
        value.double().detach().requires_grad_() if value.is_floating_point() else value
        for value in as_examples(example)
    )
    small = doubled(cut(graph, keep, drop)).eval()
    large = doubled(masked(graph, keep, drop)).eval()
    errors = dict(_differences(small, large, inputs, graph, keep))
    worst = max(errors, key=errors.__getitem__)
    if not errors[worst] <= tolerance:
        raise InexactError(
            f"The cut network differs from the masked one by {errors[worst]:.3g} in {worst}, "
            f"more than {tolerance:g}.",
            "Leave the layers around it alone with --ignore, and please report this network.",
        )
    return errors[worst]


def doubled(module: fx.GraphModule) -> fx.GraphModule:
    """The module itself in float64, with the casts to float32 in its code."""
    for node in module.graph.nodes:
        node.args = _wider(node.args)
        node.kwargs = _wider(node.kwargs)
    module.recompile()
    return module.double()


def _wider(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_wider(item) for item in value)
    if isinstance(value, dict):
        return {key: _wider(item) for key, item in value.items()}
    return torch.float64 if value is torch.float32 else value


def _differences(
    small: nn.Module, large: nn.Module, inputs: tuple[Tensor, ...], graph: Graph, keep: Keep
) -> Iterator[tuple[str, float]]:
    """(place, relative difference) of the outputs and of every parameter's gradient."""
    ours, theirs = _outputs(small, inputs), _outputs(large, inputs)
    floor = 1e-12
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        yield f"output {index}", _relative(a, b, floor)
    for values, net in ((ours, small), (theirs, large)):
        loss = _loss(values)
        if loss.requires_grad:  # not where no parameter is trainable, or none reaches an output
            loss.backward()  # type: ignore[no-untyped-call]
        del net
    coupling = coupling_of(graph)
    gone = coupling.gone(keep)
    full = dict(large.named_parameters(remove_duplicate=False))
    scale = max((float(p.grad.abs().max()) for p in full.values() if p.grad is not None), default=0)
    for name, parameter in small.named_parameters():
        other = full[name].grad
        if parameter.grad is None or other is None:
            if parameter.grad is not None or other is not None:
                yield f"the gradient of {name}", float("inf")
            continue
        expected = sliced(other, coupling.parameters.get(name, ()), gone)
        yield f"the gradient of {name}", _relative(parameter.grad, expected, 1e-6 * scale)


def _outputs(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    found = [value for value in pytree.tree_leaves(net(*inputs)) if isinstance(value, Tensor)]
    return [value for value in found if value.is_floating_point()]


def _loss(values: Sequence[Tensor]) -> Tensor:
    """A fixed random projection, so that no gradient cancels."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        (value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum()
        for value in values
    ]
    return torch.stack(parts).sum()


def _relative(a: Tensor, b: Tensor, floor: float) -> float:
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    return float((a - b).detach().abs().max() / max(float(b.detach().abs().max()), floor, 1e-30))
