"""What importing costs: the heavy packages load only when something needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lighten

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "ray", "scipy", "sklearn", "PIL", "tokenizers")
TORCH_FREE = (
    *("core", "formats", "algebra", "metrics", "program", "data", "store"),
    *("emit", "kernels", "engine", "runtime", "measure", "errors"),
)


def loaded_after(statement: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    code = f"{statement}; import sys; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_lighten_loads_nothing_heavy() -> None:
    assert loaded_after("import lighten, lighten.cli") == []


@pytest.mark.parametrize("room", TORCH_FREE)
def test_the_running_half_loads_no_torch(room: str) -> None:
    assert "torch" not in loaded_after(f"import lighten.{room}")


def test_the_artifact_needs_numpy_alone() -> None:
    more = ("llvmlite", "safetensors", "rich", "typer", "yaml", "array_api_compat")
    assert loaded_after("import lighten.store", (*HEAVY, *more)) == []


def test_the_check_can_fail() -> None:
    assert loaded_after("import lighten.zoo.lenet") == ["torch"]


def test_every_public_name_is_there() -> None:
    assert sorted([*lighten.NAMES, "__version__"]) == sorted(lighten.__all__)
    for name in lighten.__all__:
        assert getattr(lighten, name) is not None
    with pytest.raises(AttributeError):
        lighten.nothing  # noqa: B018
