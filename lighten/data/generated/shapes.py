"""Scenes of discs, squares, triangles and crosses before clutter, to be segmented or detected.

Colour says nothing about the kind: object and background are textured alike, contrast varies, and
later objects cover earlier ones.
"""

from __future__ import annotations

import numpy as np

from lighten.core.task import Array

KINDS = ("disc", "square", "triangle", "cross")
SEEN = 0.7  # the share of a detected object that nothing may cover
TRIES = 12
CONTRAST = (0.05, 0.45)  # of an object with what is behind it, in each colour


def segmentation(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Images `[n, 3, 40, 40]` uint8 and the class of every pixel `[n, 40, 40]`, 0 background."""
    side = 40
    images, labels = np.zeros((n, 3, side, side), np.uint8), np.zeros((n, side, side), np.uint8)
    for place in range(n):
        canvas = background(rng, side)
        for _ in range(rng.integers(2, 6)):
            kind = int(rng.integers(len(KINDS)))
            mask = outline(rng, kind, side, (5.0, 12.0))[0]
            paint(rng, canvas, mask)
            labels[place][mask] = 1 + kind
        images[place] = exposed(rng, canvas)
    return images, labels


def detection(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Images `[n, 3, 64, 64]` uint8 and objects `[n, 5, 5]`: class, centre x, y, width, height.

    Shares of the image in float32; the class −1 says that there is no object. No two centres lie
    in one cell of 8 × 8 pixels, and most of every object is seen.
    """
    side, most = 64, 5
    images = np.zeros((n, 3, side, side), np.uint8)
    objects = np.zeros((n, most, 5), np.float32)
    objects[..., 0] = -1
    for place in range(n):
        canvas, free = background(rng, side), np.ones((side, side), bool)
        cells: set[tuple[int, int]] = set()
        wanted, count = int(rng.integers(1, most + 1)), 0
        for _ in range(TRIES):
            kind = int(rng.integers(len(KINDS)))
            mask, box = outline(rng, kind, side, (7.0, 15.0))
            cell = (int(box[0] * 8), int(box[1] * 8))
            if count == wanted or cell in cells or (mask & ~free).any():
                continue
            cells.add(cell)
            free &= ~mask
            paint(rng, canvas, mask)
            objects[place, count] = (kind, *box)
            count += 1
        for _ in range(rng.integers(0, 4)):  # clutter: thin bars that cross the scene
            bar = stroke(rng, side)
            if not (bar & ~free).any() or rng.random() < 0.5:
                paint(rng, canvas, bar)
        images[place] = exposed(rng, canvas)
    return images, objects


def grid(side: int) -> tuple[Array, Array]:
    """The coordinates of all pixels: rows `[side, 1]` and columns `[1, side]`."""
    line = np.arange(side, dtype=np.float32)
    return line[:, None], line[None]


def outline(
    rng: np.random.Generator, kind: int, side: int, sizes: tuple[float, float]
) -> tuple[Array, tuple[float, float, float, float]]:
    """A mask `[side, side]` of a turned shape, and its box (centre x, y, width, height), shares."""
    size = rng.uniform(*sizes)
    y, x = rng.uniform(0.7 * size, side - 1 - 0.7 * size, 2)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = grid(side)
    u = np.cos(angle) * (columns - x) + np.sin(angle) * (rows - y)
    v = np.cos(angle) * (rows - y) - np.sin(angle) * (columns - x)
    mask = INSIDE[kind](u / size, v / size)
    down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = down[0], down[-1] + 1, across[0], across[-1] + 1
    box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return mask, tuple(float(value) / side for value in box)  # type: ignore[return-value]


def _triangle(u: Array, v: Array) -> Array:
    lean = np.abs(u) * np.sqrt(3.0)
    found: Array = (v > -0.55) & (v + lean < 1.1)
    return found


def _cross(u: Array, v: Array) -> Array:
    a, b = np.abs(u), np.abs(v)
    found: Array = (np.minimum(a, b) < 0.33) & (np.maximum(a, b) < 1.0)
    return found


# kind → what is inside, around the origin, reaching to about 1
INSIDE = (
    lambda u, v: u * u + v * v < 0.72,
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.75,
    _triangle,
    _cross,
)


def stroke(rng: np.random.Generator, side: int) -> Array:
    """A thin bar through a random point, as a mask."""
    y, x = rng.uniform(0, side, 2)
    angle, half = rng.uniform(0, np.pi), rng.uniform(0.5, 1.5)
    rows, columns = grid(side)
    across = np.abs(np.cos(angle) * (rows - y) - np.sin(angle) * (columns - x)) < half
    along = np.abs(np.cos(angle) * (columns - x) + np.sin(angle) * (rows - y)) < side / 4
    found: Array = across & along
    return found


def background(rng: np.random.Generator, side: int) -> Array:
    """A canvas `[3, side, side]` around 0.5: a slope of colour and smooth blotches."""
    rows, columns = grid(side)
    slope = rng.normal(0, 0.15, (2, 3, 1, 1)) / side
    canvas = rng.uniform(0.25, 0.75, (3, 1, 1)) + slope[0] * rows + slope[1] * columns
    coarse = rng.normal(0, 0.06, (3, side // 4, side // 4))
    found: Array = canvas + coarse.repeat(4, 1).repeat(4, 2)
    return found


def paint(rng: np.random.Generator, canvas: Array, mask: Array) -> None:
    """Fill the mask with a colour that differs from what it covers, blotched as that is."""
    side = canvas.shape[1]
    behind = canvas[:, mask].mean(1) if mask.any() else np.full(3, 0.5)
    step = rng.uniform(*CONTRAST, 3) * rng.choice((-1.0, 1.0), 3)
    colour = np.where((behind + step > 1) | (behind + step < 0), behind - step, behind + step)
    colour = colour[:, None, None]
    blotches = rng.normal(0, 0.05, (3, side // 4, side // 4)).repeat(4, 1).repeat(4, 2)
    np.copyto(canvas, colour + blotches, where=mask)


def exposed(rng: np.random.Generator, canvas: Array) -> Array:
    """The canvas as a camera sees it: brightness, noise of some strength, uint8."""
    noise = rng.normal(0, rng.uniform(0.02, 0.06), canvas.shape)
    seen = rng.uniform(0.7, 1.2) * canvas + noise
    found: Array = (np.clip(seen, 0, 1) * 255).astype(np.uint8)
    return found
