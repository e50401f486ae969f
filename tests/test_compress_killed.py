"""A run killed at any moment ends, when it is resumed, as if nothing had happened."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests import small

ROOT = Path(__file__).parents[1]


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "tests.moments", "compress", small.WHERE),
        *("--data", "builtin:digits"),
        *("--size", "0.5x", "--latency", "0.95x", "--drop", "3", "--epochs", "2"),
        *("--backend", "onnxruntime", "--out", str(out), "--resume"),
    ]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=ROOT)


def ended(out: Path) -> tuple[str, float, float]:
    summary = json.loads((out / "summary.json").read_text())
    recipe = (out / "recipe.yaml").read_text()
    return recipe, summary["after"]["quality"], summary["after"]["latency_ms"]


def replay_of(source: Path, out: Path) -> Path:
    """A run's folder with its measurements, and nothing else of what it did."""
    out.mkdir()
    for name in ("run.json", "measurements.jsonl"):
        shutil.copy(source / name, out / name)
    return out


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and the seconds that its replay takes."""
    folder = tmp_path_factory.mktemp("recorded")
    assert start(folder / "run").wait() == 0
    again = replay_of(folder / "run", folder / "again")
    began = time.monotonic()
    assert start(again).wait() == 0
    seconds = time.monotonic() - began
    assert ended(again) == ended(folder / "run")
    return folder / "run", seconds


def killed_and_resumed(recorded: tuple[Path, float], out: Path, moment: float) -> None:
    """Replay the recorded measurements, die at a share of the replay's time, resume, compare."""
    source, seconds = recorded
    process = start(replay_of(source, out))
    with suppress(subprocess.TimeoutExpired):  # a run that is faster than the one timed has ended
        process.wait(moment * seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(out).wait() == 0
    assert ended(out) == ended(source)


def test_a_killed_run_resumes_to_the_same_end(recorded: tuple[Path, float], tmp_path: Path) -> None:
    killed_and_resumed(recorded, tmp_path / "run", random.Random(0).uniform(0.3, 0.9))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_at_ten_moments_resumes_to_the_same_end(
    seed: int, recorded: tuple[Path, float], tmp_path: Path
) -> None:
    killed_and_resumed(recorded, tmp_path / "run", random.Random(100 + seed).uniform(0.05, 1.0))
