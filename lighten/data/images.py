"""A folder or tar of images, `split/class/file`: listed, decoded once, kept decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lighten.data import cache
from lighten.data.archive import Archive, Folder, Tar
from lighten.data.decode import Progress, decode, refuse
from lighten.data.layout import arrange
from lighten.data.splits import Split, Splits
from lighten.errors import DataError

VERSION = 1  # of the decoding: a change of pixels must change the key


def read_images(
    path: Path,
    options: Mapping[str, Any],
    skip_corrupt: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """The splits of a folder or tar, uint8 `[n, c, h, w]`; c is 1 where every image is grey.

    Up to `skip_corrupt` unreadable images are left out and named in `notes`; more, or images of
    different sizes without the option `size`, raise `DataError`.
    """
    archive = _opened(path)
    content = archive.content()
    if progress:
        progress("reading", 1, 1)
    size = options.get("size")
    key = hashlib.sha256(f"{VERSION} {content} {size}".encode()).hexdigest()
    arrays, about = cache.recall(key) or _decoded(archive, key, size, skip_corrupt, progress)
    failures = about["failures"]
    refuse(archive, failures, skip_corrupt)
    splits = {
        name: Split(np.asarray(arrays[f"{name}_x"]), np.asarray(arrays[f"{name}_y"]))
        for name in about["splits"]
    }
    return Splits(
        str(path),
        splits["train"],
        splits["test"],
        splits.get("valid"),
        labels=tuple(about["labels"]),
        content=hashlib.sha256(f"{content} {size}".encode()).hexdigest(),
        notes=tuple(f"skipped {failure}" for failure in failures),
    )


def _opened(path: Path) -> Archive:
    try:
        return Folder(path) if path.is_dir() else Tar(path)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}.") from error


def _decoded(
    archive: Archive, key: str, size: int | None, allowed: int, progress: Progress | None
) -> cache.Entry:
    layout = arrange(archive.path, *archive.listing())
    files = {name: [file for file, _ in split] for name, split in layout.splits.items()}
    decoded, failures = decode(archive, files, size, allowed, progress)
    arrays = {}
    for name, (pixels, usable) in decoded.items():
        numbers = np.array([number for _, number in layout.splits[name]], np.int64)
        arrays[f"{name}_x"], arrays[f"{name}_y"] = pixels, numbers[usable]
    about = {"splits": list(decoded), "labels": list(layout.labels), "failures": failures}
    return cache.keep(key, arrays, about)
