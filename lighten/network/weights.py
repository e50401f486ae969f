"""Weights: from a file into a network, from a network into a file that carries no code."""

from __future__ import annotations

import hashlib
import pickletools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lighten.core.files import write_bytes
from lighten.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys that training scripts put around it
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before names
SHOWN = 5


def load_weights(net: nn.Module, path: Path | str) -> None:
    """Fill `net` with the weights at `path`; on any error nothing of `net` has changed.

    Reads safetensors, or a state dict that torch.save wrote (alone, or under "state_dict"), of
    which no code is run. WeightsError where the file cannot be read, does not fit (which names),
    or holds a number that is not finite.
    """
    path = Path(path)
    weights = _without_prefix(_state_dict(path), net)
    _check_fit(net, weights, path)
    _check_finite(weights, path)
    net.load_state_dict(weights, strict=False)


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".onnx":
        raise WeightsError(
            f"{path} is an ONNX model, from which weights cannot be matched to layers.",
            "Give the safetensors or the state dict it was exported from.",
        )
    if not path.is_file():
        raise WeightsError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty.")
    found = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(f"{path} must hold a state dict, but holds {type(found).__name__}.")
    odd = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        kind = type(found[odd[0]]).__name__
        raise WeightsError(f"{path} must map names to tensors, but {odd[0]!r} is a {kind}.")
    return {str(name): value for name, value in found.items()}


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {said(error)}.") from error


def _pickled(path: Path) -> Any:
    """What torch.save wrote, read by the unpickler that makes tensors and nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked or _is_plain_pickle(path):
            what = blocked[1] if blocked else "a pickle of anything"
            raise WeightsError(
                f"{path} was refused: reading it would run code ({what}).",
                "Save the weights alone, with torch.save(net.state_dict(), FILE) or as "
                "safetensors; a file that asks for this may be an attack.",
            ) from error
        raise WeightsError(
            f"{path} is not a whole file of weights ({type(error).__name__}).",
            "Copy or save it again.",
        ) from error


def _is_plain_pickle(path: Path) -> bool:
    """Whether the file is one pickle from end to end, by its instructions; none is carried out."""
    try:
        with path.open("rb") as file:
            return all(True for _ in pickletools.genops(file))
    except (ValueError, IndexError, UnicodeDecodeError):
        return False


def _without_prefix(weights: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        wanted = any(name.startswith(prefix) for name in net.state_dict())
        if not wanted and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _check_fit(net: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    own = net.state_dict()
    # older files lack the batch counter of BatchNorm, which nothing here reads
    missing = [n for n in own if n not in weights and not n.endswith("num_batches_tracked")]
    extra = [n for n in weights if n not in own]
    shapes = [
        f"{n} (must be {list(own[n].shape)}, but got {list(weights[n].shape)})"
        for n in own
        if n in weights and own[n].shape != weights[n].shape
    ]
    faults = [
        f"{kind}: {_some(names)}"
        for kind, names in (("missing", missing), ("unexpected", extra), ("shape", shapes))
        if names
    ]
    if faults:
        raise WeightsError(
            f"{path} does not fit {type(net).__name__}: {'; '.join(faults)}.",
            "Give the weights of this very network, or the options it was built with.",
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(value.isnan().any()) else "infinite values"
            raise WeightsError(f"{path} holds {what} in {name}.", "Train again, or give others.")


def save_weights(module: nn.Module, path: Path | str) -> None:
    """Write the state dict as safetensors, whole or not at all. WriteError where it cannot be."""
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in module.state_dict().items()
    }
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(
                f"{name} is not finite after training, so nothing was written.",
                "Train again with a lower --lr.",
            )
    write_bytes(Path(path), save(tensors))


def fingerprint(module: nn.Module) -> str:
    """Sixteen hexadecimal digits that name these weights: names, shapes, types and numbers."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def said(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
