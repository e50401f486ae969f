"""The control: scores drawn at random, from the seed and the group's name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.criteria.statistics import Statistics
from lighten.network.graph import Group

Array = np.ndarray[Any, Any]


def random(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """Uniform in [0, 1): `[size]`."""
    return np.random.default_rng([stats.seed, zlib.crc32(group.name.encode())]).random(group.size)
