"""Channels that are nearly always near zero matter little (Polyak and Wolf 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.criteria.slices import layer_of, magnitude, over_members, summed
from lighten.criteria.statistics import Statistics
from lighten.network.graph import Group, Member

Array = np.ndarray[Any, Any]


def activation(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """The mean |activation| of each slice, as its readers see it: `[size]`.

    The magnitude of its filters where it was not seen.
    """

    def one(member: Member) -> Array | None:
        seen = stats.inputs.get(layer_of(member))
        widest = max((max(indices) for indices in member.slices if indices), default=-1)
        return None if seen is None or widest >= len(seen) else summed(seen, member)

    scores = over_members(group.consumers, one)
    return magnitude(group, weights, 1) if scores is None else scores
