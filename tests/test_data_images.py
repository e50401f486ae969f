"""Folders and tars of images: right pixels, damaged files named, skipped when asked."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lighten.data import load
from lighten.data.images import read_images
from tests.data_files import (
    CLASSES,
    RNG,
    folder_of,
    gathered,
    image_files,
    pixels,
    png,
    refused,
    tar_of,
)

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
@pytest.mark.parametrize("form", ["folder", "tar", "nested tar"])
def test_images_come_out_as_they_went_in(tmp_path: Path, form: str, valid: str) -> None:
    files = image_files(splits=("train", valid, "test"))
    files |= {"README.txt": b"about", "train/.DS_Store": b"x", "test/cat/.hidden.png": b"x"}
    if form == "folder":
        path = folder_of(tmp_path / "pets", files)
    else:
        top = "./pets/" if form.startswith("nested") else ""
        path = tar_of(tmp_path / "pets.tar", {top + name: b for name, b in files.items()})
    task = load(f"{path}?mean=0&std=1")
    x, y = gathered(task.valid())
    want = [n for n in sorted(files) if n.startswith(valid)]
    for image, label, name in zip(np.round(x * 255), y, want, strict=True):
        stored = np.asarray(Image.open(io.BytesIO(files[name]))).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, stored)
        assert task.labels[label] == name.split("/")[1]
    assert task.labels == CLASSES and task.train_size == 12 and len(gathered(task.test())[1]) == 12


def test_without_valid_a_tenth_of_train_is_held_out(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", image_files(count=20, splits=("train", "test")))
    task = load(str(path))
    assert task.train_size == 36 and gathered(task.valid())[1].tolist() == [0, 0, 1, 1]


def test_grey_images_have_one_channel_unless_one_has_colour(tmp_path: Path) -> None:
    files = {name: png(pixels(8, 8)) for name in image_files()}
    assert read_images(tar_of(tmp_path / "grey.tar", files), {}).train.x.shape == (12, 1, 8, 8)
    files["test/dog/5.png"] = png(pixels(8, 8, 3))
    mixed = read_images(tar_of(tmp_path / "mixed.tar", files), {})
    assert mixed.train.x.shape == (12, 3, 8, 8)
    assert (mixed.train.x[:, 0] == mixed.train.x[:, 2]).all()


def test_sixteen_bits_and_transparency_become_eight_bits(tmp_path: Path) -> None:
    files = {name: png(pixels(8, 8)) for name in image_files()}
    deep = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    files["train/cat/0.png"] = png(deep)
    x = read_images(tar_of(tmp_path / "deep.tar", files), {}).train.x
    np.testing.assert_array_equal(x[0, 0], deep >> 8)
    clear = pixels(8, 8, 4)
    files["train/cat/0.png"] = png(clear)
    x = read_images(tar_of(tmp_path / "clear.tar", files), {}).train.x
    np.testing.assert_array_equal(x[0], clear[..., :3].transpose(2, 0, 1))


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    files = image_files()
    flat = np.zeros((16, 40, 3), np.uint8)
    flat[:, 12:28] = 200  # the central square
    files["train/dog/1.png"] = png(flat)
    path = tar_of(tmp_path / "a.tar", files)
    refused(path, "train/cat/0.png is 8 × 8", "train/dog/1.png is 40 × 16", "?size=")
    x = read_images(path, {"size": 8}).train.x
    assert x.shape == (12, 3, 8, 8) and (x[7][:, :, 1:-1] == 200).all()
    refused(f"{path}?size=0", "size must be")


def test_large_images_are_decoded_alike_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_of(tmp_path / "a.tar", image_files(count=30))
    alone = read_images(path, {}).train.x
    monkeypatch.setattr("lighten.data.decode.THREADS_PAY", 0)
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(alone, read_images(path, {}).train.x)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = tar_of(tmp_path / "a.tar", image_files())
    load(str(path), progress=lambda *step: told.append(step))
    assert ("decoding train", 12, 12) in told and ("decoding test", 12, 12) in told


CUT = png(pixels(64, 64, 3))
DAMAGE = {
    "empty": (b"", "is empty"),
    "text": (b"not an image", "is not a readable image"),
    "cut short": (CUT[: len(CUT) // 2], "is not a readable image"),
}


@pytest.mark.parametrize("form", [folder_of, tar_of])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_image_is_named_and_skipped_only_when_asked(
    tmp_path: Path, form: Callable[[Path, dict[str, bytes]], Path], kind: str
) -> None:
    content, words = DAMAGE[kind]
    files = image_files()
    files["train/cat/3.png"] = content
    path = form(tmp_path / "pets.tar", files)
    refused(path, "train/cat/3.png", words, "--skip-corrupt")
    task = load(str(path), skip_corrupt=1)
    assert task.train_size == 11 and len(task.notes) == 1 and "train/cat/3.png" in task.notes[0]
    assert gathered(task.train(0, 0, 4))[1].sum() == 6  # one cat fewer, not one dog
    refused(path, "train/cat/3.png")  # now that the cache knows, too
    assert load(str(path), skip_corrupt=1).notes == task.notes


def test_the_limit_of_skipping_holds(tmp_path: Path) -> None:
    files = image_files(count=40)
    files |= {f"test/cat/{i}.png": b"" for i in range(8)}
    path = tar_of(tmp_path / "a.tar", files)
    error = refused(path, "test/cat/0.png", "and 3 more", "7 may be skipped", skip_corrupt=7)
    assert "test/cat/7.png" not in str(error)
    assert len(load(str(path), skip_corrupt=8).notes) == 8
    files |= {f"test/{label}/{i}.png": b"" for i in range(40) for label in CLASSES}
    path = tar_of(tmp_path / "b.tar", files)
    refused(path, "test is empty", skip_corrupt=80)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    files = image_files()
    for side in (9000, 60000):  # Pillow warns about the first and refuses the second
        bomb = bytearray(png(pixels(8, 8, 3)))
        bomb[16:24] = np.array([side, side], ">u4").tobytes()
        bomb[29:33] = np.array([zlib.crc32(bytes(bomb[12:29]))], ">u4").tobytes()
        files["train/cat/0.png"] = bytes(bomb)
        refused(tar_of(tmp_path / f"{side}.tar", files), "train/cat/0.png", "pixels")


def test_more_than_this_machine_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_of(tmp_path / "a.tar", image_files())
    monkeypatch.setattr("os.sysconf", lambda name: 8)
    refused(path, "12 images of 8 × 8", "?size=")


@pytest.mark.soak
def test_cifar_loads_within_its_time(shared_data: Path) -> None:
    path = str(shared_data / "cifar10-jpeg.tar")
    start = time.monotonic()
    load(path)
    decoded = time.monotonic()
    task = load(path)
    mapped = time.monotonic()
    assert sum(len(b) for b in task.train(0, 0, 128)) == 50_000
    epoch = time.monotonic()
    assert decoded - start < 60 and mapped - decoded < 5 and epoch - mapped < 10  # 8, 0.2 and 0.6 s
    assert [len(gathered(part)[1]) for part in (task.valid(), task.test())] == [2000, 5000]
    assert task.labels[0] == "airplane" and task.labels[9] == "truck"
