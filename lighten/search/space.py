"""Everything that may be chosen in one network, as a vector of small integers.

    place    a group, a block or a layer, with its choices: the edits of each, none to leave it
    choice   one index per place; `Space.recipe` turns it into a recipe, `Space.choice` back

Which slices go for a kept count is settled here, by a criterion; how many is the search's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lighten.core.device import Device
from lighten.core.recipe import Edit, Recipe
from lighten.criteria import DEFAULT, TABLE, Statistics, order, weights_of
from lighten.errors import BudgetError, RecipeError
from lighten.network.graph import Graph, Group
from lighten.search.problem import Choice, Problem
from lighten.techniques import TABLE as TECHNIQUES
from lighten.techniques import everywhere

WIDTH_FLOAT, WIDTH_INT8 = 32.0, 8.0
LEAST_CHANNELS = 8  # that a layer reads whose weights may become fewer
Counts = Callable[[Group], Sequence[int]]  # the kept counts worth considering for a group
Losses = tuple[float, ...]  # of each choice of a place


@dataclass(frozen=True)
class Place:
    """Somewhere to choose. `widths[c]` is what choice c leaves: slices, 1 or 0 blocks, bits of a
    weight (where but a share of the weights stays, that share of theirs).
    """

    technique: str
    name: str
    edits: tuple[tuple[Edit, ...], ...]
    widths: tuple[float, ...]

    @property
    def key(self) -> str:
        """Names the place among all techniques."""
        return f"{self.technique}:{self.name}"


@dataclass(frozen=True)
class Space:
    """The places of one network. `inside[block]` are the places that go when a block is dropped.

    `problem` and `limits` are what choices cost and may cost, once that is known (`bounded`);
    `evidence` has, place by place, what the losses rest on: kind → loss of each choice.
    """

    places: tuple[Place, ...]
    inside: Mapping[str, tuple[int, ...]]
    graph: Graph = field(repr=False)
    weights: str = ""
    data: str = ""
    problem: Problem | None = field(default=None, repr=False)
    limits: Mapping[str, float] = field(default_factory=dict)
    evidence: tuple[Mapping[str, Losses], ...] = field(default=(), repr=False)
    factors: Mapping[str, float] = field(default_factory=dict)

    def bounded(self, problem: Problem, limits: Mapping[str, float]) -> Space:
        """The same space, with predicted costs and limits on them.

        Where there is no other evidence, the problem's losses are it.
        """
        pairs = zip(self.places, problem.nodes, strict=True)
        given = tuple({place.technique: node.loss} for place, node in pairs)
        return replace(self, problem=problem, limits=dict(limits), evidence=self.evidence or given)

    def weighed(self, factors: Mapping[str, float]) -> Space:
        """The same space, each kind of evidence counting `factors[kind]` times (default: once)."""
        nodes = []
        for node, kinds in zip(self.priced.nodes, self.evidence, strict=True):
            weighted = [factors.get(kind, 1.0) * np.array(loss) for kind, loss in kinds.items()]
            nodes.append(replace(node, loss=tuple(map(float, np.sum(weighted, axis=0)))))
        return replace(
            self, problem=replace(self.priced, nodes=tuple(nodes)), factors=dict(factors)
        )

    def grounds(self, choice: Choice) -> dict[str, float]:
        """What a choice loses by each kind of evidence, each counting once."""
        found: dict[str, float] = {}
        for kinds, c in zip(self.evidence, choice, strict=True):
            for kind, loss in kinds.items():
                found[kind] = found.get(kind, 0.0) + loss[c]
        return found

    @property
    def priced(self) -> Problem:
        """What choices cost. Raises `BudgetError` where that is not known yet."""
        if self.problem is None:
            raise BudgetError("The space has no predicted costs yet; call Space.bounded first.")
        return self.problem

    @property
    def mildest(self) -> Choice:
        """Nothing done anywhere."""
        return (0,) * len(self.places)

    def plain(self, choice: Choice) -> Choice:
        """The choice with nothing done inside the blocks it drops: equal recipes, equal choices."""
        gone = {
            position
            for place, c in zip(self.places, choice, strict=True)
            if place.technique == "blocks" and c
            for position in self.inside[place.name]
        }
        return tuple(0 if position in gone else c for position, c in enumerate(choice))

    def recipe(self, choice: Choice) -> Recipe:
        """The recipe of one choice per place, without training."""
        chosen = zip(self.places, self.plain(choice), strict=True)
        edits = [edit for place, c in chosen for edit in place.edits[c]]
        return Recipe(tuple(edits), weights=self.weights, data=self.data).without_training()

    def choice(self, recipe: Recipe) -> Choice:
        """The choice that makes this recipe; `RecipeError` where an edit is not in the space."""
        asked, chosen = set(recipe.edits), []
        for place in self.places:
            known = {edit for edits in place.edits for edit in edits}
            wanted = asked & known
            fitting = [c for c, edits in enumerate(place.edits) if set(edits) == wanted]
            if not fitting:
                raise RecipeError(f"What is done to {place.name} is no choice of the space.")
            chosen.append(fitting[0])
            asked -= wanted
        for edit in asked:
            raise RecipeError(f"The edit {edit.technique} of {edit.place} is not in the space.")
        return tuple(chosen)

    def of(self, technique: str) -> list[int]:
        """Positions of the places of one technique."""
        return [i for i, place in enumerate(self.places) if place.technique == technique]


def space(
    graph: Graph,
    stats: Statistics,
    criterion: str = DEFAULT,
    counts: Counts | None = None,
    techniques: Sequence[str] = ("channels", "blocks", "quantize"),
) -> Space:
    """The space of a traced network: kept counts per group, blocks to drop, layers in int8, of
    which with the technique "weights" some blocks of weights stay.

    `counts` gives the kept counts worth considering (default: `grid`); the slices kept are those
    that `criterion` ranks first. The edits are those of `lighten.techniques`.
    """
    places: list[Place] = []
    if "channels" in techniques:
        weights = weights_of(graph)
        for group in graph.groups:
            ranked = order(TABLE[criterion](group, weights, stats))
            places.append(channels_place(group, ranked, (counts or grid)(group)))
    if "blocks" in techniques:
        drops = [(block.name, Edit.of("blocks", block.name)) for block in graph.blocks]
        places += [Place("blocks", name, ((), (edit,)), (1.0, 0.0)) for name, edit in drops]
    if "quantize" in techniques:
        places += form_places(graph, "weights" in techniques)
    inside = {
        block.name: tuple(
            at
            for at, place in enumerate(places)
            if place.technique != "blocks" and place.name in graph.inside(block.name)
        )
        for block in graph.blocks
    }
    return Space(tuple(places), inside, graph, weights=graph.fingerprint)


def channels_place(group: Group, ranked: Sequence[int], counts: Sequence[int]) -> Place:
    """The place of a group: all slices kept, then ever fewer of the best ranked."""
    kept = sorted({c for c in counts if 0 < c < group.size}, reverse=True)
    edits: list[tuple[Edit, ...]] = [()]
    for count in kept:
        keep = sorted(ranked[:count])
        edits.append((Edit.of("channels", group.name, keep=keep, of=group.size),))
    return Place("channels", group.name, tuple(edits), (float(group.size), *map(float, kept)))


def form_places(graph: Graph, thin: bool = True) -> list[Place]:
    """Every layer that runs in int8: in float, in int8, and where `thin`, with ever fewer of its
    blocks of weights.
    """
    layers = fewer_weights(graph) if thin else {}
    found = []
    for edit in everywhere("quantize", graph):
        choices, widths = [(), (edit,)], [WIDTH_FLOAT, WIDTH_INT8]
        for fewer in layers.get(edit.place, ()):
            choices.append((edit, fewer))
            widths.append(WIDTH_INT8 * float(fewer["density"]))
        found.append(Place("quantize", edit.place, tuple(choices), tuple(widths)))
    return found


def fewer_weights(graph: Graph) -> dict[str, tuple[Edit, ...]]:
    """Layer → the edits that leave it a share of its blocks, the mildest first: of convolutions
    that are not in groups, but those of few channels, of which too little would be left.
    """
    row, device = TECHNIQUES["weights"], Device("", "", 1)
    found = {}
    for layer in row.places(graph):
        dense = layer.kind == "conv2d" and layer.settings.get("groups", 1) == 1
        if dense and layer.input[0] >= LEAST_CHANNELS:
            knobs = row.knobs(layer, graph, device).choices
            found[layer.name] = tuple(Edit.of("weights", layer.name, **each) for each in knobs)
    return found


def grid(group: Group, multiple: int = 4, choices: int = 9, least: float = 0.125) -> list[int]:
    """Kept counts at multiples of `multiple`, at most `choices` of them, above a least share.

    A group smaller than two steps goes slice by slice.
    """
    step = multiple if group.size >= 2 * multiple else 1
    lowest = max(1, int(np.ceil(least * group.size)))
    counts = [c for c in range(group.size, 0, -1) if c % step == 0 and c >= lowest]
    counts = counts or [lowest]
    picked = np.unique(np.round(np.linspace(0, len(counts) - 1, choices)).astype(int))
    return [group.size, *(counts[i] for i in picked if counts[i] != group.size)]
