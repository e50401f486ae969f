"""The scale that a BatchNorm gives a channel says how much of it goes on (Liu et al. ICCV 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.criteria.slices import layer_of, magnitude, over_members, per_index, summed
from lighten.criteria.statistics import Statistics
from lighten.network.graph import Group, Member

Array = np.ndarray[Any, Any]


def batch_norm(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """|γ| of each slice: `[size]`; the L1 magnitude where no normalisation follows."""

    def one(member: Member) -> Array | None:
        is_scale = f"{layer_of(member)}.running_var" in weights
        if not is_scale or not member.parameter.endswith(".weight"):
            return None
        return summed(per_index(weights[member.parameter], 0, 1), member)

    scores = over_members(group.followers, one)
    return magnitude(group, weights, 1) if scores is None else scores
