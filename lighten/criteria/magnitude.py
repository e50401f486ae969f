"""Filters with small weights matter little (row C3, Li et al. ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.criteria.slices import magnitude
from lighten.criteria.statistics import Statistics
from lighten.network.graph import Group

Array = np.ndarray[Any, Any]


def l1(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """Σ |w| of each slice's filters: `[size]`."""
    return magnitude(group, weights, 1)


def l2(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """√Σ w² of each slice's filters: `[size]`."""
    return np.sqrt(magnitude(group, weights, 2))
