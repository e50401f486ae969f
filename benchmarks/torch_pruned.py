"""Torch-Pruning at a given number of MACs, in the one way that leaves ResNet-20 intact.

It corrupts zero-padded shortcuts (its issue 64), so the layers on the residual stream are left
alone; widths inside the blocks are cut globally, in multiples of four, and the result is checked
against the original with those channels silenced.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from peers import SAMPLES, Array, module
from torch import nn
from torch.nn import functional as F

from lighten import train
from lighten.core.task import Batch, Task
from lighten.errors import LightenError
from lighten.network import lower
from lighten.program import cost

IMPORTANCES = ("GroupMagnitudeImportance", "GroupTaylorImportance")
MULTIPLE = 4  # channels: what widths are rounded to
EXACT = 1e-4
HALVINGS = 10


@dataclass(frozen=True)
class Cut:
    """A cut network, its MACs, and which output channels of which layer went."""

    net: nn.Module = field(repr=False)
    macs: int
    removed: Mapping[str, frozenset[int]]


def pruned(net: nn.Module, task: Task, macs: int, streams: Sequence[str]) -> nn.Module:
    """A copy of `net` cut to about `macs`, by the importance that keeps more on `valid`.

    `streams` names the layers on the residual stream.
    """
    kept = {}
    for importance in IMPORTANCES:
        cut = at_macs(net, task, macs, importance, streams)
        check_masked(net, cut, task)
        accuracy = train.quality(cut.net, task.valid(), task.metric)
        print(
            f"Torch-Pruning, {importance}: {cut.macs / 1e6:.2f} M MACs for {macs / 1e6:.2f} M, "
            f"{accuracy:.2f} on valid before fine-tuning"
        )
        kept[accuracy] = cut.net
    return kept[max(kept)]


def macs_of(net: nn.Module, task: Task) -> int:
    """Multiply-accumulates of one sample, counted as ours are."""
    return int(cost.macs(lower(net, task.example(2))))


def at_macs(net: nn.Module, task: Task, macs: int, importance: str, streams: Sequence[str]) -> Cut:
    """The cut whose MACs are nearest to `macs`: its ratio is found by bisection."""
    gradients = gradients_of(net, task.calibration(SAMPLES)) if "Taylor" in importance else {}
    low, high = 0.0, 1.0
    found = []
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        copied = copy.deepcopy(net).eval()
        for name, parameter in copied.named_parameters():
            parameter.grad = gradients.get(name)
        removed = cut_(copied, task.example(1)[0], middle, importance, streams)
        copied.zero_grad(set_to_none=True)
        found.append(Cut(copied, macs_of(copied, task), removed))
        low, high = (middle, high) if found[-1].macs > macs else (low, middle)
    return min(found, key=lambda cut: abs(cut.macs - macs))


def cut_(
    net: nn.Module, example: Array, ratio: float, importance: str, streams: Sequence[str]
) -> dict[str, frozenset[int]]:
    """Cut `ratio` of the channels that may go out of `net`; which ones, by layer."""
    tool = module("torch_pruning")
    names = {part: name for name, part in net.named_modules()}
    pruner = tool.pruner.BasePruner(
        net,
        torch.from_numpy(example),
        importance=getattr(tool.importance, importance)(),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[p for p, n in names.items() if n in streams or isinstance(p, nn.Linear)],
        round_to=MULTIPLE,
    )
    removed = {}
    for group in pruner.step(interactive=True):
        removed[names[group[0].dep.target.module]] = frozenset(int(i) for i in group[0].idxs)
        group.prune()
    return removed


def gradients_of(net: nn.Module, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    """The loss's gradient on calibration samples by parameter, which Taylor reads."""
    learner = copy.deepcopy(net).eval()
    for batch in batches:
        logits = learner(torch.from_numpy(batch.inputs[0]))
        F.cross_entropy(logits, torch.as_tensor(batch.target).long()).backward()
    return {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}


def check_masked(net: nn.Module, cut: Cut, task: Task) -> None:
    """Raise `LightenError` unless the cut network answers as the one with silenced channels."""
    masked = copy.deepcopy(net).eval()
    x = torch.from_numpy(task.example(8)[0])
    with torch.no_grad():
        for name, channels in cut.removed.items():
            reader = masked.get_submodule(name.replace("conv1", "conv2"))
            reader.get_parameter("weight")[:, sorted(channels)] = 0
        wanted, found = masked(x), cut.net.eval()(x)
    worst = float((wanted - found).abs().max() / wanted.abs().max())
    if worst > EXACT:
        raise LightenError(
            f"Torch-Pruning's network must answer as the masked one, but differs by {worst:.2g}."
        )
