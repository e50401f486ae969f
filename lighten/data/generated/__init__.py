"""Data made here from fixed seeds, for tasks that do not all classify: `builtin:NAME`.

Train, valid and test of a set are drawn from seeds of their own, the same ones for every user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lighten import metrics
from lighten.core.task import Array, Metric, Preprocess
from lighten.data.generated import leaves, motion, patterns, shapes
from lighten.data.splits import Split, Splits

SIZES = {"train": 2400, "valid": 400, "test": 800}


@dataclass(frozen=True)
class Entry:
    """A set: `draw(rng, n)` gives n samples and their targets; how answers are taught and judged.

    Raw samples become inputs by `preprocess`, raw targets by `target`.
    """

    draw: Callable[[np.random.Generator, int], tuple[Array, Array]]
    loss: str
    metric: Metric
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = field(default_factory=Preprocess)
    target: Callable[[Array], Array] = lambda y: y


def as_labels(y: Array) -> Array:
    """Class numbers as int64."""
    return y.astype(np.int64)


def as_shares(y: Array) -> Array:
    """Pixels 0 to 255 as float32 from 0 to 1."""
    return y.astype(np.float32) / np.float32(255.0)


CENTRED = Preprocess(255.0, (0.5,) * 3, (0.25,) * 3)

TABLE: dict[str, Entry] = {
    "shapes-segmentation": Entry(
        shapes.segmentation,
        "cross_entropy",
        metrics.miou(1 + len(shapes.KINDS)),
        ("background", *shapes.KINDS),
        CENTRED,
        as_labels,
    ),
    "shapes-detection": Entry(
        shapes.detection,
        "detection",
        metrics.average_precision(len(shapes.KINDS)),
        shapes.KINDS,
        CENTRED,
    ),
    "super-resolution": Entry(
        leaves.super_resolution,
        "l1",
        metrics.psnr(border=2),
        preprocess=Preprocess(255.0),
        target=as_shares,
    ),
    "sensor": Entry(motion.windows, "cross_entropy", Metric(), motion.ACTIVITIES, target=as_labels),
    "pairs": Entry(patterns.pictures, "similarity", metrics.spearman(), preprocess=CENTRED),
}


def read_generated(name: str) -> Splits:
    """The three splits of a set, raw, as `Splits` that are complete."""
    digest = hashlib.sha256()
    found = {}
    for number, (split, size) in enumerate(SIZES.items()):
        rng = np.random.default_rng((number, *name.encode()))
        x, y = TABLE[name].draw(rng, size)
        for array in (x, y):
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        found[split] = Split(x, y)
    return Splits(
        f"builtin:{name}",
        found["train"],
        found["test"],
        found["valid"],
        labels=TABLE[name].labels,
        preprocess=TABLE[name].preprocess,
        content=digest.hexdigest(),
    )
