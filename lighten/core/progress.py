"""Being told while something takes long."""

from __future__ import annotations

from collections.abc import Callable

# called with what is being done, how far, of how much
Progress = Callable[[str, float, float], None]


def silent(stage: str, done: float, total: float) -> None:
    """Tell nobody."""
