"""NumPy archives: right samples, and one clear error for each thing that is wrong."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.core.task import Preprocess
from lighten.data import load, read
from tests.data_files import (
    RNG,
    gathered,
    npz_of,
    pixels,
    refused,
)


@pytest.mark.parametrize(("shape", "sample"), [
    ((8, 8), (1, 8, 8)), ((8, 8, 1), (1, 8, 8)), ((8, 9, 3), (3, 8, 9)), ((3, 8, 9), (3, 8, 9)),
    ((1, 8, 8), (1, 8, 8)), ((12,), (12,)),
])  # fmt: skip
def test_pixels_become_channels_first(
    tmp_path: Path, shape: tuple[int, ...], sample: tuple[int, ...]
) -> None:
    x = pixels(30, *shape)
    path = npz_of(tmp_path / "a.npz", train_x=x, train_y=np.arange(30) % 3,
                  test_x=x[:6], test_y=np.arange(6) % 3)  # fmt: skip
    task = load(f"{path}?mean=0&std=1")
    got = np.round(gathered(task.test())[0] * 255)
    channels_last = len(shape) == 3 and shape[-1] in (1, 3)
    want = x[:6].transpose(0, 3, 1, 2) if channels_last else x[:6].reshape(6, *sample)
    np.testing.assert_array_equal(got, want)


def test_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    x = RNG.normal(size=(30, 5)).astype(np.float64)
    path = npz_of(tmp_path / "a.npz", train_x=x, train_y=np.arange(30)[:, None] % 2,
                  test_x=x[:6], test_y=np.arange(6) % 2,
                  labels=np.array(["no", "yes"]))  # fmt: skip
    task = load(str(path))
    np.testing.assert_allclose(gathered(task.test())[0], x[:6].astype(np.float32), rtol=1e-6)
    assert task.labels == ("no", "yes") and task.preprocess == Preprocess()
    assert gathered(task.test())[0].dtype == np.float32


def test_where_the_normalisation_comes_from(tmp_path: Path) -> None:
    grey = npz_of(tmp_path / "grey.npz", train_x=np.full((60, 8, 8), 51, np.uint8))
    assert load(str(grey)).preprocess == Preprocess(255.0, (0.2,), (1.0,))
    rgb = npz_of(tmp_path / "rgb.npz", train_x=pixels(60, 8, 8, 3), test_x=pixels(12, 8, 8, 3))
    imagenet = load(str(rgb)).preprocess
    assert imagenet == Preprocess(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    own = npz_of(tmp_path / "own.npz", mean=np.array([0.25]), std=np.array([0.5]))
    assert load(str(own)).preprocess == Preprocess(255.0, (0.25,), (0.5,))
    (tmp_path / "own.npz.preprocess.json").write_text('{"mean": [0.75], "scale": 100}')
    assert load(str(own)).preprocess == Preprocess(100.0, (0.75,), (0.5,))
    typed = load(f"{own}?mean=0.125")
    assert typed.preprocess == Preprocess(100.0, (0.125,), (0.5,))
    assert typed.fingerprint != load(str(own)).fingerprint


def test_measured_normalisation_is_that_of_train_whatever_the_seed(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.npz", test_x=np.full((12, 8, 8), 255, np.uint8))
    splits = read(str(path))
    x = np.load(path)["train_x"] / 255
    assert splits.preprocess is not None
    assert splits.preprocess == read(str(path), seed=1).preprocess
    assert splits.preprocess.mean == (round(float(x.mean()), 4),)
    assert splits.preprocess.std == (round(float(x.std()), 4),)


@pytest.mark.parametrize(("change", "words"), [
    ({"test_y": None}, ["lacks test_y", "train_x, train_y, test_x"]),
    ({"valid_x": pixels(3, 8, 8)}, ["lacks valid_y"]),
    ({"train_x": pixels(60)}, ["train_x", "[60]"]),
    ({"train_x": pixels(60, 8, 8, 5)}, ["train_x", "[60, 8, 8, 5]"]),
    ({"train_x": np.zeros((60, 8, 8), np.int64)}, ["uint8", "int64"]),
    ({"test_x": pixels(12, 9, 8)}, ["test", "[1, 9, 8]", "[1, 8, 8]"]),
    ({"test_x": np.zeros((12, 8, 8), np.float32)}, ["float32", "uint8"]),
    ({"test_x": pixels(11, 8, 8)}, ["test holds 11 samples but 12 labels"]),
    ({"train_x": pixels(0, 8, 8), "train_y": np.zeros(0, int)}, ["train is empty"]),
    ({"train_x": pixels(1, 8, 8), "train_y": np.zeros(1, int),
      "test_y": np.zeros(12, int)}, ["one sample"]),
    ({"train_y": np.arange(60) % 3 + 0.5}, ["integers", "float64"]),
    ({"train_y": np.arange(60) - 1}, ["label -1 of sample 0"]),
    ({"train_y": np.full(60, 10**9)}, ["label 1000000000"]),
    ({"test_y": np.arange(12)}, ["test label 3 of sample 3", "0 to 2"]),
    ({"test_y": np.zeros((12, 3), int)}, ["test_y", "[12, 3]"]),
    ({"labels": np.array(["a", "b"])}, ["train label 2 of sample 2", "0 to 1"]),
    ({"labels": np.arange(3)}, ["labels must be"]),
    ({"mean": np.zeros(3)}, ["mean", "(1)", "got 3"]),
    ({"std": np.zeros(1)}, ["std above zero"]),
    ({"std": np.array([np.nan])}, ["std above zero"]),
    ({"mean": np.array(["a"])}, ["mean must be numbers"]),
    ({"train_y": np.array([None] * 60)}, ["train_y", "pickled"]),
])  # fmt: skip
def test_an_archive_that_is_wrong_says_where(
    tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    refused(npz_of(tmp_path / "a.npz", **change), "a.npz", *words)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_found(tmp_path: Path, bad: float) -> None:
    x = np.zeros((12, 4), np.float32)
    x[7, 2] = bad
    path = npz_of(tmp_path / "a.npz", train_x=np.zeros((60, 4), np.float32), test_x=x)
    refused(path, "test sample 7", "NaN")


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (b"", b"hello" * 100):
        path.write_bytes(content)
        refused(path, "a.npz", "not a readable .npz")
    whole = npz_of(tmp_path / "whole.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "a.npz")
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF  # inside train_x: the archive's checksum tells
    path.write_bytes(bytes(damaged))
    refused(path, "a.npz")


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": "|u1"}
    )
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 8, 8), (-1, 8, 8), (59, 8, 8)])
def test_a_length_is_checked_before_it_is_believed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = npz_of(tmp_path / "a.npz", train_x=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_x.npy", header(shape) + bytes(60 * 64))
    refused(path, "train_x", "holds more" if shape[0] == 59 else "but the archive holds fewer")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (os.mkdir, (str(tmp_path / "run"),))

    refused(npz_of(tmp_path / "a.npz", train_x=np.array([Trap()] * 60)), "train_x", "never loaded")
    assert not (tmp_path / "run").exists()
