"""Why each layer was touched or not: what was done, what stood in the way, what it would have cost.

    done     what the recipe does there, and what that was predicted to save and to lose
    reason   why a technique has no place at the layer: the graph's own words
    offer    what the next step there was predicted to save and to lose, where it was not taken

Where no search found the recipe there are no predictions, only what was done and what stood in the
way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from lighten import techniques
from lighten.core.device import Device
from lighten.core.recipe import Edit, Recipe
from lighten.network.graph import Block, Graph, Group, Layer
from lighten.search.problem import Choice
from lighten.search.space import Place, Space

Json = dict[str, Any]
NOWHERE = Device("", "", 1)
IGNORED = "ignored, as asked"
OFFERED = ("channels", "blocks", "quantize")  # what a search chooses from
NOT_RUN = "the backend does not run it"


@dataclass(frozen=True)
class Priced:
    """The predictions at the recipe that was chosen: its choice, and what everything is paid in.

    `paid` is the most that any step of the recipe was predicted to lose per unit of `quantity`.
    """

    space: Space
    choice: Choice
    quantity: str
    paid: float

    @classmethod
    def of(cls, space: Space, recipe: Recipe) -> Priced:
        """The predictions of `space` at `recipe`. Raises `RecipeError` where it lies outside."""
        choice = space.choice(recipe.without_training())
        quantity = "latency" if "latency" in space.limits else next(iter(space.limits), "latency")
        found = cls(space, choice, quantity, 0.0)
        rates = [found.rate(at, c - 1, c) for at, c in enumerate(choice) if c]
        return cls(space, choice, quantity, max(filter(isfinite, rates), default=0.0))

    def step(self, at: int, start: int, end: int) -> tuple[float, float]:
        """What place `at` saves and loses from choice `start` to `end`, all else as chosen."""
        problem = self.space.priced
        first, last = ((*self.choice[:at], c, *self.choice[at + 1 :]) for c in (start, end))
        saves = problem.cost(first, self.quantity) - problem.cost(last, self.quantity)
        return saves, problem.nodes[at].loss[end] - problem.nodes[at].loss[start]

    def rate(self, at: int, start: int, end: int) -> float:
        """Loss per unit saved; infinite where nothing is saved."""
        saves, loses = self.step(at, start, end)
        return max(loses, 0.0) / saves if saves > 0 else float("inf")

    def told(self, at: int, start: int, end: int) -> Json:
        """One step as plain values."""
        saves, loses = self.step(at, start, end)
        place = self.space.places[at]
        return {
            "from": place.widths[start],
            "to": place.widths[end],
            "quantity": self.quantity,
            "saves": saves,
            "loses": loses,
        }

    def offer(self, at: int) -> Json | None:
        """The further step at a place with the best rate, beside the most that was paid."""
        start, last = self.choice[at], len(self.space.places[at].edits) - 1
        ends = sorted({start + 1, last} - {start})
        if start == last:
            return None
        best = min(ends, key=lambda end: (self.rate(at, start, end), end))
        return {**self.told(at, start, best), "dear": self.rate(at, start, best) > self.paid}


def why(graph: Graph, recipe: Recipe, space: Space | None) -> dict[str, list[Json]]:
    """Layer → one entry per technique and place, in the order in which techniques act."""
    priced = Priced.of(space, recipe) if space is not None and space.problem else None
    offered = [row for row in techniques.TABLE.values() if row.name in OFFERED]
    rows = sorted(offered, key=lambda row: row.order)
    told: dict[str, list[tuple[str, Json]]] = {layer.name: [] for layer in graph.layers}
    for row in rows:
        for place in row.places(graph):
            entry = _entry((row.name, place), graph, recipe, priced)
            for name in covered(place):
                told.setdefault(name, []).append((row.name, entry))
    gone = {layer for edit in recipe.by("blocks") for layer in graph.inside(edit.place)}
    found: dict[str, list[Json]] = {}
    for layer in graph.layers:
        entries: list[Json] = []
        for row in rows:
            if layer.name in gone and row.name != "blocks":
                continue
            mine = [entry for name, entry in told[layer.name] if name == row.name]
            entries += mine or _nowhere(row.name, layer, graph)
        found[layer.name] = entries
    return found


def covered(place: Layer | Group | Block) -> Sequence[str]:
    """The layers that are changed where a place is: for a group, those that make or carry it."""
    if isinstance(place, Group):
        members = (*place.producers, *place.followers)
        return list(dict.fromkeys(m.parameter.rpartition(".")[0] for m in members))
    return place.layers if isinstance(place, Block) else (place.name,)


def _entry(where: tuple[str, Any], graph: Graph, recipe: Recipe, priced: Priced | None) -> Json:
    """What was done at a place, or what was not and why."""
    technique, place = where
    edit = next((e for e in recipe.by(technique) if e.place == place.name), None)
    told: Json = {"technique": technique, "place": place.name, "done": edit is not None}
    told["with"] = [name for name in covered(place) if name != place.name]
    if edit is not None:
        told["settings"] = _short(edit)
    reason = techniques.TABLE[technique].knobs(place, graph, NOWHERE).reason
    at = _position(priced, technique, place.name) if priced else None
    if reason and edit is None:
        told["reason"] = reason
    elif priced and at is not None and edit is not None:
        told["predicted"] = priced.told(at, 0, priced.choice[at])
    elif priced and at is not None:
        told["offer"] = priced.offer(at)
    elif priced:
        told["reason"] = NOT_RUN
    return told


def _position(priced: Priced, technique: str, name: str) -> int | None:
    known: Iterable[tuple[int, Place]] = enumerate(priced.space.places)
    return next((at for at, p in known if p.key == f"{technique}:{name}"), None)


def _short(edit: Edit) -> Mapping[str, Any]:
    """Settings with lists as their lengths: 48 of 64 slices, not which."""
    return {k: len(v) if isinstance(v, tuple) else v for k, v in edit.settings}


def _nowhere(technique: str, layer: Layer, graph: Graph) -> list[Json]:
    """Why a technique has no place at a layer; nothing where that needs no saying."""
    kinds = techniques.TABLE["quantize"]
    if layer.name in graph.ignored:
        reason = IGNORED if technique != "blocks" else ""
    elif technique == "channels":
        reason = layer.uncut
    elif technique == "quantize":
        reason = kinds.knobs(layer, graph, NOWHERE).reason
    else:
        reason = ""
    if not reason:
        return []
    return [{"technique": technique, "place": layer.name, "done": False, "reason": reason}]
