"""Dead leaves: images with the statistics of natural ones, at two resolutions.

Discs of random grey cover each other; with radii distributed as r⁻³ edges, occlusion and the
spectrum are those of photographs. Source: Lee, Mumford & Huang 2001, "Occlusion Models for Natural
Images". Thin strokes are added, since text is what upscaling is often asked for.
"""

from __future__ import annotations

import numpy as np

from lighten.core.task import Array

SIDE, FACTOR = 48, 2
RADII = (3.0, 24.0)
LEAVES, STROKES = 70, 3
TOGETHER = 100  # images drawn at a time


def super_resolution(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Images `[n, 1, 24, 24]` and what they were at twice the resolution, both uint8.

    The small image is the mean of 2 × 2 pixels of the large one.
    """
    large = np.concatenate([drawn(rng, min(TOGETHER, n - s)) for s in range(0, n, TOGETHER)])
    cells = large.reshape(n, SIDE // FACTOR, FACTOR, SIDE // FACTOR, FACTOR)
    small = cells.mean(axis=(2, 4))
    levels = [np.rint(255 * image).astype(np.uint8)[:, None] for image in (small, large)]
    return levels[0], levels[1]


def drawn(rng: np.random.Generator, n: int) -> Array:
    """Images `[n, 48, 48]` from 0 to 1; edges are smooth over one pixel."""
    line = np.arange(SIDE, dtype=np.float32)
    canvas = np.full((n, SIDE, SIDE), 0.5, np.float32)
    for number in range(LEAVES + STROKES):
        grey = rng.beta(2.0, 2.0, (n, 1, 1)).astype(np.float32)
        y, x = rng.uniform(-4, SIDE + 4, (2, n, 1)).astype(np.float32)
        if number < LEAVES:
            down, across = np.square(line - y)[:, :, None], np.square(line - x)[:, None]
            edge = _radii(rng, n) - np.sqrt(down + across)
        else:
            angle = rng.uniform(0, np.pi, (n, 1)).astype(np.float32)
            down, across = np.cos(angle) * (line - y), np.sin(angle) * (line - x)
            edge = rng.uniform(0.4, 1.0, (n, 1, 1)).astype(np.float32) - np.abs(
                down[:, :, None] - across[:, None]
            )
        cover = np.clip(edge + 0.5, 0, 1)
        canvas += cover * (grey - canvas)
    return canvas


def _radii(rng: np.random.Generator, n: int) -> Array:
    """Radii `[n, 1, 1]` with density r⁻³ between the bounds, by inverting their distribution."""
    low, high = (bound**-2.0 for bound in RADII)
    share = rng.random((n, 1, 1))
    found: Array = ((low + share * (high - low)) ** -0.5).astype(np.float32)
    return found
