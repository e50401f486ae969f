"""Bad input at the command line: one clear sentence, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lighten import cli
from tests import report_sample
from tests.data_files import folder_of, image_files, npz_of, png, tar_of

NETWORKS = '''
import torch
from torch import nn

class Tiny(nn.Module):
    """For one channel of 8 x 8 pixels."""
    def __init__(self, channels=1, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.fc = nn.Linear(4, classes)
    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))

class Undecided(Tiny):
    """Cannot be exported: what it does depends on the data."""
    def forward(self, x):
        if x.sum() > 0:
            return super().forward(x)
        return super().forward(-x)

def tiny(): return Tiny()
def rgb(): return Tiny(channels=3)
def few(): return Tiny(classes=3)
def undecided(): return Undecided()
def broken(): raise RuntimeError("cannot be built")
def number(): return 3
'''


class Trap:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the networks in it, a wide terminal and its own cache."""
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "1000")
    here = tmp_path / "here"
    here.mkdir()
    (here / "net.py").write_text(NETWORKS)
    (here / "tiny.pt").write_bytes(weights())
    monkeypatch.chdir(here)
    return here


def weights(change: Callable[[dict[str, Any]], Any] = lambda state: state) -> bytes:
    """A saved state dict of the tiny network, changed."""
    state = {
        "conv.weight": torch.ones(4, 1, 3, 3),
        "conv.bias": torch.zeros(4),
        "fc.weight": torch.ones(10, 4),
        "fc.bias": torch.zeros(10),
    }
    file = io.BytesIO()
    torch.save(change(state), file)
    return file.getvalue()


def compress(**changes: str | None) -> list[str]:
    """A command that would work, with some options changed; None leaves one out."""
    options = {
        "data": "builtin:digits",
        "weights": "tiny.pt",
        "latency": "0.9x",
        "out": "out",
        "time": "5s",
    } | {name: value for name, value in changes.items() if name != "network"}
    typed = [part for n, v in options.items() if v is not None for part in (f"--{n}", v)]
    return ["compress", str(changes.get("network", "net.py:tiny")), *typed]


@pytest.fixture
def refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that must be refused with these words; gives what it said."""

    def run(command: list[str], *words: str) -> str:
        before = sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts)
        monkeypatch.setattr(sys, "argv", ["lighten", *command])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr().err
        assert left.value.code == 2, said
        assert "Traceback" not in said
        assert said.count("error:") == 1, said
        for word in words:
            assert word in said, said
        after = sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts)
        assert after == before, "something was written"
        return said

    return run


# ── data ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("change", "words"), [
    ({"train/cat/1.png": b""}, ["train/cat/1.png is empty", "--skip-corrupt"]),
    ({"test/dog/2.png": b"no image"}, ["test/dog/2.png is not a readable image"]),
    ({"train/cat/1.png": png(np.zeros((9, 9, 3), np.uint8))}, ["9 × 9", "one size"]),
    ({"valid/cow/1.png": b"x"}, ["valid has cow, which train lacks"]),
])  # fmt: skip
@pytest.mark.parametrize("form", [folder_of, tar_of])
def test_images(refused: Any, form: Any, change: dict[str, bytes], words: list[str]) -> None:
    path = form(Path("pets.tar"), image_files() | change)
    refused(["train", "zoo:lenet5", "--data", str(path), "-o", "w.safetensors"], *words)


def test_a_missing_image_is_named(refused: Any) -> None:
    path = folder_of(Path("pets"), image_files())
    (path / "train/cat/7.png").symlink_to("gone.png")
    refused(compress(data=str(path)), "train/cat/7.png cannot be opened")


@pytest.mark.parametrize(("data", "words"), [
    ("builtin:mnist", ["builtin:digits", ".npz", ".tar", "factory"]),
    ("gone.npz", ["'gone.npz' names no data"]),
    ("net.py:number", ["must return a Task", "returned"]),
    ("builtin:digits?mean=x", ["mean must be"]),
])  # fmt: skip
def test_data(refused: Any, data: str, words: list[str]) -> None:
    refused(compress(data=data), *words)


def test_arrays(refused: Any) -> None:
    npz_of(Path("a.npz"), test_y=None)
    refused(compress(data="a.npz"), "a.npz lacks test_y")
    npz_of(Path("a.npz"), test_y=np.arange(12))
    refused(compress(data="a.npz"), "test label 3 of sample 3")


# ── networks ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("network", "words"), [
    ("zoo:resnet21", ["'resnet21'", "Did you mean"]),
    ("gone.py:net", ["gone.py"]),
    ("net.py:gone", ["gone"]),
    ("net.py:broken", ["cannot be built"]),
    ("net.py:number", ["int"]),
    ("net.py:few", ["10", "3"]),
    ("gone.pt2", ["gone.pt2"]),
])  # fmt: skip
def test_networks(refused: Any, network: str, words: list[str]) -> None:
    small = {"fc.weight": torch.ones(3, 4), "fc.bias": torch.zeros(3)}
    Path("few.pt").write_bytes(weights(lambda state: state | small))
    given = "few.pt" if network == "net.py:few" else "tiny.pt"
    refused(compress(network=network, weights=given), *words)


def test_a_wrong_input_shape_names_both(refused: Any) -> None:
    three = {"conv.weight": torch.ones(4, 3, 3, 3)}
    Path("rgb.pt").write_bytes(weights(lambda state: state | three))
    refused(compress(network="net.py:rgb", weights="rgb.pt"), "1x8x8", "3 channels")


def test_a_network_that_cannot_be_exported_says_where(refused: Any) -> None:
    refused(compress(network="net.py:undecided"), "export", "net.py")


def test_an_untrained_network_is_told_how_to_train(refused: Any) -> None:
    refused(compress(network="zoo:lenet5", weights=None), "lighten train zoo:lenet5")


def test_a_damaged_exported_program(refused: Any) -> None:
    for content in (b"", b"hello" * 50):
        Path("net.pt2").write_bytes(content)
        refused(compress(network="net.pt2", weights=None), "net.pt2")


# ── weights ────────────────────────────────────────────────────────────────────────────────────


def without_bias(state: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in state.items() if name != "fc.bias"}


@pytest.mark.parametrize(("change", "words"), [
    (without_bias, ["fc.bias"]),
    (lambda state: state | {"extra.weight": torch.ones(1)}, ["extra.weight"]),
    (lambda state: state | {"fc.weight": torch.ones(9, 4)}, ["fc.weight", "9", "10"]),
    (lambda state: state | {"fc.weight": torch.full((10, 4), torch.nan)}, ["fc.weight", "NaN"]),
    (lambda state: 3, ["tiny.pt", "int"]),
])  # fmt: skip
def test_weights(refused: Any, change: Any, words: list[str]) -> None:
    Path("tiny.pt").write_bytes(weights(change))
    refused(compress(), *words)


def test_weights_that_are_no_weights(refused: Any) -> None:
    refused(compress(weights="gone.safetensors"), "gone.safetensors")
    whole = Path("tiny.pt").read_bytes()
    for name in ("tiny.pt", "tiny.safetensors"):
        for content in (b"", b"hello" * 50, whole[: len(whole) // 2]):
            Path(name).write_bytes(content)
            refused(compress(weights=name), name)


def test_a_pickle_that_runs_code_is_refused(refused: Any, tmp_path: Path) -> None:
    for change in (
        lambda state: Trap(tmp_path / "run"),
        lambda s: s | {"x": Trap(tmp_path / "run")},
    ):
        Path("tiny.pt").write_bytes(weights(change))
        refused(compress(), "tiny.pt")
        assert not (tmp_path / "run").exists()


# ── what is asked for ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("change", "words"), [
    ({"latency": "0x"}, ["latency limit must be above zero"]),
    ({"latency": "fast"}, ["latency limit must look like", "'fast'"]),
    ({"latency": "-2ms"}, ["latency", "'-2ms'"]),
    ({"latency": None}, ["at least one limit", "--latency 0.33x"]),
    ({"size": "3 elephants"}, ["size limit"]),
    ({"drop": "-1"}, ["drop"]),
    ({"drop": "nan"}, ["drop"]),
    ({"backend": "onnxruntim"}, ["onnxruntime", "'onnxruntim'"]),
    ({"reference": "tensorrt"}, ["eager", "'tensorrt'"]),
    ({"backend": "torch.compile"}, ["only measured against", "Choose one of eager", "bench"]),
    ({"reference": "torch.compile"}, ["only measured against", "Choose one of eager", "bench"]),
])  # fmt: skip
def test_what_cannot_be_meant(refused: Any, change: dict[str, Any], words: list[str]) -> None:
    refused(compress(**change), *words)


def test_a_backend_that_is_not_installed_says_how_to_install_it(
    refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lighten.backends.find_spec", lambda name: name != "openvino" or None)
    refused(compress(backend="openvino"), "not installed", "lighten[openvino]")


@pytest.mark.parametrize("content", ["", "{", "lighten: 9", "- 1", "lighten: 1\nedits: 3"])
def test_recipes(refused: Any, content: str) -> None:
    Path("recipe.yaml").write_text(content)
    apply = ["apply", "recipe.yaml", *compress(latency=None, time=None)[1:]]
    refused(apply, "recipe")


def test_a_recipe_that_is_not_there(refused: Any) -> None:
    refused(["apply", "gone.yaml", *compress(latency=None, time=None)[1:]], "gone.yaml")


def test_runs_to_compare(refused: Any) -> None:
    report_sample.write(Path("run"))
    refused(["compare", "run", "gone"], "gone holds no summary.json")
    refused(["compare", "run"], "at least two runs")
    Path("damaged").mkdir()
    for content, words in (
        ("{", "summary.json cannot be read"),
        ("3", "it is not a run's"),
        ('{"network": 1}', "summary.json lacks task"),
        (json.dumps({**report_sample.summary(), "after": None}), "lacks after"),
    ):
        Path("damaged/summary.json").write_text(content)
        refused(["compare", "run", "damaged", "--html", "page.html", "--json", "a.json"], words)


@pytest.mark.parametrize("option", ["--lr", "--epochs"])
def test_training_without_end(refused: Any, option: str) -> None:
    train = ["train", "net.py:tiny", "--data", "builtin:digits", "-o", "w.safetensors"]
    refused([*train, option, "inf"], f"The {option[2:]} must be a finite number")


@pytest.mark.parametrize(
    "command",
    [
        ["bench", "net.py:tiny", "--input", "1x8x8"],
        ["analyze", "net.py:tiny", "--input", "1x8x8"],
        ["evaluate", "net.py:tiny", "--data", "builtin:digits"],
    ],
)
def test_more_threads_than_cores(refused: Any, command: list[str]) -> None:
    refused([*command, "--threads", "999"], "--threads must be from 1 to", "999")


# ── the machine ────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_leaves_nothing_half_written(
    refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lighten.core.files.os.fsync", full)
    train = ["train", "net.py:tiny", "--data", "builtin:digits", "--epochs", "0.05"]
    refused([*train, "-o", "w.safetensors"], "w.safetensors", "No space left")


def test_the_exit_code_of_a_real_process(place: Path) -> None:
    command = [sys.executable, "-m", "lighten", "evaluate", "gone.onnx", "--data", "gone.npz"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip().startswith("error:") and "gone." in done.stderr
