"""Conformance suites, one per protocol: what every row of a table must do, plug-ins included.

A suite is a list of checks that raise AssertionError. Parametrise a test over them::

    @pytest.mark.parametrize("check", lighten.testing.SEARCHER, ids=lambda check: check.__name__)
    def test_my_searcher(check, space):
        check(my_searcher, space)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lighten.core.protocols import Criterion, Searcher
from lighten.core.recipe import Recipe
from lighten.core.trial import Score, Trial
from lighten.criteria import Statistics
from lighten.network.graph import Graph
from lighten.search.space import Space

Check = Callable[[Searcher, Space], None]
COUNT = 4


def equal_inputs_give_equal_proposals(searcher: Searcher, space: Space) -> None:
    """No state, no clock, no global random numbers."""
    first = list(searcher.propose(space, [], 0, COUNT))
    assert first, f"{searcher.name} proposed nothing"
    assert first == list(searcher.propose(space, [], 0, COUNT))


def proposals_meet_the_predicted_limits(searcher: Searcher, space: Space) -> None:
    """Where something can meet them, as in the space given."""
    for recipe in searcher.propose(space, [], 1, COUNT):
        assert space.priced.meets(space.choice(recipe), space.limits), recipe


def proposals_lie_in_the_space(searcher: Searcher, space: Space) -> None:
    """Each is a choice of the space in its plain form, made for its weights and data."""
    for recipe in searcher.propose(space, [], 2, COUNT):
        choice = space.choice(recipe)
        assert space.recipe(choice) == recipe
        assert space.plain(choice) == choice
        assert (recipe.weights, recipe.data) == (space.weights, space.data)


def proposals_differ(searcher: Searcher, space: Space) -> None:
    """At most as many as were asked for, no two the same."""
    found = list(searcher.propose(space, [], 3, COUNT))
    assert len(found) <= COUNT
    assert len(set(found)) == len(found)


def what_was_tried_is_not_proposed_again(searcher: Searcher, space: Space) -> None:
    """Failed trials too."""
    history = [_trial(recipe, i) for i, recipe in enumerate(searcher.propose(space, [], 4, COUNT))]
    before = {trial.recipe for trial in history}
    after = searcher.propose(space, history, 4, COUNT)
    assert not before & set(after)


def impossible_limits_give_the_nearest(searcher: Searcher, space: Space) -> None:
    """Not an exception and not nothing: something smaller than the original."""
    problem = space.priced
    strict = space.bounded(problem, {quantity: 1e-9 for quantity in space.limits})
    found = searcher.propose(strict, [], 5, 1)
    assert len(found) == 1
    for quantity in space.limits:
        whole = problem.cost(problem.mildest, quantity)
        assert problem.cost(space.choice(found[0]), quantity) < whole


def _trial(recipe: Recipe, position: int) -> Trial:
    """Some fail; the others score."""
    failure = "it did not train" if position % 2 else ""
    trained = replace(recipe, training=replace(recipe.training, epochs=1.0))
    return Trial(trained, None if failure else Score(90.0), "verify", {}, failure)


SEARCHER: tuple[Check, ...] = (
    equal_inputs_give_equal_proposals,
    proposals_meet_the_predicted_limits,
    proposals_lie_in_the_space,
    proposals_differ,
    what_was_tried_is_not_proposed_again,
    impossible_limits_give_the_nearest,
)


def scores_every_slice(criterion: Criterion, graph: Graph, stats: Statistics) -> None:
    """One finite, non-negative score per slice of every group, the same each time."""
    import numpy as np

    from lighten.criteria import weights_of

    weights = weights_of(graph)
    for group in graph.groups:
        scores = np.asarray(criterion(group, weights, stats))
        assert scores.shape == (group.size,)
        assert np.isfinite(scores).all() and (scores >= 0).all()
        assert (scores == criterion(group, weights, stats)).all()


CRITERION: tuple[Callable[[Criterion, Graph, Statistics], None], ...] = (scores_every_slice,)
