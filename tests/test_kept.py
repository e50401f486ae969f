"""Networks that another process compiled: found only where all that they were made from is the
same, and whatever is wrong with what was written, the answer is right.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import lighten
from lighten import store
from lighten.emit import host
from lighten.emit.isa import VARIABLE
from lighten.engine import choose, keep, kept, tuning
from lighten.engine.plan import plan
from lighten.errors import ArtifactError, InputError, WriteError
from lighten.program import Builder, Program, interpret
from lighten.runtime import Model
from tests.test_emit import HERE

X = np.random.default_rng(0).standard_normal((2, 16, 12, 12)).astype(np.float32)
CONV = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
FRESH = """
import sys, numpy as np, lighten
model = lighten.load(sys.argv[1])
np.save(sys.argv[2], model(np.load(sys.argv[3])))
heavy = {"torch", "onnx", "onnxruntime", "openvino"} & set(sys.modules)
rooms = {"lighten.engine.plan", "lighten.kernels", "lighten.program", "lighten.store"}
assert not heavy | rooms & set(sys.modules), heavy | rooms & set(sys.modules)
"""
RACES = """
import sys, numpy as np, lighten
sys.stdin.readline()  # all begin together
print(float(lighten.load(sys.argv[1])(np.ones((1, 16, 12, 12), np.float32)).sum()))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def net(seed: int = 0) -> Program:
    b = Builder()
    x = b.input("x", (16, 12, 12))
    w = b.store("w", np.random.default_rng(seed).normal(0, 0.1, (16, 16, 3, 3)))
    return b.finish(b.op("unary", b.op("conv", x, w, **CONV), function="relu"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store.save(net(), tmp_path / "model.lighten")
    return tmp_path / "model.lighten"


def found(path: Path, threads: int = 1) -> bool:
    """Whether a load finds it; the answer is right either way."""
    model = lighten.load(path, threads)
    (wanted,) = interpret(store.load(path), X)
    np.testing.assert_allclose(model(X), wanted, atol=1e-4)
    return model._found is not None


def files(cache: Path) -> list[Path]:
    return sorted((cache / kept.FOLDER).glob("*"))


def test_a_fresh_process_runs_it_without_planning(path: Path, tmp_path: Path) -> None:
    wanted = lighten.load(path)(X)
    np.save(tmp_path / "x.npy", X)
    given = [str(path), str(tmp_path / "y.npy"), str(tmp_path / "x.npy")]
    subprocess.run([sys.executable, "-c", FRESH, *given], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), wanted)


def test_it_is_found_again_and_threads_have_their_own(path: Path, cache: Path) -> None:
    assert [found(path), found(path), found(path, 2), found(path, 2)] == [False, True, False, True]
    assert len(files(cache)) == 2


def test_all_of_a_model_is_there(path: Path) -> None:
    built, model = lighten.load(path), lighten.load(path)
    assert model._found is not None and model.interpreted == ()
    store.save(net(1), path)  # what is replaced stays what it was
    assert model.labels == built.labels and model.preprocess == built.preprocess
    many = np.concatenate([X] * choose.FEWEST)
    np.testing.assert_array_equal(model(many), built(many))
    assert model.profile([X], runs=2).keys() == built.profile([X], runs=2).keys()
    assert model.program.ops == built.program.ops
    for wrong in (X[:, :8], X[0], np.zeros((0, 16, 12, 12))):
        with pytest.raises(InputError, match="must be"):
            model(wrong)


def test_another_program_is_planned_again(path: Path, cache: Path) -> None:
    assert [found(path), found(path)] == [False, True]
    store.save(net(1), path)
    assert [found(path), found(path)] == [False, True]
    assert len(files(cache)) == 1, "in the place of the one before"


def test_a_file_written_into_is_read_again(path: Path) -> None:
    assert [found(path), found(path)] == [False, True]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="damaged"):
        lighten.load(path)


def test_what_was_tuned_is_planned_again(path: Path) -> None:
    assert [found(path), found(path)] == [False, True]
    (choice,) = plan(store.load(path), host()).chosen.values()
    options = choose.candidates(choice.conv, host())
    other = next(one for one in options if one.name != choice.name)
    tuning.keep(tuning.plainly(choice.conv), host(), [tuning.Found(other.name, 1e-9, 0.0)])
    time.sleep(2 * keep.TICK / 1e9)
    assert [found(path), found(path)] == [False, True]
    (record,) = tuning.records([choice], host())
    (Path(os.environ["LIGHTEN_CACHE"]) / record).unlink()
    time.sleep(2 * keep.TICK / 1e9)
    assert [found(path), found(path)] == [False, True]


def test_what_is_planned_while_kernels_are_tuned_is_not_kept(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recall = tuning.recall

    def tuned_meanwhile(conv: choose.Conv, isa: choose.Isa) -> list[tuning.Found] | None:
        known = recall(conv, isa)
        tuning.keep(conv, isa, [tuning.Found("direct", 1.0, 0.0)])
        return known

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "recall", tuned_meanwhile)
        assert not found(path) and not files(cache)
    time.sleep(2 * keep.TICK / 1e9)
    assert [found(path), found(path)] == [False, True]


@pytest.mark.parametrize("what", ["_code", "llvm_version", "features"])
def test_other_code_other_llvm_or_another_processor_compile_again(
    what: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [found(path), found(path)] == [False, True]
    monkeypatch.setattr(kept, what, lambda: ["other"])
    assert [found(path), found(path)] == [False, True]


@pytest.mark.skipif(len(HERE) < 2, reason="one instruction set")
def test_another_instruction_set_compiles_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [found(path), found(path)] == [False, True]
    monkeypatch.setenv(VARIABLE, HERE[-1])
    assert [found(path), found(path)] == [False, True]


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "foreign": lambda data: b"\x7fELF" + data,
    "cut short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "no weights": lambda data: data[: kept.START + 20],
    "front": lambda data: data[:17] + bytes([data[17] ^ 255]) + data[18:],
    "head": lambda data: data.replace(b'"at": 0', b'"at": 4', 1),
    "endless head": lambda data: data[:16] + b"\xff" * 8 + data[24:],
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_one_is_made_again(harm: str, path: Path, cache: Path) -> None:
    assert [found(path), found(path)] == [False, True]
    (file,) = files(cache)
    harmed = HARMS[harm](file.read_bytes())
    assert harmed != file.read_bytes()
    file.unlink()  # it may be mapped
    file.write_bytes(harmed)
    assert [found(path), found(path)] == [False, True]


def test_a_lost_or_damaged_object_is_compiled_again(path: Path, cache: Path) -> None:
    assert [found(path), found(path)] == [False, True]
    for harm in (Path.unlink, lambda file: file.write_bytes(b"damaged")):
        for file in (cache / "objects").rglob("*.o"):
            harm(file)
        assert [found(path), found(path)] == [False, True]


def test_a_folder_that_cannot_be_written_is_done_without(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(place: Path) -> Iterator[Path]:
        raise WriteError(f"{place} could not be written: {os.strerror(errno.EROFS)}.")

    with monkeypatch.context() as patch:
        patch.setattr(keep, "replacing", full)
        assert [found(path), found(path)] == [False, False]
    (cache / kept.FOLDER).write_text("not a folder")
    assert [found(path), found(path)] == [False, False]


def test_what_was_not_written_whole_is_not_kept(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_same", lambda *_: False)
    assert [found(path), found(path)] == [False, False] and not files(cache)


def test_the_oldest_go_where_there_are_too_many(
    path: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not found(path)
    monkeypatch.setattr(keep, "MOST", files(cache)[0].stat().st_size * 3 // 2)
    other = tmp_path / "other.lighten"
    store.save(net(1), other)
    time.sleep(2 * keep.TICK / 1e9)
    assert [found(other), found(other), found(path), found(other)] == [False, True, False, False]
    assert len(files(cache)) == 1


def test_processes_that_race_all_answer_rightly(path: Path, cache: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", RACES, str(path)]
    runs = [subprocess.Popen(command, **pipes) for _ in range(3)]
    told = [run.communicate("go\n", timeout=120)[0] for run in runs]
    assert len(set(told)) == 1 and told[0].strip()
    assert found(path) and len(files(cache)) == 1


def test_threads_that_race_all_answer_rightly(path: Path, cache: Path) -> None:
    gate, models = threading.Barrier(4), list[Model]()

    def loads() -> None:
        gate.wait()
        models.append(lighten.load(path))

    threads = [threading.Thread(target=loads) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [model(X) for model in models]
    assert len(answers) == 4 and all(np.array_equal(answers[0], y) for y in answers)
    assert found(path) and len(files(cache)) == 1


def test_what_needs_the_interpreter_is_not_kept(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lighten.engine.writers import WRITERS

    monkeypatch.delitem(WRITERS, "unary")
    from lighten.engine.writers_rows import ROWS

    monkeypatch.delitem(ROWS, "unary")
    monkeypatch.setattr("lighten.engine.pairs.with_activations", lambda program: program)
    assert lighten.load(path)._found is None


def test_whole_numbers_are_checked_and_given_back(tmp_path: Path) -> None:
    b = Builder()
    y = b.op("gather", b.store("table", np.eye(5)), b.input("i", (3,)), axis=0)
    store.save(b.finish(y), tmp_path / "table.lighten")
    first, model = (lighten.load(tmp_path / "table.lighten") for _ in range(2))
    assert first._found is None and model._found is not None
    given = np.array([[0, 4, 2]])
    np.testing.assert_array_equal(model(given), first(given))
    with pytest.raises(InputError, match="looked up in a table"):
        model(given + 1)
