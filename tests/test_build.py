"""`lighten build`, `explain`, and what they make: loaded without torch, timed, scored, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import lighten
from lighten.cli import app, main
from lighten.engine import tuning
from lighten.engine.executable import Network

pytestmark = pytest.mark.usefixtures("moments")
QUESTION = """
import sys, numpy as np, lighten
model = lighten.load(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
heavy = {"torch", "onnx", "onnxruntime", "openvino"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "model.lighten"
    done = CliRunner().invoke(app, ["build", "zoo:resnet20", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "37 ops" in done.output
    return path


def test_it_runs_in_a_fresh_process_without_torch(built: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    given = [str(built), str(tmp_path / "y.npy"), str(tmp_path / "x.npy")]
    subprocess.run([sys.executable, "-c", QUESTION, *given], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), lighten.load(built)(x))


def test_explain_names_kernels_times_and_what_is_interpreted(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, times = tmp_path / "told.json", dict[str, float]()
    profile = Network.profile

    def watched(network: Network, inputs: Any, _: int) -> dict[str, float]:
        times.update(profile(network, inputs, runs=3))
        return times

    monkeypatch.setattr(Network, "profile", watched)
    command = ["explain", str(built), "--threads", "2", "--json", str(told)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "0 of " in done.output and "2 threads" in done.output
    found = json.loads(told.read_text())
    kernels = {op["op"]: op["kernel"] for op in found["ops"]}
    assert kernels["layer1.0.conv1"] == "winograd" and kernels["linear"] == "direct"
    assert {op["op"]: op["milliseconds"] for op in found["ops"]} == times
    assert found["milliseconds"] > 0 and all(value >= 0 for value in times.values())
    assert sum(op["macs"] for op in found["ops"]) == pytest.approx(40.55e6, rel=0.01)
    layer = next(op for op in found["ops"] if op["op"] == "layer1.0.conv1")
    most = found["threads"] * found["ceiling_gflops"]
    assert layer["ceiling"] == pytest.approx(layer["gflops"] / most)
    assert 0 < found["error"] < 1e-4 and "of those in float64" in done.output


def test_explain_tells_what_tuning_found(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    told = tmp_path / "told.json"
    assert CliRunner().invoke(app, ["tune", str(built), "--time", "1h"]).exit_code == 0
    done = CliRunner().invoke(app, ["explain", str(built), "--tried", "--json", str(told)])
    assert done.exit_code == 0, done.output
    assert "What was timed" in done.output and "chosen" in done.output
    layer = next(op for op in json.loads(told.read_text())["ops"] if op["op"] == "layer1.0.conv1")
    assert 0 < layer["error"] < 1e-4 and len(layer["tried"]) > 3
    mine = next(one for one in layer["tried"] if one["name"] == layer["chosen"])
    fastest = min(one["milliseconds"] for one in layer["tried"])
    assert mine["milliseconds"] <= tuning.AS_FAST * fastest


def test_bench_runs_it_beside_the_others(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    command = ["bench", str(built), "--threads", "1,2", "--json", str(out)]
    done = CliRunner().invoke(app, command)
    rows = json.loads(out.read_text())
    assert done.exit_code == 0
    for threads in (1, 2):
        ran = {row["backend"] for row in rows if row["latency_ms"] and row["threads"] == threads}
        assert ran >= {"native", "onnxruntime"}


def test_it_is_scored_like_the_network_it_was_built_from(tmp_path: Path) -> None:
    scores = []
    built, data = tmp_path / "digits.lighten", "builtin:digits"
    run = CliRunner().invoke(app, ["build", "zoo:digits_cnn", "--data", data, "-o", str(built)])
    assert run.exit_code == 0, run.output
    for backend in ("native", "onnxruntime"):
        out = tmp_path / f"{backend}.json"
        options = ["--data", data, "--backend", backend, "--json", str(out)]
        assert CliRunner().invoke(app, ["evaluate", str(built), *options]).exit_code == 0
        scores.append(json.loads(out.read_text())["quality"])
    assert scores[0] == scores[1]
    assert lighten.load(built).labels == tuple("0123456789")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain", "{cut}"], "cut short"),
        (["bench", "missing.lighten"], "no such file"),
        (["analyze", "{built}"], "cannot be taken apart"),
        (["build", "zoo:resnet20", "-o", "/proc/nowhere/x.lighten"], "could not be written"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(
    arguments: list[str],
    words: str,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = tmp_path / "cut.lighten"
    cut.write_bytes(built.read_bytes()[:500])
    typed = [word.format(cut=cut, built=built) for word in arguments]
    monkeypatch.setattr(sys, "argv", ["lighten", *typed])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and "Traceback" not in said
