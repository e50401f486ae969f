"""`python -m lighten.data [SPEC]`: the sizes of the splits, and one image in characters."""

from __future__ import annotations

import sys

import numpy as np

from lighten.core.task import Array
from lighten.data import Splits, read
from lighten.errors import InputError

SHADES = " .:-=+*#%@"


def drawn(image: Array, width: int = 32) -> str:
    """An image `[c, h, w]` in characters, two per pixel, the brightest darkest."""
    step = max(1, image.shape[2] // width)
    grey = image.astype(np.float64).mean(axis=0)[::step, ::step]
    level = (grey - grey.min()) / (np.ptp(grey) or 1.0) * (len(SHADES) - 1)
    return "\n".join("".join(2 * SHADES[round(v)] for v in row).rstrip() for row in level)


def told(splits: Splits) -> str:
    """What the splits hold, in a few lines."""
    x = splits.train.x
    lines = [f"{splits.name}   fingerprint {splits.fingerprint}"]
    lines += [f"  {name:<6}{len(split):>8} samples" for name, split in splits.named().items()]
    lines += [f"  one sample {list(x.shape[1:])} {x.dtype}, {len(splits.labels)} classes"]
    lines += [f"  {splits.preprocess}", *(f"  {note}" for note in splits.notes)]
    if x.ndim == 4:
        image, target = splits.train.take(np.arange(1))
        plain = target.ndim == 1 and bool(splits.labels)
        label = splits.labels[int(target[0])] if plain else f"target {list(target.shape[1:])}"
        lines += ["", drawn(image[0]), f"the first of train: {label}"]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print what the data holds; 2 where it cannot be read."""
    try:
        print(told(read(arguments[0] if arguments else "builtin:digits")))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
