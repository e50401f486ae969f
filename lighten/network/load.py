"""Networks from what a user types."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from lighten.errors import MissingExtra, NetworkError
from lighten.network.exported import read_exported
from lighten.network.onnx_in.net import read_onnx
from lighten.network.structure import read_network
from lighten.network.weights import said

ZOO = "lighten.zoo:build"  # imported when a zoo network is asked for: the zoo lies above this room
SPECS = (
    "zoo:NAME, FILE.py:FACTORY, FILE.onnx, hf:FOLDER, a run's folder, or a FILE.pt2 of "
    "torch.export.save"
)
NOT_NETWORKS: Mapping[str, str] = dict.fromkeys(
    (".safetensors", ".pt", ".pth", ".ckpt", ".bin"),
    "holds weights; give the network they belong to, and them with --weights",
)


def load_network(spec: str, *, seed: int = 0) -> nn.Module:
    """The network that `spec` names: zoo:NAME?option=value&…, FILE.py:FACTORY, FILE.onnx, FILE.pt2,
    hf:FOLDER?classes=2, a model that `transformers` saved, or the folder of a finished run.

    FACTORY is a function (or class) without arguments that gives an `nn.Module`, or one itself.
    Fresh weights come from `seed`. NetworkError says in one sentence what is wrong.

    >>> load_network("zoo:resnet20?classes=100").linear.out_features
    100
    """
    if spec.startswith("zoo:"):
        return _from_zoo(spec.removeprefix("zoo:"), seed)
    if spec.startswith("hf:"):
        return _from_folder(spec.removeprefix("hf:"), seed)
    file, colon, factory = spec.rpartition(":")
    if colon and file.endswith(".py"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _from_file(Path(file), factory)
    path = Path(spec)
    if path.suffix == ".py":
        raise NetworkError(
            f"{spec} must be followed by the function that builds the network, but got none.",
            f"Write {spec}:FACTORY.",
        )
    if path.suffix in NOT_NETWORKS:
        raise NetworkError(f"{spec} {NOT_NETWORKS[path.suffix]}.")
    if path.suffix == ".onnx":
        _there(path)
        return read_onnx(path)
    if path.is_dir():
        return read_network(path)
    if path.suffix != ".pt2":
        raise NetworkError(f"The network must be {SPECS}, but got {spec!r}.")
    _there(path)
    return read_exported(path)


def _there(path: Path) -> None:
    if not path.is_file():
        raise NetworkError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")


def _from_zoo(name: str, seed: int) -> nn.Module:
    name, _, query = name.partition("?")
    module, _, attribute = ZOO.partition(":")
    build: Callable[..., nn.Module] = getattr(importlib.import_module(module), attribute)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise NetworkError(
            f"Options must look like zoo:{name}?classes=10&width=0.5, but got {query!r}."
        ) from None
    return build(name, seed=seed, **{option: _number(value) for option, value in pairs})


def _from_folder(spec: str, seed: int) -> nn.Module:
    """A model that transformers saved, with its weights; `classes` gives it a new classifier."""
    place, _, query = spec.partition("?")
    options = dict(parse_qsl(query))
    folder = Path(place).expanduser()
    if not (folder / "config.json").is_file():
        raise NetworkError(
            f"{folder} holds no config.json.", "Give a folder that transformers saved."
        )
    if set(options) - {"classes"}:
        raise NetworkError(f"hf:{spec}: the only option is classes, but got {query!r}.")
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "hf") from None
    reports: Any = transformers.logging  # of each fresh classifier, at length
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    name = (config.architectures or ["AutoModel"])[0]
    kind = getattr(transformers, name, transformers.AutoModel)
    settings: dict[str, Any] = {}
    if "classes" in options:
        kind = transformers.AutoModelForSequenceClassification
        settings["num_labels"] = int(options["classes"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, **settings
            )
        except Exception as error:  # transformers raises many kinds
            raise NetworkError(f"{folder} cannot be loaded: {said(error)}.") from error
    return net  # type: ignore[no-any-return]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _from_file(path: Path, name: str) -> nn.Module:
    _there(path)
    with _imported(path) as module:
        factory = getattr(module, name, None)
        if factory is None:
            have = sorted(k for k, v in vars(module).items() if callable(v) and k[0] != "_")
            raise NetworkError(
                f"{path} has no {name!r}.", f"It has: {', '.join(have)}." if have else ""
            )
        try:
            net = factory() if callable(factory) and not isinstance(factory, nn.Module) else factory
        except (Exception, SystemExit) as error:
            raise NetworkError(f"{name} in {path} failed: {said(error)}.") from error
    if not isinstance(net, nn.Module):
        raise NetworkError(
            f"{name} in {path} must give a torch.nn.Module, but gave {type(net).__name__}."
        )
    return net


@contextmanager
def _imported(path: Path) -> Iterator[ModuleType]:
    """The file as a module, with its folder importable, as if it had been run."""
    name = f"lighten_network_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    folder = str(path.resolve().parent)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    sys.path.insert(0, folder)
    try:
        try:
            found.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise NetworkError(f"{path} cannot be imported: {said(error)}.") from error
        yield module
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
