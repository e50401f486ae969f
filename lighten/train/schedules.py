"""How the learning rate moves: pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from lighten.errors import RecipeError

Schedule = Callable[[float], float]  # share of the run that is over, 0–1 → factor on the base rate


def constant(share: float) -> float:
    """The base rate to the end."""
    del share
    return 1.0


def cosine(share: float) -> float:
    """From the base rate to zero along half a cosine (Loshchilov & Hutter 2017, one cycle)."""
    return 0.5 * (1.0 + math.cos(math.pi * share))


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "constant": constant}


def rate(schedule: str, step: int, steps: int, warmup: float) -> float:
    """The factor on the base learning rate at `step` of `steps` (0-based).

    The first `warmup` share of the steps climbs linearly to 1, the rest follows the schedule.

    >>> [round(rate("cosine", step, 8, 0.25), 2) for step in range(8)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    if schedule not in SCHEDULES:
        raise RecipeError(f"The schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    warm = round(warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return SCHEDULES[schedule]((step - warm) / max(1, steps - warm))
