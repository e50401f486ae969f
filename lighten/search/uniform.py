"""The same keep ratio everywhere, as large as the limits allow (row C8): what a person would do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.search.history import tried
from lighten.search.problem import Choice
from lighten.search.space import Space

name = "uniform"
RATIOS = np.linspace(1.0, 0.05, 96)


def propose(space: Space, history: Sequence[Trial], seed: int, count: int) -> list[Recipe]:
    """The largest ratios that meet the limits, in int8 where that is to be had and then in float.

    Where none does, the smallest. Later calls go on to smaller ratios.
    """
    known = set(tried(space, history))
    ladders = [_ladder(space, int8) for int8 in (True, False) if int8 is False or _has_int8(space)]
    found: list[Choice] = []
    for step in range(max(map(len, ladders))):
        for ladder in ladders:
            if step < len(ladder) and ladder[step] not in known and ladder[step] not in found:
                found.append(ladder[step])
    return [space.recipe(choice) for choice in found[:count]]


def _has_int8(space: Space) -> bool:
    return bool(space.of("quantize"))


def _ladder(space: Space, int8: bool) -> list[Choice]:
    """Every different choice of one ratio that meets the limits, the mildest first."""
    rungs = list(dict.fromkeys(_uniform(space, float(ratio), int8) for ratio in RATIOS))
    within = [choice for choice in rungs if space.priced.meets(choice, space.limits)]
    return within or rungs[-1:]


def _uniform(space: Space, ratio: float, int8: bool) -> Choice:
    choice = []
    for place in space.places:
        if place.technique == "channels":
            wanted = ratio * place.widths[0]
            nearest = min(range(len(place.widths)), key=lambda c: abs(place.widths[c] - wanted))
            choice.append(nearest)
        else:
            choice.append(int(place.technique == "quantize" and int8))
    return tuple(choice)
