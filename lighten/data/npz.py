"""NumPy archives of arrays: `train_x, train_y, test_x, test_y`, and optional ones.

    valid_x, valid_y   else a tenth of train is held out
    labels             class names (strings)
    mean, std          per channel, after scaling uint8 to 0–1

Images are uint8 `[n, h, w]`, `[n, h, w, c]` or `[n, c, h, w]`; anything else is float features.
An archive is untrusted: pickles are refused, and every length is checked against the file before
anything is allocated.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from lighten.core.task import Array, Preprocess
from lighten.data.splits import Split, Splits
from lighten.errors import DataError

NEEDED = ("train_x", "train_y", "test_x", "test_y")
OPTIONAL = ("valid_x", "valid_y", "labels", "mean", "std")
DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def read_npz(path: Path) -> Splits:
    """The splits of an archive. Raises `DataError` naming the file and the array."""
    arrays = _arrays(path)
    missing = [key for key in NEEDED if key not in arrays]
    if ("valid_x" in arrays) != ("valid_y" in arrays):
        missing.append("valid_y" if "valid_x" in arrays else "valid_x")
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: it holds {', '.join(arrays) or 'nothing'}.",
            f"An archive needs {', '.join(NEEDED)}.",
        )
    splits = {
        name: Split(
            _images(f"{path}: {name}_x", arrays[f"{name}_x"]),
            _one_dimensional(f"{path}: {name}_y", arrays[f"{name}_y"]),
        )
        for name in ("train", "valid", "test")
        if f"{name}_x" in arrays
    }
    return Splits(
        str(path),
        splits["train"],
        splits["test"],
        splits.get("valid"),
        labels=_names(path, arrays),
        preprocess=_own_preprocess(path, arrays, splits["train"].x),
        content=hash_file(path),
    )


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes. Raises `DataError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _arrays(path: Path) -> dict[str, Array]:
    known = {f"{key}.npy": key for key in (*NEEDED, *OPTIONAL)}
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                key = known.get(member.filename, member.filename.removesuffix(".npy"))
                if key in arrays:
                    raise DataError(f"{path} holds {key} twice.")
                arrays[key] = (
                    _array(path, archive, member) if member.filename in known else np.empty(0)
                )
    except DAMAGED as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}.") from error
    return arrays


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    where = f"{path}: {member.filename.removesuffix('.npy')}"
    with archive.open(member) as file:
        try:
            shape, fortran, dtype = _header(file)
        except ValueError as error:
            raise DataError(f"{where} is not a NumPy array: {error}.") from error
        if dtype.itemsize == 0:
            raise DataError(f"{where} holds entries of no size ({dtype}).")
        if dtype.hasobject:
            raise DataError(f"{where} holds pickled Python objects, which are never loaded.")
        wanted = math.prod(shape) * dtype.itemsize
        if wanted > member.file_size or any(extent < 0 for extent in shape):
            raise DataError(f"{where} claims {wanted} bytes, but the archive holds fewer.")
        data = file.read(wanted)  # grows with what is there, whatever the archive claims
        if len(data) != wanted or file.read(1):  # the end of the file is where its sum is checked
            raise DataError(f"{where} holds more or fewer than the {wanted} bytes it claims.")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} of the format")


def _images(where: str, x: Array) -> Array:
    """Pixels as `[n, c, h, w]`; floats and flat samples as they are."""
    if x.ndim < 2:
        raise DataError(f"{where} must be [n, …], one row per sample, but got {list(x.shape)}.")
    if x.dtype != np.uint8 or x.ndim == 2:
        return np.ascontiguousarray(x)
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return x
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    raise DataError(
        f"{where} must be images [n,h,w], [n,h,w,c] or [n,c,h,w] with 1 or 3 channels, "
        f"but got {list(x.shape)}."
    )


def _one_dimensional(where: str, y: Array) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{where} must be one label per sample, [n], but got {list(y.shape)}.")
    return y


def _names(path: Path, arrays: dict[str, Array]) -> tuple[str, ...]:
    names = arrays.get("labels", np.empty(0, "U1"))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"{path}: labels must be a list of strings, but got {names.dtype}.")
    return tuple(str(name) for name in names)


def _own_preprocess(path: Path, arrays: dict[str, Array], x: Array) -> Preprocess | None:
    numbers = {}
    for key in ("mean", "std"):
        array = arrays.get(key, np.empty(0))
        if array.dtype.kind not in "fiu":
            raise DataError(f"{path}: {key} must be numbers, but got {array.dtype}.")
        numbers[key] = tuple(float(number) for number in array.ravel())
    if not any(numbers.values()):
        return None
    return Preprocess(255.0 if x.dtype == np.uint8 else 1.0, numbers["mean"], numbers["std"])
