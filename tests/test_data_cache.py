"""Decoded images kept on disk: never needed, never trusted."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.core.task import Task
from lighten.data import cache, load
from tests.data_files import (
    folder_of,
    gathered,
    image_files,
    tar_of,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def test_what_was_decoded_is_kept_and_mapped(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_of(tmp_path / "a.tar", image_files())
    first = load(str(path))
    assert [p.name for p in own_cache.iterdir() if not p.name.startswith(".")]
    monkeypatch.setattr("lighten.data.images.decode", None)  # would fail if called
    again = load(str(path))
    np.testing.assert_array_equal(gathered(first.test())[0], gathered(again.test())[0])
    assert first.fingerprint == again.fingerprint and first.labels == again.labels


def test_other_content_or_size_is_another_entry(tmp_path: Path) -> None:
    files = image_files(size=16)
    path = folder_of(tmp_path / "pets", files)
    prints = [load(str(path)).fingerprint, load(f"{path}?size=8").fingerprint]
    (path / "test/cat/0.png").write_bytes(files["test/cat/1.png"])
    prints.append(load(str(path)).fingerprint)
    (path / "test/cat/0.png").rename(path / "test/cat/00.png")
    prints.append(load(str(path)).fingerprint)
    assert len(set(prints)) == 4
    assert load(f"{path}?size=8").example()[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "describe"])
def test_a_damaged_cache_is_decoded_anew(tmp_path: Path, own_cache: Path, harm: str) -> None:
    path = tar_of(tmp_path / "a.tar", image_files())
    want, _ = gathered(load(str(path)).test())
    (kept,) = own_cache.glob("[!.]*/test_x.npy")
    content = bytearray(kept.read_bytes())
    content[-9] ^= 1
    match harm:
        case "flip":
            kept.write_bytes(content)
        case "cut":
            kept.write_bytes(content[:50])
        case "remove":
            kept.unlink()
        case "describe":
            kept.with_name("about.json").write_text(json.dumps({"sha256": [], "about": 3}))
    np.testing.assert_array_equal(gathered(load(str(path)).test())[0], want)
    np.testing.assert_array_equal(gathered(load(str(path)).test())[0], want)
    assert cache.recall(kept.parent.name) is not None  # and mended


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "file"))
    assert load(str(tar_of(tmp_path / "a.tar", image_files()))).train_size == 12

    def full(*given: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr(np, "save", full)
    assert load(str(tmp_path / "a.tar")).train_size == 12
    assert list((tmp_path / "full" / "data").iterdir()) == []  # nothing half-written


def test_two_runs_at_once_keep_one_entry(tmp_path: Path, own_cache: Path) -> None:
    path = tar_of(tmp_path / "a.tar", image_files(count=20))
    tasks: list[Task] = []
    runs = [threading.Thread(target=lambda: tasks.append(load(str(path)))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len({gathered(task.test())[0].tobytes() for task in tasks}) == 1 and len(tasks) == 4
    assert len(list(own_cache.iterdir())) == 1
