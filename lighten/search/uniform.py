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
    """The largest ratios that meet the limits, in every form that layers can have: int8, with ever
    fewer weights, and last float.

    Where none does, the smallest. Later calls go on to smaller ratios.
    """
    known = set(tried(space, history))
    forms = max((len(space.places[at].edits) for at in space.of("quantize")), default=1)
    ladders = [_ladder(space, form) for form in (*range(1, forms), 0)]
    found: list[Choice] = []
    for step in range(max(map(len, ladders))):
        for ladder in ladders:
            if step < len(ladder) and ladder[step] not in known and ladder[step] not in found:
                found.append(ladder[step])
    return [space.recipe(choice) for choice in found[:count]]


def _ladder(space: Space, form: int) -> list[Choice]:
    """Every different choice of one ratio that meets the limits, the mildest first."""
    rungs = list(dict.fromkeys(_uniform(space, float(ratio), form) for ratio in RATIOS))
    within = [choice for choice in rungs if space.priced.meets(choice, space.limits)]
    return within or rungs[-1:]


def _uniform(space: Space, ratio: float, form: int) -> Choice:
    choice = []
    for place in space.places:
        if place.technique == "channels":
            wanted = ratio * place.widths[0]
            nearest = min(range(len(place.widths)), key=lambda c: abs(place.widths[c] - wanted))
            choice.append(nearest)
        elif place.technique == "quantize":
            choice.append(min(form, len(place.edits) - 1))
        else:
            choice.append(0)
    return tuple(choice)
