"""Which choices have been tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lighten.core.trial import Trial
from lighten.errors import RecipeError
from lighten.search.problem import Choice
from lighten.search.space import Space


def tried(space: Space, history: Sequence[Trial]) -> Iterator[Choice]:
    """The choices of all trials whose recipe lies in the space, failed ones too."""
    for trial in history:
        try:
            yield space.choice(trial.recipe)
        except RecipeError:
            continue
