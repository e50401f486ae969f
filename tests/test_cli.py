"""Every command does what its help says, on a network that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lighten.cli import app
from tests import small

pytestmark = pytest.mark.usefixtures("moments")
DIGITS = ("--data", "builtin:digits")


def lighten(*words: Any) -> str:
    """Run one command that must succeed; what it printed."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def place(moments: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network's weights and a finished run."""
    folder = tmp_path_factory.mktemp("cli")
    where = (f"{Path(small.__file__)}:untrained", *DIGITS)
    lighten("train", *where, "--epochs", "2", "--batch", "32", "-o", folder / "w.safetensors")
    budget = ("--macs", "0.6x", "--drop", "5", "--epochs", "1", "--backend", "onnxruntime")
    weights = ("--weights", folder / "w.safetensors")
    lighten("compress", *where, *weights, *budget, "--out", folder / "run", "--control")
    return folder


@pytest.fixture
def network(place: Path) -> tuple[Any, ...]:
    return (f"{Path(small.__file__)}:untrained", "--weights", place / "w.safetensors")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_command_has_help_with_an_example() -> None:
    for name in app.registered_commands:
        assert name.callback is not None and name.name is not None
        if name.name != "demo":
            assert "Example:" in (name.callback.__doc__ or ""), name.name
        assert "Usage" in lighten(name.name, "--help")


def test_train_learns(place: Path, tmp_path: Path) -> None:
    where = (f"{Path(small.__file__)}:untrained", *DIGITS)
    out = ("-o", tmp_path / "w.safetensors", "--json", tmp_path / "t.json")
    lighten("train", *where, "--epochs", "2", "--batch", "32", *out)
    assert read(tmp_path / "t.json")["test"] > 85
    same = (place / "w.safetensors").read_bytes()
    assert (tmp_path / "w.safetensors").read_bytes() == same, "same seed, same weights"


def test_compress_meets_its_budget_and_shows_controls(place: Path) -> None:
    summary = read(place / "run" / "summary.json")
    assert summary["after"]["macs"] <= 0.6 * summary["before"]["macs"]
    names = [control["name"] for control in summary["controls"]]
    assert names == ["control: no distillation", "control: dense"]
    dense = summary["controls"][1]
    assert dense["macs"] == summary["before"]["macs"]
    better = max(summary["before"]["quality"], dense["quality"])
    assert summary["drop"] == pytest.approx(better - summary["after"]["quality"])
    assert "report.html" in [path.name for path in (place / "run").iterdir()]


def test_apply_replays(place: Path, network: tuple[Any, ...], tmp_path: Path) -> None:
    recipe = place / "run" / "recipe.yaml"
    more = (*DIGITS, "--backend", "onnxruntime", "--out", tmp_path / "again")
    lighten("apply", recipe, *network, *more)
    again, first = read(tmp_path / "again/summary.json"), read(place / "run/summary.json")
    assert again["after"]["quality"] == first["after"]["quality"]
    assert again["met"] is None and again["budget"] == {}


def test_evaluate_a_file_a_folder_and_a_network(
    place: Path, network: tuple[Any, ...], tmp_path: Path
) -> None:
    found = {}
    for name, model in {
        "file": (place / "run" / "model.onnx",),
        "folder": (place / "run",),
        "network": network,
    }.items():
        lighten("evaluate", *model, *DIGITS, "--json", tmp_path / "e.json")
        found[name] = read(tmp_path / "e.json")
    summary = read(place / "run" / "summary.json")
    assert found["file"]["quality"] == found["folder"]["quality"] == summary["after"]["quality"]
    assert found["network"]["quality"] == pytest.approx(summary["before"]["quality"])
    assert found["file"]["samples"] > 500


def test_bench_times_everything_side_by_side(
    place: Path, network: tuple[Any, ...], tmp_path: Path
) -> None:
    models = (network[0], place / "run", *network[1:])
    lighten("bench", *models, *DIGITS, "--batch", "1,2", "--json", tmp_path / "b.json")
    rows = read(tmp_path / "b.json")
    timed = [row for row in rows if row["latency_ms"] is not None]
    assert {row["batch"] for row in timed} == {1, 2}
    assert {row["backend"] for row in timed} >= {"eager", "onnxruntime"}
    for batch in (1, 2):
        together = [row for row in timed if row["batch"] == batch]
        assert min(together, key=lambda row: row["latency_ms"])["ratio"] == 1.0
    refused = [row for row in rows if row["latency_ms"] is None]
    assert all(row["backend"] == "eager" and row["failure"] for row in refused)


def test_analyze_knows_costs_times_and_sensitivity(
    network: tuple[Any, ...], tmp_path: Path
) -> None:
    printed = lighten("analyze", *network, *DIGITS, "--json", tmp_path / "a.json")
    result = read(tmp_path / "a.json")
    convolutions = [layer for layer in result["layers"] if layer["kind"] == "conv2d"]
    assert len(convolutions) == 3
    times = [layer["time_ms"] for layer in convolutions]
    assert 0 <= min(times) and max(times) > 0  # a clock of whole microseconds
    for layer in convolutions:
        assert layer["macs"] > 0 and layer["roofline_ms"] > 0
        assert 0 <= layer["sensitivity"] <= 100
    assert "can be cut" in printed


def test_report_and_doctor(place: Path, tmp_path: Path) -> None:
    (place / "run" / "report.html").unlink()
    lighten("report", place / "run")
    assert "<html" in (place / "run" / "report.html").read_text()
    lighten("doctor", "--json", tmp_path / "d.json")
    found = read(tmp_path / "d.json")
    assert found["backends"]["onnxruntime"] == "ready" and found["device"]["cores"]


def test_evaluate_needs_no_torch_where_there_is_none(place: Path, tmp_path: Path) -> None:
    """A deployment box: an ONNX file, arrays, onnxruntime; importing torch would fail."""
    task = small.digits()
    test = next(iter(task.test()))
    arrays = {
        f"{split}_{x}": v
        for split in ("train", "test")
        for x, v in (("x", test.inputs[0]), ("y", np.asarray(test.target)))
    }
    np.savez(tmp_path / "digits.npz", **arrays)
    words = ["evaluate", str(place / "run" / "model.onnx"), "--data", str(tmp_path / "digits.npz")]
    code = (
        f"import sys; sys.modules['torch'] = None; sys.argv[1:] = {words!r}; "
        "from lighten.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    words = ["compress", small.WHERE, *DIGITS, "--latency", "0.5x"]
    code = (
        f"import sys; sys.modules['torch'] = None; sys.argv[1:] = {words!r}; "
        "from lighten.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "lighten[train]" in done.stderr, done.stderr
