"""Pictures of one striped figure whose attributes say how alike two pictures are.

Hue, size, the stripes' direction and density and the roundness of the figure count; place,
background, brightness and noise do not.
"""

from __future__ import annotations

import numpy as np

from lighten.core.task import Array

SIDE = 32


def pictures(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Pictures `[n, 3, 32, 32]` uint8 and attributes `[n, 7]` float32.

    The cosine of two rows of attributes is how alike the pictures are.
    """
    hue, lean = rng.uniform(0, 2 * np.pi, (2, n))
    size, density, roundness = rng.uniform(-1, 1, (3, n))
    circles = (np.cos(hue), np.sin(hue), 0.8 * np.cos(lean), 0.8 * np.sin(lean))
    attributes = np.stack((*circles, size, density, roundness), axis=1)
    return painted(rng, hue, lean / 2, np.stack((size, density, roundness))), attributes.astype(
        np.float32
    )


def painted(rng: np.random.Generator, hue: Array, lean: Array, graded: Array) -> Array:
    """The pictures of these attributes, `[n, 3, 32, 32]`; `graded` is `[3, n]` from −1 to 1."""
    n = len(hue)
    line = np.arange(SIDE, dtype=np.float64)
    size, density, roundness = graded[:, :, None, None]
    radius = 9.0 + 4.0 * size
    y, x = rng.uniform(11, SIDE - 11, (2, n, 1, 1))
    v, u = line[:, None] - y, line - x
    power = 2.0 * 4.0 ** (1 - (roundness + 1) / 2)  # from a disc's 2 to nearly a square's 8
    inside = np.abs(u / radius) ** power + np.abs(v / radius) ** power < 1
    turn = lean[:, None, None]
    along = u * np.cos(turn) + v * np.sin(turn)
    stripes = 0.5 + 0.5 * np.sin(along * (0.9 + 0.5 * density) + rng.uniform(0, 6.3, (n, 1, 1)))
    angles = hue[:, None] + np.array([0.0, 2.0, 4.0]) * np.pi / 3
    colour = 0.5 + 0.4 * np.cos(angles)
    figure = colour[:, :, None, None] * (0.35 + 0.65 * stripes[:, None])
    behind = rng.uniform(0.1, 0.9, (n, 3, 1, 1)) + rng.normal(0, 0.08, (n, 3, 8, 8)).repeat(
        4, 2
    ).repeat(4, 3)
    picture = np.where(inside[:, None], figure, behind) * rng.uniform(0.7, 1.2, (n, 1, 1, 1))
    noise = rng.normal(0, 1, picture.shape) * rng.uniform(0.03, 0.12, (n, 1, 1, 1))
    found: Array = (np.clip(picture + noise, 0, 1) * 255).astype(np.uint8)
    return found
