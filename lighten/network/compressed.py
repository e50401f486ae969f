"""Layers and values as they learn in a compressed form: weights masked and rounded, values rounded.

The numbers that learn stay dense and real; what is computed with follows from them in every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lighten.errors import NetworkError
from lighten.formats.integer import Integer, Scale
from lighten.formats.projections import Pattern, mask
from lighten.network.fake_quantize import fake_quantize
from lighten.program.ir import Sparsity, Stored

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
WHOLE_BITS = 8  # from here on, no weight need saturate
LEAST_STEP = 1e-4  # of the layer's largest step: a filter of zeros must have one, too
TINY = 1e-8
MOST_CHANGE = 0.1  # of a learned step's logarithm, in one step at a learning rate of 1


class Rounded(nn.Module):
    """A value rounded to `form`, its step learned (LSQ, Esser et al. 2020, section 2)."""

    ARGUMENTS = ("scale", "zero", "bits", "signed", "symmetric", "axis")
    axis = -1  # one step for the whole value

    def __init__(self, form: Integer, params: Scale) -> None:
        super().__init__()
        self.form = form
        self.bits, self.signed, self.symmetric = int(form.bits), form.signed, form.symmetric
        self.step = nn.Parameter(torch.as_tensor(np.log(np.float32(params.scale))))
        self.register_buffer("zero", torch.as_tensor(np.float32(params.zero_point)))

    def forward(self, x: Tensor) -> Tensor:
        size = x.numel() // x.shape[0]
        return fake_quantize(x, self.form, self.params(), gain(size, self.form))

    @property
    def scale(self) -> Tensor:
        """The step: a positive number."""
        return learned_step(self.step)

    def params(self) -> Scale:
        """Scale and zero point."""
        return Scale(self.scale, self.zero)


class Compressed(nn.Module):
    """A convolution or linear layer whose weight is masked, rounded, or both.

    Of 8 bits, steps follow the largest weight of each output channel; fewer bits learn them, since
    there it pays to saturate. `mask` is one where a weight is in use. While `regrows` a gradient
    reaches masked weights as well (straight through, damped), so that they may come back; else it
    is masked, too.
    """

    mask: Tensor

    def __init__(self, layer: nn.Module, form: Integer | None = None) -> None:
        super().__init__()
        if not isinstance(layer, LAYERS):
            raise NetworkError(
                f"Only convolutions and linear layers can be compressed, "
                f"but got {type(layer).__name__}."
            )
        self.layer, self.form = layer, form
        self.pattern: Pattern | None = None
        self.regrows = True
        self.register_buffer("mask", torch.ones_like(layer.weight))
        learns = form is not None and form.bits < WHOLE_BITS
        self.step = nn.Parameter(first_steps(layer.weight, form).log()) if form and learns else None

    def forward(self, x: Tensor) -> Tensor:
        return computed(self.layer, x, self.weight())

    def weight(self) -> Tensor:
        """What is computed with: real numbers on the grid, zero where masked."""
        w = self.masked()
        if self.form is None:
            return w
        size = w.numel() // w.shape[0]
        return fake_quantize(w, self.form, self.params(), gain(size, self.form))

    def masked(self) -> Tensor:
        """The weight, zero where masked."""
        w = self.layer.weight
        if self.pattern is None:
            return w
        kept = w * self.mask
        return kept + self.regrowth(w) if self.regrows else kept

    def regrowth(self, w: Tensor) -> Tensor:
        """Zeros, through which a gradient reaches what is masked: of each filter as much as the
        share of its norm that is not masked.

        A norm after the layer divides by what little is left of a filter, and multiplies gradients
        by as much: undamped, the weights behind a filter of zeros explode and take every mask.
        """
        with torch.no_grad():
            whole, left = (x.flatten(1).norm(dim=1) for x in (w, w * self.mask))
            share = left / whole.clamp(min=torch.finfo(w.dtype).tiny)
            damped = (1 - self.mask) * share.reshape(-1, *(1,) * (w.ndim - 1))
        zeros: Tensor = (w - w.detach()) * damped
        return zeros

    def params(self) -> Scale:
        """One scale per output channel; zero in the middle."""
        assert self.form is not None
        if self.step is not None:
            scale = learned_step(self.step)
        else:
            w = self.masked().detach().float()
            largest = w.abs().amax(tuple(range(1, w.ndim))) / self.form.high
            scale = torch.maximum(largest, largest.amax() * LEAST_STEP + TINY)
        return Scale(scale, torch.zeros_like(scale), 0)

    def thin_(self, scores: Tensor, density: float) -> None:
        """Mask all but `density` of the blocks with the largest scores."""
        assert self.pattern is not None
        found = mask(scores.detach().cpu(), self.pattern, density)
        self.mask.copy_(found)

    def stored(self) -> Stored:
        """The weight as it ships: codes, their scale, and how sparse they are."""
        with torch.no_grad():
            w = self.masked().float().cpu().numpy()
        if self.form is None:
            return Stored(w, sparsity=self.sparsity())
        own = self.params()
        scale = own.scale.detach().float().cpu().numpy()
        params = Scale(scale, np.zeros_like(scale), 0)
        codes = self.form.encode(w, params).astype(self.form.dtype)
        return Stored(codes, self.form, params, self.sparsity())

    def sparsity(self) -> Sparsity:
        """What the mask leaves, as the pattern counts it."""
        if self.pattern is None:
            return Sparsity()
        extents = self.pattern.extents(self.mask.ndim)
        if self.pattern.kind == "n:m":
            return Sparsity("n:m", extents, float(self.mask.mean()))
        kept = self.mask[tuple(slice(None, None, extent) for extent in extents)]
        return Sparsity(self.pattern.kind, extents, float(kept.mean()))


def at(module: nn.Module, path: str) -> tuple[nn.Module, str, nn.Module]:
    """The module at `path`, with its owner and its name there. Raises `NetworkError`."""
    parent, _, leaf = path.rpartition(".")
    try:
        owner = module.get_submodule(parent)
        return owner, leaf, owner.get_submodule(leaf)
    except AttributeError as error:
        raise NetworkError(
            f"{path!r} must be a module, so that it can learn in its compressed form.",
            "Make it a layer of torch.nn, or leave it as it is.",
        ) from error


def computed(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """What the layer makes of `x` with another weight."""
    bias: Any = layer.bias
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    y: Tensor = layer._conv_forward(x, weight, bias)  # type: ignore[operator]
    return y


def gain(size: int, form: Integer) -> float:
    """What a step's gradient is scaled by: 1/√(N·Q), N numbers in Q positive levels."""
    return float((size * max(form.high, 1)) ** -0.5)


class _Exponential(torch.autograd.Function):
    """eᵘ, with a gradient for u that is the relative change LSQ asks of the step, bounded."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        scale = u.float().exp()  # as it ships, whatever the network computes in
        ctx.save_for_backward(scale)
        ctx.dtype = u.dtype
        return scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (scale,) = ctx.saved_tensors
        change: Tensor = (gradients[0] / scale).clamp(-MOST_CHANGE, MOST_CHANGE)
        return change.to(ctx.dtype)


def learned_step(u: Tensor) -> Tensor:
    """The step eᵘ of a learned u: always positive, and never far from where it was.

    LSQ moves a step s by −lr·∂L/∂s. At the rates that weights need, that takes small steps through
    zero within an epoch; so u = log s moves by the relative change, at most lr·MOST_CHANGE.
    """
    scale: Tensor = _Exponential.apply(u)  # type: ignore[no-untyped-call]
    return scale


def first_steps(weight: Tensor, form: Integer) -> Tensor:
    """For each output channel the step of least squared error among forty up to the largest."""
    w = weight.detach().float()
    flat = w.reshape(len(w), -1)
    whole = np.asarray(form.fit(w.cpu().numpy(), axis=0).scale)
    best = torch.as_tensor(whole, device=w.device)
    least = torch.full_like(best, torch.inf)
    for share in np.linspace(0.2, 1.0, 41):
        step = best.new_tensor(whole * share)
        params = Scale(step, torch.zeros_like(step), 0)
        error = (form.decode(form.encode(flat, params), params) - flat).square().sum(1)
        best = torch.where(error < least, step, best)
        least = torch.minimum(error, least)
    return best


def compressed(module: nn.Module) -> dict[str, Compressed]:
    """The compressed layers of a network, by path."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Compressed)}


def roundings(module: nn.Module) -> dict[str, Rounded]:
    """The rounded values of a network, by path."""
    return {name: part for name, part in module.named_modules() if isinstance(part, Rounded)}


def weight_format(bits: int) -> Integer:
    """Weights of `bits` bits: symmetric, the most negative code unused."""
    if not 2 <= bits <= 8:
        raise NetworkError(f"A weight must have 2 to 8 bits, but got {bits}.")
    return Integer(bits, signed=True, symmetric=True)
