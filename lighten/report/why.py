"""Why a layer is as it is, in sentences; what was only predicted says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lighten.report.numbers import count, milliseconds, size

Json = Mapping[str, Any]

# quantity of a budget → how it is written
QUANTITIES: dict[str, Callable[[float], str]] = {
    "latency": milliseconds,
    "size": size,
    "macs": lambda value: f"{count(value)} MACs",
}
INT8 = 8.0  # bits of a weight
NAMED = 2  # layers that a group is said to go with, by name


def sentences(row: Json, summary: Json, known: Collection[str]) -> list[str]:
    """One per entry of a layer's `why`; `known` are the layers that the table shows."""
    return [_sentence(entry, str(row["name"]), (summary, known)) for entry in row.get("why") or ()]


def loss(value: float, summary: Json) -> str:
    """A predicted loss in its unit.

    >>> loss(0.02134, {})
    '0.021 nats'
    """
    digits = f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
    return f"{digits} {summary.get('loss_unit', 'nats')}"


def step(technique: str, start: float, end: float) -> str:
    """What a step does to a place.

    >>> step("channels", 64, 48), step("quantize", 32, 8), step("blocks", 1, 0)
    ('64 → 48 channels', 'int8', 'dropped')
    >>> step("quantize", 32, 2)
    'int8 with 25 % of its weights'
    """
    if technique == "channels":
        return f"{start:g} → {end:g} channels"
    if technique == "quantize" and end < INT8:
        return f"int8 with {100 * end / INT8:g} % of its weights"
    return {"quantize": "int8", "blocks": "dropped"}.get(technique, technique)


def listed(names: Sequence[str], most: int) -> str:
    """Names with commas, the last after "and"; those beyond `most` counted.

    >>> listed(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def _sentence(entry: Json, layer: str, context: tuple[Json, Collection[str]]) -> str:
    summary, known = context
    technique, place = str(entry["technique"]), str(entry["place"])
    if entry["done"]:
        others = [n for n in (place, *entry.get("with", ())) if n in known and n != layer]
        text = _done(technique, place, entry.get("settings") or {})
        if technique == "channels" and others:
            text += f", together with {listed(others, NAMED)}"
        return text + _predicted(entry.get("predicted"), summary) + "."
    head = {
        "channels": "all channels kept",
        "quantize": "not int8",
        "blocks": f"block {place} kept",
    }.get(technique, f"no {technique}")
    return f"{head}: {entry.get('reason') or _offer(technique, entry.get('offer'), summary)}."


def _done(technique: str, place: str, settings: Json) -> str:
    if technique == "channels":
        return f"{settings.get('keep', '?')} of {settings.get('of', '?')} channels kept"
    if technique == "quantize":
        kept = settings.get("density", 1.0)
        fewer = f" with {100 * kept:g} % of its weights" if kept < 1 else ""
        return f"int{settings.get('bits', 8)}{fewer}"
    return f"block {place} dropped" if technique == "blocks" else technique


def _predicted(told: Json | None, summary: Json) -> str:
    if not told:
        return ""
    write = QUANTITIES[told["quantity"]]
    gained = f"save {write(told['saves'])}" if told["saves"] > 0 else "save nothing"
    return f": predicted to {gained} for {loss(told['loses'], summary)}"


def _offer(technique: str, told: Json | None, summary: Json) -> str:
    """Why the next step was not taken."""
    if not told:
        return "the recipe leaves it"
    what = step(technique, told["from"], told["to"])
    what = {"dropped": "dropping it", "int8": "it"}.get(what, what)
    if told["saves"] <= 0:
        nothing = {"latency": "no time", "size": "no bytes", "macs": "no work"}[told["quantity"]]
        return f"{what} was predicted to save {nothing}"
    write = QUANTITIES[told["quantity"]]
    price = f"{write(told['saves'])} for {loss(told['loses'], summary)}"
    if told.get("dear"):
        return f"{what} was predicted to save {price}, dearer than anything that was done"
    after = "; the budget was met without it" if summary.get("met") else "; not chosen"
    return f"{what} was predicted to save {price}{after}"
