"""Small data sets for tests: image folders, tars and .npz archives, right or wrong."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lighten.data import load
from lighten.errors import DataError

RNG = np.random.default_rng(7)
CLASSES = ("cat", "dog")


def png(pixels: np.ndarray) -> bytes:
    """An image file from `[h, w]` or `[h, w, 3]`."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def image_files(
    count: int = 6, size: int = 8, splits: tuple[str, ...] = ("train", "valid", "test")
):
    """Name → bytes for a small data set; the images are random, of three channels."""
    return {
        f"{split}/{label}/{i}.png": png(pixels(size, size, 3))
        for split in splits
        for label in CLASSES
        for i in range(count)
    }


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def npz_of(path: Path, **changes: Any) -> Path:
    """An archive of 8 × 8 grey images in three classes; a change of None leaves the array out."""
    arrays = {
        "train_x": pixels(60, 8, 8),
        "train_y": np.arange(60) % 3,
        "test_x": pixels(12, 8, 8),
        "test_y": np.arange(12) % 3,
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def gathered(batches: Any) -> tuple[np.ndarray, np.ndarray]:
    parts = list(batches)
    return np.concatenate([b.inputs[0] for b in parts]), np.concatenate([b.target for b in parts])


def refused(spec: str | Path, *words: str, **options: Any) -> DataError:
    """`spec` is refused in one sentence that holds these words."""
    with pytest.raises(DataError) as caught:
        load(str(spec), **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value
