"""What a choice is believed to cost, before and after the trials have spoken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lighten.core.recipe import Edit
from lighten.network import Graph
from lighten.search.evidence import CEILING, HALVING, UNKNOWN, WIDTH, bounded, evidence, halvings
from lighten.search.problem import Node, Problem, Term
from lighten.search.solver import propose
from lighten.search.space import Place, Space

GRAPH = Graph((), (), (), {}, (), "", torch.nn.Identity())
HALF = Edit.of("channels", "conv", keep=[0, 1], of=4)
DROP = Edit.of("blocks", "block")
EIGHT = Edit.of("quantize", "conv", bits=8)
INNER = Place("channels", "conv", ((), (HALF,)), (4.0, 2.0))
BLOCK = Place("blocks", "block", ((), (DROP,)), (1.0, 0.0))
BITS = Place("quantize", "conv", ((), (EIGHT,)), (32.0, 8.0))
SPACE = Space((INNER, BLOCK, BITS), {"block": (0, 2)}, GRAPH)
SEEN = {"channels:conv": (0.0, 0.2), "blocks:block": (0.0, 9.0), "quantize:conv": (0.0, 0.01)}


def test_small_losses_stay_and_deep_cuts_reach_a_ceiling() -> None:
    assert bounded(0.001) == pytest.approx(0.001, rel=0.01)
    assert bounded(5.0) < bounded(50.0) < CEILING


def test_width_counts_in_halvings_and_a_block_as_its_groups_down_to_one_slice() -> None:
    assert halvings(INNER, SPACE) == [0.0, 1.0]
    assert halvings(BLOCK, SPACE) == [0.0, 2.0]
    bare = Space((BLOCK,), {"block": ()}, GRAPH)
    assert 2 ** halvings(BLOCK, bare)[1] == UNKNOWN


def test_evidence_is_what_was_seen_and_the_width_that_goes() -> None:
    found = evidence(SPACE, SEEN)
    assert found[0] == {"channels": (0.0, bounded(0.2)), WIDTH: (0.0, HALVING)}
    assert found[1] == {"blocks": (0.0, bounded(9.0)), WIDTH: (0.0, 2 * HALVING)}
    assert found[2] == {"quantize": (0.0, bounded(0.01))}


def weighed(**factors: float) -> Space:
    nodes = tuple(Node(p.key, p.widths, (0.0, 0.0)) for p in SPACE.places)
    known = Space(SPACE.places, SPACE.inside, GRAPH, evidence=evidence(SPACE, SEEN))
    return known.bounded(Problem(nodes, ()), {}).weighed(factors)


def test_factors_weigh_each_kind() -> None:
    once, more = weighed(), weighed(width=3.0)
    assert once.priced.loss((1, 0, 0)) == pytest.approx(bounded(0.2) + HALVING)
    assert more.priced.loss((1, 0, 0)) == pytest.approx(bounded(0.2) + 3 * HALVING)
    assert more.weighed({}).priced.loss((1, 1, 1)) == once.priced.loss((1, 1, 1))
    assert once.grounds((1, 1, 0)) == {
        "channels": bounded(0.2),
        "blocks": bounded(9.0),
        "quantize": 0.0,
        WIDTH: pytest.approx(3 * HALVING),
    }


def test_the_first_proposals_differ_in_how_much_width_counts() -> None:
    """A block that looks dear and holds little width, or a wide group that looks free."""
    wide = Place(
        "channels", "wide", ((), (Edit.of("channels", "wide", keep=[0], of=64),)), (64.0, 1.0)
    )
    space = Space((BLOCK, wide), {"block": ()}, GRAPH)
    seen = {"blocks:block": (0.0, 1.0), "channels:wide": (0.0, 0.05)}
    nodes = tuple(Node(p.key, p.widths, (0.0, 0.0)) for p in space.places)
    terms = tuple(Term(str(n), (n,), {"latency": np.array([2.0, 1.0])}) for n in range(2))
    known = Space(space.places, space.inside, GRAPH, evidence=evidence(space, seen))
    known = known.bounded(Problem(nodes, terms), {"latency": 3.0}).weighed({})
    found = {edit.place for recipe in propose(known, (), 0, 3) for edit in recipe.edits}
    assert found == {"block", "wide"}
