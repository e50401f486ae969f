"""A recipe in a few lines, for the places where a whole one does not fit."""

from __future__ import annotations

from collections.abc import Sequence

from lighten.core.recipe import Edit, Recipe


def describe(recipe: Recipe, longest: int = 1200) -> list[str]:
    """One line per technique and common settings, cut at `longest`, and one about the training.

    >>> describe(Recipe((Edit.of("channels", "conv1", keep=[0, 2], of=4),)))
    ['channels: conv1 2 of 4']
    """
    places: dict[str, list[str]] = {}
    for edit in recipe.edits:
        what, where = _edit(edit)
        places.setdefault(what, []).append(where)
    lines = [_line(what, where, longest) for what, where in places.items()]
    training = recipe.training
    if lines and training.epochs:
        lines.append(f"trained {training.epochs:g} epochs, {training.optimizer}")
    return lines or ["nothing changed"]


def _line(what: str, where: Sequence[str], longest: int) -> str:
    text = f"{what}: {', '.join(where)}"
    return text if len(text) <= longest else f"{text[:longest]} …"


def _edit(edit: Edit) -> tuple[str, str]:
    """What is done, shared by many places, and where, with what is particular to the place."""
    settings = dict(edit.settings)
    kept, of = settings.pop("keep", None), settings.pop("of", "?")
    shared = "".join(f", {k} {v}" for k, v in settings.items() if not isinstance(v, tuple))
    if kept is None:
        return edit.technique + shared, edit.place
    count = len(kept) if isinstance(kept, tuple) else kept
    return edit.technique + shared, f"{edit.place} {count} of {of}"
