"""Raw samples in three splits: checked, completed with a held-out valid part, and normalised."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lighten.core.task import Array, Preprocess
from lighten.errors import DataError

HELD_OUT = 0.1  # the share of train that becomes valid where there is none
CHUNK = 4096
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, eq=False)
class Split:
    """Samples `x` `[n, …]` with labels `y` `[n]` (int64); `rows` selects some, in that order.

    `x` may be a memory map far larger than what `rows` selects: nothing is copied to hold out.
    """

    x: Array
    y: Array
    rows: Array | None = None

    def __len__(self) -> int:
        return len(self.y) if self.rows is None else len(self.rows)

    @property
    def labels(self) -> Array:
        """The label of every sample, `[n]`."""
        return self.y if self.rows is None else self.y[self.rows]

    def take(self, index: Array) -> tuple[Array, Array]:
        """The samples at `index` and their labels, copied."""
        rows = index if self.rows is None else self.rows[index]
        return self.x[rows], self.y[rows]

    def chunks(self) -> Iterator[Array]:
        """The samples in order, some thousand at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.take(np.arange(start, min(start + CHUNK, len(self))))[0]


@dataclass(frozen=True, eq=False)
class Splits:
    """Everything a source of data holds, as stored: raw `x`, labels, names, normalisation.

    `content` is a sha256 of what was read. `valid` is None until `complete` holds one out.
    `notes` say what a reader of the results should know (files that were skipped).
    """

    name: str
    train: Split
    test: Split
    valid: Split | None = None
    labels: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    content: str = ""
    notes: tuple[str, ...] = ()

    def named(self) -> dict[str, Split]:
        """The splits there are, by name."""
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits: content, scaling, and which samples are in which split."""
        digest = hashlib.sha256(f"{self.content} {self.preprocess}".encode())
        for split in self.named().values():
            if split.rows is not None:
                digest.update(np.ascontiguousarray(split.rows).tobytes())
        return digest.hexdigest()[:16]


def complete(splits: Splits, options: Mapping[str, Any], seed: int) -> Splits:
    """Checked splits with a valid part and a normalisation. Raises `DataError` naming the split.

    The normalisation is measured before anything is held out, so that a network trained with one
    seed is fed alike with another.
    """
    splits = check(splits)
    splits = replace(splits, preprocess=_preprocess(splits, options))
    if splits.valid is None:
        if len(splits.train) < 2:
            raise DataError(f"{splits.name}: train holds one sample, too few to hold out a valid.")
        kept, held = hold_out(splits.train.y, HELD_OUT, seed)
        x, y = splits.train.x, splits.train.y
        splits = replace(splits, train=Split(x, y, kept), valid=Split(x, y, held))
    return splits


def hold_out(y: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Two sorted index arrays (kept, held): every class gives `share` of its samples, at random.

    At least one sample is held; a class of one sample keeps it.

    >>> kept, held = hold_out(np.repeat([0, 1], 50), 0.1, seed=0)
    >>> len(kept), sorted(int(held_class) for held_class in np.repeat([0, 1], 50)[held])
    (90, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    classes, members, counts = np.unique(y, return_inverse=True, return_counts=True)
    wanted = max(1, round(share * len(y)))
    quota = (share * counts).astype(int)
    remainder = np.where(counts - 1 > quota, share * counts - quota, -1.0)
    for place in np.argsort(-remainder, kind="stable")[: max(0, wanted - int(quota.sum()))]:
        quota[place] += remainder[place] >= 0
    if not quota.any():  # every class has one sample
        quota[0] = 1
    rng = np.random.default_rng((seed, len(y)))
    picks = [
        rng.choice(np.flatnonzero(members == place), size=quota[place], replace=False)
        for place in range(len(classes))
    ]
    held = np.sort(np.concatenate(picks))
    return np.setdiff1d(np.arange(len(y)), held), held


def check(splits: Splits) -> Splits:
    """The same splits with int64 labels, or `DataError` naming the split and what is wrong."""
    for name, split in splits.named().items():
        where = f"{splits.name}: {name}"
        if len(split.x) == 0:
            raise DataError(f"{where} is empty: it holds no samples.")
        if len(split.x) != len(split.y):
            raise DataError(f"{where} holds {len(split.x)} samples but {len(split.y)} labels.")
        _check_samples(where, split.x, splits.train.x)
    labels = splits.labels or _numbered(splits)
    for name, split in splits.named().items():
        _check_labels(f"{splits.name}: {name}", split.y, len(labels))
    parts = {n: Split(s.x, s.y.astype(np.int64)) for n, s in splits.named().items()}
    return replace(splits, labels=labels, **parts)  # type: ignore[arg-type]


def _check_samples(where: str, x: Array, like: Array) -> None:
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{where} samples must be uint8 pixels or floats, but got {x.dtype}.")
    if x.shape[1:] != like.shape[1:] or x.dtype != like.dtype:
        raise DataError(
            f"{where} samples are {x.dtype} {list(x.shape[1:])}, "
            f"but those of train are {like.dtype} {list(like.shape[1:])}."
        )
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise DataError(f"{where} samples must have at least one value each, but got {x.shape}.")
    if x.dtype.kind == "f":
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK]
            bad = ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
            if bad.any():
                raise DataError(
                    f"{where} sample {start + int(bad.argmax())} holds NaN or infinity."
                )


def _numbered(splits: Splits) -> tuple[str, ...]:
    y = splits.train.y
    _check_labels(f"{splits.name}: train", y, max(len(y), 2))
    return tuple(str(label) for label in range(int(y.max()) + 1))


def _check_labels(where: str, y: Array, classes: int) -> None:
    if y.dtype.kind not in "iu":
        raise DataError(
            f"{where} labels must be integers, but got {y.dtype}.",
            "For other targets give file.py:factory returning a Task.",
        )
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where} label {y[row]} of sample {row} is out of range: "
            f"it must be 0 to {classes - 1}."
        )


def _preprocess(splits: Splits, options: Mapping[str, Any]) -> Preprocess:
    """What was asked for, else what the data brings, else ImageNet's for RGB, else measured.

    Floats are taken as they are unless told otherwise.
    """
    x = splits.train.x
    given = splits.preprocess or Preprocess(255.0 if x.dtype == np.uint8 else 1.0)
    scale = float(options.get("scale", given.scale))
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"{splits.name}: scale must be above zero, but got {scale:g}.")
    mean, std = given.mean, given.std
    if x.dtype == np.uint8 and not (mean or std):
        rgb = x.ndim == 4 and x.shape[1] == 3
        mean, std = IMAGENET if rgb else _measured(splits.train, scale)
    mean, std = tuple(options.get("mean", mean)), tuple(options.get("std", std))
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (0, 1, x.shape[1]):
            raise DataError(
                f"{splits.name}: {name} must have one number per channel ({x.shape[1]}), "
                f"but got {len(numbers)}."
            )
        if not all(math.isfinite(n) and (name == "mean" or n > 0) for n in numbers):
            raise DataError(f"{splits.name}: {name} must be finite and std above zero.")
    return Preprocess(scale, mean, std)


def _measured(split: Split, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of all pixels after scaling, rounded to four decimals.

    Per channel for images `[n, c, h, w]`, one number for anything else.
    """
    x = split.x
    channels = x.shape[1] if x.ndim == 4 else 1
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for part in split.chunks():
        columns = part.reshape(len(part), channels, -1).astype(np.float64)
        total += columns.sum(axis=(0, 2))
        squares += (columns * columns).sum(axis=(0, 2))
        count += len(part) * columns.shape[2]
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean * mean, 0.0)) / scale
    std = [round(float(s), 4) or 1.0 for s in spread]  # constant pixels: leave them
    return tuple(round(float(m) / scale, 4) for m in mean), tuple(std)
