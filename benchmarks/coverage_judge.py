"""Is a pruned network right? One judge for every library: pruned must equal masked.

A library that prunes leaves out numbers of the original's weights. All numbers of a tensor are made
distinct first, so which of them are left is read from the pruned weights themselves, whatever the
library says that it did. Masked is the original with the numbers that left set to zero; where the
pruning was consistent, whoever reads a channel that is gone has lost the weights that read it too,
so both must give the same answers, in float64, to rounding.

What no zeros can imitate is granted apart: a LayerNorm, GroupNorm or RMSNorm over fewer channels
has other statistics, and attention in narrower heads another scale. A network that equals the
original masked *with those norms and scales as the pruned one has them* took the right channels
everywhere; it is "renormalised".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from lighten.network.exact import doubled

EXACT = 1e-5  # max |pruned − masked| / max |masked|; some networks cast to float32 inside
BLIND = 1e-3  # the masked network must differ from the original by more, or nothing is seen
FAINT = 0.01  # of the variance that a layer would pass on unchanged
Call = Callable[[nn.Module, tuple[Tensor, ...]], object]


@dataclass(frozen=True)
class Verdict:
    """What came of pruning one network.

    `word` is "exact", "renormalised", "wrong", "crash", "unfinished", "uncut" (nothing was removed)
    or "blind" (the answers do not depend on what was removed); `error` is the largest relative
    difference to the masked network; `covered` the share of convolution and linear MACs in layers
    that lost weights and `removed` the share of parameters; `why` says more.
    """

    word: str
    error: float = 0.0
    covered: float = 0.0
    removed: float = 0.0
    why: str = ""

    @property
    def right(self) -> bool:
        """Whether the pruned network may be used."""
        return self.word in ("exact", "renormalised")


def prepare_(net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Make every parameter's numbers distinct and let BatchNorms see data, so that no signal dies.

    A constant parameter (a new norm's weight, a tiny layer scale) would hide what is done to it,
    and so would a last layer that starts almost at zero.
    """
    with torch.no_grad():
        for parameter in net.parameters():
            flat = parameter.detach().flatten()
            if flat.numel() > 1 and float(flat.max() - flat.min()) == 0.0:
                noise = torch.rand_like(flat) if float(flat[0]) else 0.1 * torch.randn_like(flat)
                flat = noise + 0.5 if float(flat[0]) else noise
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
            if fan_in and float(flat.square().mean()) * fan_in < FAINT:
                flat = torch.randn_like(flat) * fan_in**-0.5
            parameter.copy_(distinct(flat).view_as(parameter))
        norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None
            norm.train()
        for _ in range(2 if norms else 0):
            net(*inputs)
    net.eval()


def distinct(values: Tensor) -> Tensor:
    """The nearest float32 numbers of which no two are equal. Shape [n] to [n].

    >>> distinct(torch.tensor([1.0, 2.0, 1.0])).unique().numel()
    3
    """
    ordered, order = values.float().sort()
    bits = ordered.view(torch.int32).long()
    steps = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    index = torch.arange(len(steps))
    steps = (steps - index).cummax(0).values + index
    bits = torch.where(steps < 0, -steps - 2**31, steps).int()
    return torch.empty_like(ordered).index_copy_(0, order, bits.view(torch.float32))


def left_of(before: Tensor, after: Tensor) -> Tensor:
    """Which numbers of `before` are still in `after`. Shape as `before`, bool."""
    if before.shape == after.shape and bool((before == after).all()):
        return torch.ones_like(before, dtype=torch.bool)
    block = rectangle(before, after)
    if block is not None:
        return block
    ordered, order = before.flatten().sort()
    place = torch.searchsorted(ordered, after.flatten()).clamp_(max=len(ordered) - 1)
    if not bool((ordered[place] == after.flatten()).all()):
        raise ValueError("the weights that are left were changed")
    left = torch.zeros(before.numel(), dtype=torch.bool)
    left[order[place]] = True
    return left.view(before.shape)


def rectangle(before: Tensor, after: Tensor) -> Tensor | None:
    """The same where whole slices are gone, found by one line along each dimension; else None."""
    corner = (before == after.flatten()[0]).nonzero()
    if len(corner) != 1 or before.ndim != after.ndim:
        return None
    left, part = torch.ones_like(before, dtype=torch.bool), before
    for dim in range(before.ndim):
        line = before[tuple(slice(None) if d == dim else corner[0][d] for d in range(before.ndim))]
        there = after[tuple(slice(None) if d == dim else 0 for d in range(before.ndim))]
        stays = torch.isin(line, there)
        part = part.index_select(dim, stays.nonzero().flatten())
        left &= stays.view([-1 if d == dim else 1 for d in range(before.ndim)])
    return left if torch.equal(part, after) else None


def leavings(original: nn.Module, small: nn.Module) -> dict[str, Tensor]:
    """Parameter name → which of its numbers are left; parameters that nobody reads may be gone."""
    there = dict(small.named_parameters(remove_duplicate=False))
    return {
        name: left_of(value.detach(), there[name].detach())
        for name, value in original.named_parameters(remove_duplicate=False)
        if name in there
    }


def masked(original: nn.Module, left: Mapping[str, Tensor]) -> nn.Module:
    """The original in float64 with the numbers that left set to zero."""
    large = copy.deepcopy(original).double().eval()
    with torch.no_grad():
        for name, value in large.named_parameters(remove_duplicate=False):
            if name in left:
                value.mul_(left[name])
    return large


def judge(
    original: nn.Module, small: nn.Module, inputs: tuple[Tensor, ...], call: Call | None = None
) -> Verdict:
    """Compare `small` with the masked original. Raises what `small` raises when it is called."""
    run = call or (lambda net, given: net(*given))
    left = leavings(original, small)
    total = sum(value.numel() for value in original.parameters())
    removed = 1 - sum(value.numel() for value in small.parameters()) / total
    if all(bool(mask.all()) for mask in left.values()):
        return Verdict("uncut")
    covered = coverage(original, left, inputs, run)
    wide = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    found = answers(widened(small), wide, run)
    large = masked(original, left)
    wanted = answers(large, wide, run)
    error = difference(found, wanted)
    if error <= EXACT:
        whole = answers(copy.deepcopy(original).double().eval(), wide, run)
        word = "exact" if difference(whole, wanted) > BLIND else "blind"
        return Verdict(word, error, covered, removed)
    if narrow_(large, left):
        granted = difference(found, answers(large, wide, run))
        if granted <= EXACT:
            return Verdict("renormalised", error, covered, removed)
        error = granted
    why = "" if error < float("inf") else "the outputs have other shapes"
    return Verdict("wrong", error, covered, removed, why)


def widened(small: nn.Module) -> nn.Module:
    """The pruned network in float64, with the casts that a traced one has in its code."""
    return (doubled(small) if isinstance(small, fx.GraphModule) else small.double()).eval()


def answers(net: nn.Module, inputs: tuple[Tensor, ...], run: Call) -> list[Tensor]:
    """All floating-point outputs."""
    with torch.no_grad():
        found = [y for y in tree_leaves(run(net, inputs)) if isinstance(y, Tensor)]
    return [y for y in found if y.is_floating_point()]


def difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest max |a − b| / max |b|; infinite where shapes differ."""
    if [y.shape for y in found] != [y.shape for y in wanted]:
        return float("inf")
    pairs = zip(found, wanted, strict=True)
    errors = [float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs]
    return max((float("inf") if isnan(e) else e for e in errors), default=0.0)


def coverage(
    net: nn.Module, left: Mapping[str, Tensor], inputs: tuple[Tensor, ...], run: Call
) -> float:
    """The share of convolution, linear and projection MACs in layers that lost weights."""
    macs: dict[str, int] = {}

    def seen(name: str, module: nn.Module, given: tuple[Tensor, ...], result: object) -> None:
        for key, count in macs_of(name, module, given, result).items():
            macs[key] = macs.get(key, 0) + count

    hooks = [
        module.register_forward_hook(lambda m, x, y, n=name: seen(n, m, x, y))
        for name, module in net.named_modules()
    ]
    with torch.no_grad():
        run(net, inputs)
    for hook in hooks:
        hook.remove()
    lost = {name for name, mask in left.items() if not bool(mask.all())}
    return sum(n for name, n in macs.items() if name in lost) / max(1, sum(macs.values()))


def macs_of(
    name: str, module: nn.Module, inputs: tuple[Tensor, ...], result: object
) -> dict[str, int]:
    """Weight name → multiply-accumulates of one call of this module."""
    if not inputs:
        return {}
    given = inputs[0]
    if isinstance(module, nn.MultiheadAttention):
        tokens, width = given.numel() // given.shape[-1], module.embed_dim
        base = tokens * width * width
        return {f"{name}.in_proj_weight": 3 * base, f"{name}.out_proj.weight": base}
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return {f"{name}.weight": given.numel() * weight[0].numel()}
    if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and isinstance(result, Tensor):
        return {f"{name}.weight": result.numel() * weight[0].numel()}
    return {}


# ── what is granted ───────────────────────────────────────────────────────────────────────────


def narrow_(large: nn.Module, left: Mapping[str, Tensor]) -> bool:
    """Give the masked network the norms and attention scales of the pruned one. Whether any was."""
    found = False
    for name, module in list(large.named_modules()):
        mask = left.get(f"{name}.weight")
        kind = type(module).__name__
        if isinstance(module, nn.MultiheadAttention):
            found |= rescale_(module, left[f"{name}.out_proj.weight"])
        elif mask is None or bool(mask.all()) or mask.ndim != 1:
            continue
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)) or kind.endswith("RMSNorm"):
            owner, _, leaf = name.rpartition(".")
            setattr(large.get_submodule(owner), leaf, Narrow(module, mask))
            found = True
    return found


def rescale_(attention: nn.MultiheadAttention, left: Tensor) -> bool:
    """Divide by the root of the width that is left of a head, not of the original one."""
    width = int(left.any(0).sum())
    if width == attention.embed_dim:
        return False
    with torch.no_grad():
        scale = (attention.embed_dim / width) ** 0.5
        attention.in_proj_weight[: attention.embed_dim].mul_(scale)
        attention.in_proj_bias[: attention.embed_dim].mul_(scale)
    return True


class Narrow(nn.Module):
    """A norm over the channels that are left; zeros elsewhere."""

    def __init__(self, norm: nn.Module, left: Tensor) -> None:
        super().__init__()
        self.norm, self.place = norm, left.nonzero().flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Shape as `x`."""
        dim = 1 if isinstance(self.norm, nn.GroupNorm) or "2d" in type(self.norm).__name__ else -1
        first = type(self.norm).__name__ == "LayerNorm2d"
        part = x.index_select(dim, self.place)
        made = self.normalised(part.movedim(1, -1) if first else part)
        made = made.movedim(-1, 1) if first else made
        return torch.zeros_like(x).index_copy_(dim, self.place, made)

    def normalised(self, part: Tensor) -> Tensor:
        """The norm of the channels that are left."""
        norm = self.norm
        weight = norm.weight[self.place]
        bias = None if getattr(norm, "bias", None) is None else norm.bias[self.place]
        if isinstance(norm, nn.GroupNorm):
            return F.group_norm(part, norm.num_groups, weight, bias, norm.eps)
        if isinstance(norm, nn.LayerNorm):
            return F.layer_norm(part, (len(self.place),), weight, bias, norm.eps)
        epsilon = getattr(norm, "variance_epsilon", None) or getattr(norm, "eps", 1e-6)
        return F.rms_norm(part, (len(self.place),), weight, epsilon)
