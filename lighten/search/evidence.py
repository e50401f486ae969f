"""What tells how much quality a choice will cost: what was seen, and the width that is gone.

What is seen right after a cut misleads where the cut is deep: answers are then wrong whatever was
cut, and training brings most of it back, unless too little width is left to learn with. So what
was seen counts up to a ceiling, and beside it stands the width that goes, in halvings. How much
each counts is a first belief; the trials correct it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lighten.search.space import Losses, Place, Space

WIDTH = "width"
CEILING = 0.3  # nats that what was seen of one place comes to, at most
HALVING = 0.1  # nats that half the width of one group is first believed to cost
UNKNOWN = 16.0  # slices of a block whose inside forms no group


def evidence(space: Space, seen: Mapping[str, Sequence[float]]) -> tuple[Mapping[str, Losses], ...]:
    """Per place: kind of evidence → what each choice costs by it, in nats.

    `seen` is what `sensitivity.losses` saw, by place key.
    """
    found = []
    for place in space.places:
        kinds = {place.technique: tuple(map(bounded, seen[place.key]))}
        if place.technique in ("channels", "blocks"):
            kinds[WIDTH] = tuple(HALVING * h for h in halvings(place, space))
        found.append(kinds)
    return tuple(found)


def bounded(seen: float) -> float:
    """What was seen, up to the ceiling; small values as they are.

    >>> round(bounded(0.003), 4), round(bounded(30.0), 2)
    (0.003, 0.3)
    """
    return seen / (1.0 + seen / CEILING)


def halvings(place: Place, space: Space) -> list[float]:
    """How often each choice halves the width: of a dropped block, down to one slice per group."""
    if place.technique == "channels":
        return [float(np.log2(place.widths[0] / width)) for width in place.widths]
    within = (space.places[at] for at in space.inside[place.name])
    sizes = [inner.widths[0] for inner in within if inner.technique == "channels"]
    return [0.0, float(sum(np.log2(size) for size in sizes or [UNKNOWN]))]
