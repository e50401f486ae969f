"""From one number per index of a weight to one number per slice of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lighten.network.graph import Group, Member

Array = np.ndarray[Any, Any]


def layer_of(member: Member) -> str:
    """The module path a parameter belongs to.

    >>> layer_of(Member("layer1.0.conv1.weight", 0, ((0,),)))
    'layer1.0.conv1'
    """
    return member.parameter.rpartition(".")[0]


def summed(per_index: Array, member: Member) -> Array:
    """`[…, n]` numbers per index, summed over the indices of each slice: `[…, size]`."""
    slices = [list(indices) for indices in member.slices]
    return np.stack([per_index[..., indices].sum(axis=-1) for indices in slices], axis=-1)


def per_index(weight: Array, dim: int, power: int) -> Array:
    """Σ |w|^power over everything but `dim`: `[n]`."""
    others = tuple(d for d in range(weight.ndim) if d != dim)
    total: Array = (np.abs(weight.astype(np.float64)) ** power).sum(axis=others)
    return total


def normalised(scores: Array) -> Array:
    """Scores with mean one, so that layers of other magnitudes weigh the same in a sum."""
    mean = float(np.abs(scores).mean())
    return scores / mean if mean > 0 else scores


def over_members(members: Iterable[Member], one: Callable[[Member], Array | None]) -> Array | None:
    """The sum over members of `one`, each normalised; None where none of them has any."""
    found = [scores for member in members if (scores := one(member)) is not None]
    return np.sum([normalised(scores) for scores in found], axis=0) if found else None


def magnitude(group: Group, weights: Mapping[str, Array], power: int) -> Array:
    """The group's slices by the magnitude of what produces them (not of their biases)."""

    def one(member: Member) -> Array | None:
        weight = weights[member.parameter]
        if weight.ndim < 2:
            return None
        return summed(per_index(weight, member.dim, power), member)

    scores = over_members(group.producers, one)
    return np.ones(group.size) if scores is None else scores
