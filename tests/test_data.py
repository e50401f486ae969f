"""Data that becomes batches: fixed splits, fixed order, augmentation, and what is typed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.core.task import Batch, Task
from lighten.data import load, read, task_of
from lighten.data.augment import crop_and_mirror, mirrored, nudge, shifted, suited
from lighten.data.batches import ahead
from lighten.data.spec import parse
from lighten.data.splits import Split, Splits, hold_out
from lighten.errors import DataError, MissingExtra
from tests.data_files import (
    gathered,
    npz_of,
    pixels,
    refused,
)

# ── the builtin digits ─────────────────────────────────────────────────────────────────────────


def test_digits_are_split_alike_every_time() -> None:
    task = load("builtin:digits")
    (x, y), (valid_x, valid_y), (test_x, test_y) = (
        gathered(part) for part in (task.train(0, 0, 64), task.valid(), task.test())
    )
    assert x.shape[1:] == (1, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    assert len(x) + len(valid_x) + len(test_x) == 1797 and len(test_x) >= 500
    assert test_y[:12].tolist() == [0, 5, 6, 1, 6, 7, 6, 7, 9, 5, 0, 8]  # for ever
    assert len(valid_x) == 126 and task.train_size == len(x)
    assert np.ptp(np.bincount(test_y)) <= 3 and np.ptp(np.bincount(valid_y)) <= 2
    assert task.labels == tuple("0123456789")
    again = load("builtin:digits", seed=5)
    np.testing.assert_array_equal(gathered(again.test())[0], test_x)  # whatever the seed
    assert not np.array_equal(gathered(again.valid())[1], valid_y)
    assert again.fingerprint != task.fingerprint
    assert load("builtin:digits").fingerprint == task.fingerprint


def test_digits_are_normalised_by_what_train_measures() -> None:
    splits = read("builtin:digits")
    task = task_of(splits, augment=False)
    x, _ = gathered(task.train(0, 0, 64))
    assert abs(float(x.mean())) < 0.01 and abs(float(x.std()) - 1) < 0.01
    raw = splits.test.take(np.arange(len(splits.test)))[0]
    assert raw.max() == 16 and task.preprocess.scale == 16
    np.testing.assert_array_equal(task.preprocess(raw), gathered(task.test())[0])


def test_without_scikit_learn_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"lighten\[demo\]"):
        load("builtin:digits")


def test_the_module_shows_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lighten.data"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "539 samples" in shown and "@@" in shown
    wrong = subprocess.run([*command, "no.npz"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


# ── holding out ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("counts", [(50, 50), (5, 95), (1, 1, 1), (3, 2, 1, 14), (1, 30)])
def test_a_tenth_of_every_class_is_held_out(counts: tuple[int, ...]) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    kept, held = hold_out(y, 0.1, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(y)))
    assert len(held) == max(1, round(0.1 * len(y)))
    taken = np.bincount(y[held], minlength=len(counts))
    assert all(abs(t - 0.1 * c) < 1 for t, c in zip(taken, counts, strict=True))
    if max(counts) > 1:  # nobody loses the only sample of a class
        assert set(y[kept]) == set(y)
    np.testing.assert_array_equal(held, hold_out(y, 0.1, seed=3)[1])


# ── training batches ───────────────────────────────────────────────────────────────────────────


def numbered_task(count: int, **options: Any) -> Task:
    """A task whose sample i is [i, i]."""
    x = np.repeat(np.arange(count, dtype=np.float32)[:, None], 2, axis=1)
    split = Split(x, np.zeros(count, np.int64))
    return task_of(Splits("numbers", split, split, split, ("a", "b")), **options)


@pytest.mark.parametrize(("count", "batch", "lengths"), [
    (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1]), (5, 9, [5]),
])  # fmt: skip
def test_every_sample_is_seen_once_and_none_is_left_alone(
    count: int, batch: int, lengths: list[int]
) -> None:
    batches = list(numbered_task(count).train(1, 2, batch))
    assert [len(b) for b in batches] == lengths
    seen = np.concatenate([b.inputs[0][:, 0] for b in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(count))


def test_the_same_numbers_give_the_same_batches(tmp_path: Path) -> None:
    task = load(str(npz_of(tmp_path / "a.npz", train_x=pixels(60, 32, 32, 3),
                                test_x=pixels(12, 32, 32, 3))))  # fmt: skip
    first, _ = gathered(task.train(1, 2, 16))
    np.testing.assert_array_equal(first, gathered(task.train(1, 2, 16))[0])
    for other in ((1, 3), (2, 2)):
        assert not np.array_equal(first, gathered(task.train(*other, 16))[0])
    np.testing.assert_array_equal(gathered(task.test())[0], gathered(task.test())[0])


def test_without_augmentation_train_is_the_stored_pixels_reordered(tmp_path: Path) -> None:
    x = pixels(40, 28, 28, 3)
    path = npz_of(tmp_path / "a.npz", train_x=x, train_y=np.arange(40) % 2, test_x=x[:5],
                  test_y=np.zeros(5, int), valid_x=x[:3], valid_y=np.zeros(3, int))  # fmt: skip
    plain, _ = gathered(load(f"{path}?mean=0&std=1", augment=False).train(0, 0, 8))
    stored = x.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert {row.tobytes() for row in np.round(plain * 255)} == {
        row.tobytes() for row in np.round(stored * 255)
    }
    augmented, _ = gathered(load(f"{path}?mean=0&std=1").train(0, 0, 8))
    assert augmented.shape == plain.shape and not np.array_equal(augmented, plain)


def test_shifting_moves_each_image_by_its_own_amount() -> None:
    x = np.zeros((200, 1, 9, 9), np.uint8)
    x[:, 0, 4, 4] = 1
    moved = shifted(x, 2, np.random.default_rng(0))
    assert moved.dtype == np.uint8 and (moved.sum(axis=(1, 2, 3)) == 1).all()
    places = np.argwhere(moved)[:, 2:] - 4
    assert {tuple(p) for p in places.tolist()} == {
        (i, j) for i in range(-2, 3) for j in range(-2, 3)
    }


def test_mirroring_turns_about_half_and_leaves_the_rest() -> None:
    x = pixels(400, 3, 4, 5)
    flipped = mirrored(x, np.random.default_rng(0))
    turned = [(f == o[..., ::-1]).all() for f, o in zip(flipped, x, strict=True)]
    kept = [(f == o).all() for f, o in zip(flipped, x, strict=True)]
    assert all(t or k for t, k in zip(turned, kept, strict=True)) and 150 < sum(turned) < 250


def test_what_is_augmented_and_how() -> None:
    assert suited(np.zeros((2, 3, 32, 32), np.uint8)) is crop_and_mirror
    assert suited(np.zeros((2, 1, 28, 28), np.uint8)) is nudge  # characters keep left and right
    for same in (np.zeros((2, 3, 16, 16), np.uint8), np.zeros((2, 3, 32, 32), np.float32),
                 np.zeros((2, 9), np.uint8)):  # fmt: skip
        assert suited(same)(same, np.random.default_rng(0)) is same


# ── reading ahead ──────────────────────────────────────────────────────────────────────────────


def numbered(count: int) -> Iterator[Batch]:
    return (Batch((np.array([i]),), None) for i in range(count))


def test_reading_ahead_keeps_the_order_and_passes_errors_on() -> None:
    assert [int(b.inputs[0][0]) for b in ahead(numbered(50))] == list(range(50))

    def failing() -> Iterator[Batch]:
        yield from numbered(3)
        raise DataError("broken sample")

    seen = []
    with pytest.raises(DataError, match="broken sample"):
        seen += [len(b) for b in ahead(failing())]
    batches = ahead(failing())
    assert [int(next(batches).inputs[0][0]) for _ in range(3)] == [0, 1, 2]


def test_leaving_early_stops_the_reader() -> None:
    batches = ahead(numbered(10_000))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 60  # for what takes a moment where nobody else is busy
    while any(t.name == "lighten-data" for t in threading.enumerate()):
        assert time.monotonic() < deadline, "the reading thread still runs"
        time.sleep(0.02)


# ── what is typed ──────────────────────────────────────────────────────────────────────────────


def test_unknown_data_lists_what_there_is(tmp_path: Path) -> None:
    for spec in ("builtin:mnist", str(tmp_path / "no.npz"), "", "a" * 300, "\0"):
        refused(spec, "names no data" if len(spec) < 300 else "looked up")
    (tmp_path / "a.csv").write_text("1,2")
    refused(tmp_path / "a.csv", "not a form of data", "builtin:digits", ".tar", ".npz", "factory")


def test_options_that_are_wrong(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz")
    refused(f"{path}?means=1", "no option 'means'", "mean, std, scale, size")
    refused(f"{path}?mean=a", "mean must be numbers", "'a'")
    refused(f"{path}?scale=0", "scale must be above zero")
    refused(f"{path}?std=-1", "std above zero")
    refused(f"{path}?size=4", "'size' is for folders and tars")
    for content, words in (("{", "JSON"), ("[1]", "a mapping"), ('{"mean": {}}', "mean must be")):
        (tmp_path / "a.npz.preprocess.json").write_text(content)
        refused(path, words)


def test_a_path_may_hold_a_question_mark(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "what?.npz")
    assert parse(str(path)).place == str(path)
    assert load(str(path)).train_size == 54


# ── no torch, and the real data ────────────────────────────────────────────────────────────────


def test_data_never_needs_torch() -> None:
    code = (
        "import sys, lighten.data as d; d.load('builtin:digits'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mnist(shared_data: Path) -> None:
    task = load(str(shared_data / "mnist.npz"))
    assert task.train_size == 54_000 and task.example()[0].shape == (1, 1, 28, 28)
    assert task.preprocess.mean == pytest.approx((0.1307,), abs=1e-4)
    _, y = gathered(task.valid())
    assert len(y) == 6000 and len(gathered(task.test())[1]) == 10_000
