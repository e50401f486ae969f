"""Every searcher passes the conformance suite, and finds what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lighten import search, testing
from lighten.core.recipe import Edit
from lighten.errors import BudgetError, InputError, RecipeError
from lighten.search.problem import Node, Problem, Term
from lighten.search.solver import front
from lighten.search.space import Place, Space


def channels(name: str, size: int) -> Place:
    kept = range(size, 0, -4)
    edits = [Edit.of("channels", name, keep=list(range(k)), of=size) for k in kept if k < size]
    return Place("channels", name, ((), *((edit,) for edit in edits)), tuple(map(float, kept)))


@pytest.fixture(scope="module")
def space() -> Space:
    """A chain of four groups, the third inside a block that may be dropped, layers in int8."""
    groups = [channels(f"conv{i}", 24) for i in range(4)]
    block = Place("blocks", "block", ((), (Edit.of("blocks", "block"),)), (1.0, 0.0))
    layers = [
        Place("quantize", f"conv{i}", ((), (Edit.of("quantize", f"conv{i}", bits=8),)), (32.0, 8.0))
        for i in range(4)
    ]
    places = (*groups, block, *layers)
    rng = np.random.default_rng(0)

    def loss(place: Place) -> tuple[float, ...]:
        scale = {"channels": 1.0, "blocks": 0.5, "quantize": 0.01}[place.technique]
        return tuple(rng.uniform(0.5, 2) * scale * c**2 for c in np.arange(len(place.edits)) / 5)

    nodes = tuple(Node(place.key, place.widths, loss(place)) for place in places)
    widths = np.array(groups[0].widths)
    dense = np.multiply.outer(widths, widths)
    terms = [Term("conv0", (0, 5), {"latency": np.outer(widths, [1.0, 0.5])})]
    for i in range(1, 4):
        both = dense[..., None] * np.array([1.0, 0.4]) / 24
        gates = ((4, 1),) if i == 2 else ()
        terms.append(Term(f"conv{i}", (i - 1, i, 5 + i), {"latency": both, "macs": both}, gates))
    problem = Problem(nodes, tuple(terms), (), {"latency": 5.0})
    nothing: Any = None
    whole = Space(places, {"block": (2, 7)}, nothing, weights="w", data="d")
    return whole.bounded(problem, {"latency": 0.4 * problem.cost(problem.mildest, "latency")})


@pytest.mark.parametrize("check", testing.SEARCHER, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", search.TABLE)
def test_conformance(name: str, check: testing.Check, space: Space) -> None:
    check(search.TABLE[name], space)


def test_solver_predicts_less_loss_than_the_others(space: Space) -> None:
    def best(name: str) -> float:
        found = search.searcher(name).propose(space, [], 0, 4)
        return min(space.priced.loss(space.choice(recipe)) for recipe in found)

    assert best("solver") < min(best("uniform"), best("random"))


def test_uniform_keeps_one_ratio(space: Space) -> None:
    recipe = search.TABLE["uniform"].propose(space, [], 0, 1)[0]
    assert len({len(edit["keep"]) for edit in recipe.by("channels")}) == 1
    assert len(recipe.by("quantize")) == 4


def test_seeds_differ_for_random(space: Space) -> None:
    propose = search.TABLE["random"].propose
    assert list(propose(space, [], 0, 3)) != list(propose(space, [], 1, 3))


def test_nothing_is_done_inside_a_dropped_block(space: Space) -> None:
    choice = (0, 0, 3, 0, 1, 0, 0, 1, 0)
    recipe = space.recipe(choice)
    assert recipe.edits == (Edit.of("blocks", "block"),)
    assert space.choice(recipe) == space.plain(choice) == (0, 0, 0, 0, 1, 0, 0, 0, 0)


def test_front_falls(space: Space) -> None:
    points = [(costs["latency"], costs["loss"]) for _, costs in front(space)]
    assert len(points) >= 4
    ordered = sorted(points)
    losses = [loss for _, loss in ordered]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == 0.0


def test_refusals(space: Space) -> None:
    with pytest.raises(InputError, match="must be one of solver"):
        search.searcher("annealing")
    with pytest.raises(BudgetError, match="bounded"):
        _ = Space(space.places, {}, space.graph).priced
    with pytest.raises(RecipeError, match="not in the space"):
        space.choice(space.recipe(space.mildest).with_edits([Edit.of("blocks", "other")]))
