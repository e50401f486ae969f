"""What a network can be turned into, to be timed: its forms, and variants drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import nn

from lighten import techniques
from lighten.core.protocols import Backend
from lighten.core.recipe import Edit, Recipe
from lighten.formats.calibrate import Histogram
from lighten.network.graph import Graph
from lighten.program.ir import Program
from lighten.program.quantize import quantizable, quantize
from lighten.program.sparsity import thinned
from lighten.search.dependence import Build, first_slices
from lighten.search.space import fewer_weights
from lighten.techniques.weights import thinning

RATIOS = (0.2, 1.0)  # keep ratios drawn between


class Bench(Protocol):
    """What making variants needs of the workbench."""

    @property
    def graph(self) -> Graph: ...
    @property
    def backend(self) -> Backend: ...
    def lowered(self, module: nn.Module) -> Program: ...


def builder(bench: Bench) -> Build:
    """Makes the Program of a recipe for timing: cut, lowered, int8 with made-up ranges, and any
    weights left where but a share of them stays.
    """
    made_up = Histogram.of(np.array([0.0, 1.0, 6.0]))

    def build(recipe: Recipe) -> Program:
        program = bench.lowered(techniques.apply(bench.graph, recipe))
        there = set(quantizable(program))
        layers = [edit.place for edit in recipe.by("quantize") if edit.place in there]
        ranges = dict.fromkeys(program.values, made_up)
        program = (
            quantize(program, ranges, layers, "max", bench.backend.joins) if layers else program
        )
        fewer = [edit for edit in recipe.by("weights") if edit.place in there]
        return thinned(program, {e.place: (thinning(e).pattern, e["density"]) for e in fewer})

    return build


def forms(bench: Bench) -> tuple[tuple[Edit, ...], ...]:
    """What brings all layers into each form that the backend runs: int8, and where it skips zeros,
    int8 with ever fewer weights; nothing where it runs the network in float alone.
    """
    int8 = eight(bench)
    if not int8 or not bench.backend.skips_zeros:
        return (int8,) if int8 else ()
    thin = list(fewer_weights(bench.graph).values())
    levels = range(min(map(len, thin), default=0))
    return (int8, *((*int8, *(edits[level] for edits in thin)) for level in levels))


def eight(bench: Bench) -> tuple[Edit, ...]:
    """What makes all layers int8; nothing where the backend runs the network in float alone."""
    build, int8 = builder(bench), techniques.everywhere("quantize", bench.graph)
    missing = bench.backend.missing
    if int8 and set(missing(build(Recipe(int8)))) - set(missing(build(Recipe()))):
        return ()
    return int8


def draw(graph: Graph, seed: int, count: int, forms: Sequence[Sequence[Edit]] = ()) -> list[Recipe]:
    """Recipes over all keep ratios and forms; first the whole network, in float and in each of the
    `forms` that it can have.

    A third keep one ratio everywhere, the others draw one per group. Half of these rounded to a
    multiple of four, as the search will; each is float, int8, or (a quarter) mixed by layer. A
    third also drop blocks: so the time of a call is told from that of its ops.
    """
    rng = np.random.default_rng(seed)
    found = [Recipe(), *(Recipe(tuple(form)) for form in forms)]
    while len(found) < count:
        same, rounded = rng.random() < 1 / 3, rng.random() < 1 / 2
        ratios = np.full(len(graph.groups), rng.uniform(*RATIOS))
        if not same:
            ratios = rng.uniform(*RATIOS, len(graph.groups))
        edits = [
            first_slices(group, kept)
            for group, ratio in zip(graph.groups, ratios, strict=True)
            if (kept := _count(group.size, ratio, 4 if rounded else 1)) < group.size
        ]
        dropped = _dropped(graph, rng)
        gone = {place for name in dropped for place in graph.inside(name)}
        there = [edit for edit in (*edits, *_formed(forms, rng)) if edit.place not in gone]
        found.append(Recipe((*there, *(Edit.of("blocks", name) for name in dropped))))
    return [recipe.without_training() for recipe in found[:count]]


def _count(size: int, ratio: float, multiple: int) -> int:
    exact = size * ratio
    kept = round(exact / multiple) * multiple if size >= 2 * multiple else round(exact)
    return int(min(size, max(1, kept)))


def _dropped(graph: Graph, rng: np.random.Generator) -> list[str]:
    """Names of blocks to drop: in a third of the variants, any share of them."""
    share = rng.random() if rng.random() < 1 / 3 else 0.0
    return [block.name for block in graph.blocks if rng.random() < share]


def _formed(forms: Sequence[Sequence[Edit]], rng: np.random.Generator) -> list[Edit]:
    """Some layers in int8, and where there are sparser forms, each layer in any of them."""
    kind = rng.random()
    share = 1.0 if kind < 0.45 else 0.0 if kind < 0.75 else rng.random()
    int8 = forms[0] if forms else ()
    found = [edit for edit in int8 if rng.random() < share]
    for edit in tuple(found):
        form = forms[int(rng.integers(len(forms)))]
        found += [e for e in form if e.technique == "weights" and e.place == edit.place]
    return found
