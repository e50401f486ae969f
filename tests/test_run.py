"""The journal: nothing is measured twice, nothing torn is believed."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Interval, Score, Trial
from lighten.errors import BudgetError, InputError, WriteError
from lighten.run import Journal, RunFolder


def test_what_is_written_is_not_computed_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.jsonl") as journal:
        assert journal.remember("a", lambda: [1, 2.5]) == [1, 2.5]
    with Journal(tmp_path / "m.jsonl") as journal:
        assert journal.remember("a", lambda: pytest.fail("computed twice")) == [1, 2.5]
        assert "b" not in journal


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write("a", 1)
        journal.write("b", 2)
    whole = path.read_bytes()
    for cut in range(len(whole) // 2 + 1, len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path) as journal:
            assert ("a" in journal, "b" in journal) == (True, False)
            journal.write("c", 3)
        with Journal(path) as journal:
            assert journal.items() == [("a", 1), ("c", 3)]


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", {"seed": 0}, resume=False):
        with pytest.raises(InputError, match="Another run"):
            RunFolder(tmp_path / "run", {"seed": 0}, resume=True)


def test_a_folder_is_resumed_only_for_the_same_request(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", {"seed": 0}, resume=False).close()
    with pytest.raises(InputError, match="already holds a run"):
        RunFolder(tmp_path / "run", {"seed": 0}, resume=False)
    with pytest.raises(InputError, match="seed"):
        RunFolder(tmp_path / "run", {"seed": 1}, resume=True)


def test_trials_come_back_as_they_went_in(tmp_path: Path) -> None:
    recipe = Recipe((Edit.of("channels", "conv1", keep=[0, 3], of=4),))
    score = Score(quality=98.5, quality_interval=Interval(97.0, 99.5), latency_ms=0.1)
    trial = Trial(recipe, score, "verify", {"latency_ms": 0.11})
    with RunFolder(tmp_path / "run", {}, resume=False) as folder:
        assert folder.tried("x") is None
        assert folder.add("x", trial) == trial
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        assert folder.trials() == [trial]
        assert folder.tried("x") == trial


def test_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        for key in "abc":
            journal.write(key, key)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{damaged\n" + lines[2])
    with Journal(path) as journal:
        assert [key for key, _ in journal.items()] == ["a", "c"]


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write("a", 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4, hard))
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with pytest.raises(WriteError, match="could not be written"):
                journal.write("b", "x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
    with Journal(path) as journal:
        assert journal.items() == [("a", 1)]


def test_a_folder_made_for_bad_input_goes_again(tmp_path: Path) -> None:
    with pytest.raises(BudgetError), RunFolder(tmp_path / "run", {}, resume=False):
        raise BudgetError("impossible")
    assert not (tmp_path / "run").exists()
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path / "run", {}, resume=False):
        raise KeyboardInterrupt
    assert (tmp_path / "run").exists()


def test_seconds_are_those_of_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds, an hour between sessions that is not counted, five seconds."""
    now = 1e9
    monkeypatch.setattr("lighten.run.folder.time", SimpleNamespace(time=lambda: now))
    with RunFolder(tmp_path / "run", {}, resume=False) as folder:
        now += 3
        assert folder.seconds() == 3
    for file in (tmp_path / "run").rglob("*"):
        os.utime(file, (now, now))  # the last sign of life
    now += 3600
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        now += 5
        assert folder.seconds() == 8
