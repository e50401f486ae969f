"""What is installed here: part of every result, since it is part of what was measured."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("lighten", "numpy", "torch", "onnx", "onnxruntime", "openvino", "scipy")


def versions() -> dict[str, str]:
    """Package → version, of those that matter and are here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
