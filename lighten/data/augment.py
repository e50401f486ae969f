"""Random changes to a batch of images that leave its labels true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lighten.core.task import Array

Augmentation = Callable[[Array, np.random.Generator], Array]


def shifted(x: Array, reach: int, rng: np.random.Generator) -> Array:
    """Every image moved by up to `reach` pixels each way, zeros moving in. `[n, c, h, w]`."""
    n, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = rng.integers(0, 2 * reach + 1, size=(2, n))
    return np.asarray(windows[np.arange(n), :, down, right])


def mirrored(x: Array, rng: np.random.Generator) -> Array:
    """Half of the images, at random, with left and right exchanged. `[n, c, h, w]`."""
    flip = rng.random(len(x)) < 0.5
    return np.where(flip[:, None, None, None], x[..., ::-1], x)


def crop_and_mirror(x: Array, rng: np.random.Generator) -> Array:
    """Random crop after padding by an eighth of the height (4 at 32 pixels), then mirror."""
    return mirrored(shifted(x, x.shape[2] // 8, rng), rng)


def nudge(x: Array, rng: np.random.Generator) -> Array:
    """A small shift (1 pixel of 8, 2 of 28): characters must keep their left and right."""
    return shifted(x, max(1, x.shape[2] // 14), rng)


def unchanged(x: Array, rng: np.random.Generator) -> Array:
    """The batch as it is."""
    return x


def suited(x: Array) -> Augmentation:
    """What suits these samples: photographs are cropped and mirrored, grey images are nudged.

    Photographs are uint8 `[n, 3, h, w]` of at least 28 pixels; floats stay as they are.
    """
    if x.ndim != 4 or x.dtype != np.uint8 or min(x.shape[2:]) < 8:
        return unchanged
    if x.shape[1] == 1:
        return nudge
    return crop_and_mirror if x.shape[1] == 3 and min(x.shape[2:]) >= 28 else unchanged
