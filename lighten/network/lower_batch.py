"""Where the batch lies: what differs between a run on two samples and one on three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lighten.errors import InexactError
from lighten.network.lower_shapes import reshaped_layout
from lighten.network.lower_step import Constant, Flow, Layout, Unsupported

BATCHES = (2, 3)
LOST = object()  # a result that no program value can stand for; so is all that reads it


class PerBatch(int):
    """A size that follows the batch; its value is the one at a batch of two."""


def plain(two: Any, three: Any) -> Any:
    """A value that is no tensor; integers that follow the batch are marked."""
    if isinstance(two, int) and two != three:
        return PerBatch(two)
    return two


def constant(name: str, runs: tuple[Any, Any]) -> Any:
    """A result that no input reaches: the same for all samples, or repeated for each."""
    two, three = runs
    if isinstance(two, (tuple, list)):
        pairs = zip(two, three, strict=True)
        return [constant(f"{name}.{number}", pair) for number, pair in enumerate(pairs)]
    if two.shape == three.shape:
        if not torch.equal(two, three):
            raise Unsupported("it depends on the batch size")
        return Constant(two, name)
    axis = batch_axis(two.shape, three.shape)
    inner = two.shape[axis] // BATCHES[0]
    blocks = [*two.split(inner, axis), *three.split(inner, axis)]
    if all(torch.equal(block, blocks[0]) for block in blocks):
        return Constant(two, name, Layout(axis, 1, inner))
    numbers = torch.arange(BATCHES[1]).view([-1 if d == axis else 1 for d in range(three.ndim)])
    if not three.is_floating_point() and torch.equal(three, numbers.expand_as(three)):
        return Constant(two, name, Layout(axis), counts=True)
    raise Unsupported("it differs between samples without an input")


def batch_axis(two: Sequence[int], three: Sequence[int]) -> int:
    """The one dimension that follows the batch."""
    differ = [dim for dim, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(differ) != 1 or two[differ[0]] * BATCHES[1] != three[differ[0]] * BATCHES[0]:
        raise Unsupported("it mixes the samples of a batch")
    return differ[0]


def located(
    runs: tuple[Any, Any], flows: Sequence[Flow], source: Sequence[int] | None
) -> tuple[Layout, tuple[int, ...]]:
    """Where the batch lies in a result, and the result's per-sample shape.

    `source` is the torch shape that a view starts from; None where the op is no view.
    """
    two, three = tuple(runs[0].shape), tuple(runs[1].shape)
    axis = batch_axis(two, three)
    after = (*two[:axis], three[axis] - two[axis], *two[axis + 1 :])
    if source is not None:
        layout = reshaped_layout(flows[0].layout, source, after, axis)
    elif after[axis] == 1:
        layout = Layout(axis)
    else:
        merged = [flow.layout for flow in flows if flow.layout.merged == after[axis]]
        if not merged:
            raise Unsupported("it mixes the samples of a batch")
        layout = Layout(axis, merged[0].outer, merged[0].inner)
    return layout, layout.sample(after)


def settled(flow: Flow, place: tuple[Layout, tuple[int, ...]], dtype: torch.dtype) -> Flow:
    """The rule's result, which must have the shape that the trace saw."""
    layout, shape = place
    if flow.shape != shape:
        raise InexactError(f"{flow.name} was lowered to {flow.shape}, but the trace has {shape}.")
    return Flow(flow.name, shape, layout, dtype)


def supposed(name: str, runs: tuple[Any, Any]) -> Any:
    """What would stand for a result that cannot be lowered, so that what reads it is tried too."""
    if isinstance(runs[0], (tuple, list)):
        return [supposed(name, pair) for pair in zip(*runs, strict=True)]
    try:
        layout, shape = located(runs, (), None)
    except (Unsupported, AttributeError):
        return LOST
    return Flow(name, shape, layout, runs[0].dtype)
