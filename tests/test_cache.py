"""The object cache when things go wrong: races, damage, folders not to be written, a full disk.

Whatever happens, the code that runs is right; at worst it is compiled again.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from lighten import inspection
from lighten.core.files import cache_dir
from lighten.emit import cache
from lighten.emit.isa import VARIABLE
from lighten.errors import WriteError
from tests.test_emit import HERE, kept, small, works

BUILDS = """
import sys
from tests.test_emit import small, works
sys.stdin.readline()  # all begin together
print(all(works(small(f"f{i}")) for i in range(12)))
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def test_processes_that_race_keep_whole_objects(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([sys.executable, "-c", BUILDS], **pipes) for _ in range(3)]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["True"] * 3
    objects = kept(tmp_path)
    assert len(objects) == 12 and all(cache.get(path.stem) for path in objects)
    assert not list(tmp_path.rglob("*.part"))


def test_threads_that_race_keep_whole_objects() -> None:
    """They have one process number: what is written beside must have a name of each one's own."""
    name, code = cache.key("raced for"), os.urandom(1 << 20)
    cache.put(name, code)
    gate, found = threading.Barrier(4), []

    def writes_and_reads() -> None:
        gate.wait()
        for _ in range(8):
            cache.put(name, code)
            found.append(cache.get(name) == code)

    threads = [threading.Thread(target=writes_and_reads) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 32


def fails_to_write(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Every file ends after half of its bytes, with this error."""
    write = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_cache_is_done_without(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(small("before"))
    with monkeypatch.context() as broken:
        fails_to_write(broken, code)
        assert works(small("during"))
        assert len(kept(tmp_path)) == 1 and not list(tmp_path.rglob("*.part"))
        assert os.strerror(code) in cache.state().problem
        broken.setattr(
            import_module("lighten.emit.build"), "_compiled", lambda *_: pytest.fail("compiled")
        )
        assert works(small("before"))  # what is there is read all the same
    assert works(small("during"))
    assert len(kept(tmp_path)) == 2  # there is room again


def test_something_else_in_an_objects_place_is_no_object(tmp_path: Path) -> None:
    assert works(small())
    (path,) = kept(tmp_path)
    path.unlink()
    path.mkdir()
    assert works(small())
    assert path.is_dir()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LIGHTEN_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(WriteError, match=r"home directory.*Set LIGHTEN_CACHE"):
        cache_dir()
    assert works(small())
    assert "home directory" in cache.state().problem


def test_the_state_counts_what_is_kept(tmp_path: Path) -> None:
    assert cache.state() == cache.State(str(tmp_path / cache.FOLDER), 0, 0)
    assert works(small("one")) and works(small("two"))
    sizes = [path.stat().st_size for path in kept(tmp_path)]
    assert cache.state() == cache.State(str(tmp_path / cache.FOLDER), 2, sum(sizes))
    assert len(list((tmp_path / cache.FOLDER).rglob("*.*"))) == 2  # the trial left nothing


def test_doctor_shows_the_engine_and_survives_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, HERE[-1])
    found = inspection.doctor()["engine"]
    assert found["instruction set"] == found["narrowed by LIGHTEN_ISA"] == HERE[-1]
    assert found["cache"] == str(tmp_path / cache.FOLDER) and found["can be written"] == "yes"
    assert found["LLVM"].count(".") == 2 and found["objects"] == 0
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("LIGHTEN_CACHE", str(blocked / "cache"))
    monkeypatch.setenv(VARIABLE, "mmx")
    found = inspection.doctor()["engine"]
    assert "'mmx'" in found["instruction set"] and "Not a directory" in found["can be written"]
