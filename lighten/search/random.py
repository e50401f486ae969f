"""Random recipes that meet the limits: the control that any search must beat (row E1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.search.history import tried
from lighten.search.problem import Choice
from lighten.search.space import Space

name = "random"
ATTEMPTS = 50


def propose(space: Space, history: Sequence[Trial], seed: int, count: int) -> list[Recipe]:
    """Choices drawn at random, then cut further at random places until they meet the limits.

    Where that does not suffice, the last attempt: the nearest that was found.
    """
    rng = np.random.default_rng([seed, len(history)])
    known = set(tried(space, history))
    found: list[Choice] = []
    spare: list[Choice] = []
    for _ in range(ATTEMPTS * count):
        if len(found) == count:
            break
        choice = space.plain(_within(space, rng))
        if choice in known or choice in found or choice in spare:
            continue
        within = space.priced.meets(choice, space.limits)
        (found if within else spare).append(choice)
    return [space.recipe(choice) for choice in (*found, *spare)[:count]]


def _within(space: Space, rng: np.random.Generator) -> Choice:
    """A random choice, made smaller at random places while it exceeds the limits."""
    sizes = [len(place.edits) for place in space.places]
    mild = rng.random()
    choice = [int(rng.integers(0, size)) if rng.random() < mild else 0 for size in sizes]
    for position in rng.permutation(np.repeat(np.arange(len(sizes)), np.array(sizes) - 1)):
        if space.priced.meets(tuple(choice), space.limits):
            break
        choice[position] = min(choice[position] + 1, sizes[position] - 1)
    return tuple(choice)
