"""How a network runs while it trains: number format and memory layout, chosen for speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lighten.errors import RecipeError

PRECISIONS = ("float32", "bfloat16")


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; where it only emulates it, it is slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in asked)


def precision_for(wanted: str, device: torch.device) -> str:
    """What training really computes in: bfloat16 only where asked for and native.

    Raises `RecipeError` for a precision that is not in `PRECISIONS`.
    """
    if wanted not in PRECISIONS:
        raise RecipeError(f"The precision must be one of {', '.join(PRECISIONS)}, got {wanted!r}.")
    return wanted if wanted == "bfloat16" and native_bfloat16(device) else "float32"


def _has_images(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    return any(x.ndim == 4 for x in inputs) and any(
        isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)) for part in module.modules()
    )


def _runs(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether the network runs in channels-last memory; a `view` of its own may forbid it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            module(*inputs)
    except RuntimeError:
        return False
    finally:
        for part, mode in modes:
            part.training = mode
    return True


@contextmanager
def channels_last(modules: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Iterator[bool]:
    """Lay convolutional networks out with channels innermost, and back at the end.

    Yields whether it was done: only where every network has 2-D convolutions and runs so.
    """
    wanted = all(_has_images(module, inputs) for module in modules)
    if wanted:
        images = [
            x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs
        ]
        _lay_out_(modules, torch.channels_last)
        wanted = all(_runs(module, images) for module in modules)
    if not wanted:
        _lay_out_(modules, torch.contiguous_format)
    try:
        yield wanted
    finally:
        _lay_out_(modules, torch.contiguous_format)


def _lay_out_(modules: Sequence[nn.Module], layout: torch.memory_format) -> None:
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=layout)
                tensor.grad = None
