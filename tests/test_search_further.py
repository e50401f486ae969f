"""Why layers are as they are, what going further would cost, where time goes, what was clipped."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Trial
from lighten.formats.calibrate import Histogram
from lighten.network import trace
from lighten.network.graph import Block, Graph
from lighten.program.build import Builder
from lighten.program.ir import Program
from lighten.search.further import further, onward, points_per_loss
from lighten.search.problem import Choice, Node, Problem, Term
from lighten.search.ranges import compact
from lighten.search.space import Place, Space
from lighten.search.spent import ADDED, parts
from lighten.search.why import Priced, why
from tests.small import untrained

HALF = Edit.of("channels", "conv", keep=[0, 1], of=4)
QUARTER = Edit.of("channels", "conv", keep=[0], of=4)
EIGHT = Edit.of("quantize", "conv", bits=8)
DROP = Edit.of("blocks", "block")
BLOCK = Block("block", "add", ("conv",))
GRAPH = Graph((), (), (BLOCK,), {}, (), "", torch.nn.Identity())


def space(limit: float = 9.0) -> Space:
    """A group of 4, 2 or 1 channels inside a block that can go, int8 beside it. Milliseconds."""
    places = (
        Place("channels", "conv", ((), (HALF,), (QUARTER,)), (4.0, 2.0, 1.0)),
        Place("blocks", "block", ((), (DROP,)), (1.0, 0.0)),
        Place("quantize", "head", ((), (EIGHT,)), (32.0, 8.0)),
    )
    nodes = (
        Node("channels", (4.0, 2.0, 1.0), (0.0, 0.1, 0.6)),
        Node("blocks", (1.0, 0.0), (0.0, 0.4)),
        Node("quantize", (32.0, 8.0), (0.0, 0.5)),
    )
    terms = (
        Term("conv", (0,), {"latency": np.array([6.0, 3.0, 2.0])}, ((1, 1),)),
        Term("head", (2,), {"latency": np.array([4.0, 3.0])}),
    )
    found = Space(places, {"block": (0,)}, GRAPH)
    return found.bounded(Problem(nodes, terms), {"latency": limit})


def seen(drop: float, apart: float) -> Trial:
    told = {"drop": drop, "divergence": apart, "standard_error": 0.5}
    return Trial(Recipe(), None, "verify", told)


# ── going further ──────────────────────────────────────────────────────────────────────────────


def test_going_on_counts_from_the_result_and_undoes_nothing() -> None:
    given = space()
    problem = onward(given, (1, 0, 0))
    assert problem.loss((1, 0, 0)) == 0.0
    assert problem.loss((2, 0, 0)) == pytest.approx(0.5)
    assert problem.loss((1, 1, 0)) == pytest.approx(0.3)  # what was lost inside goes with it
    assert problem.loss((0, 0, 0)) > 1e3
    assert problem.cost((1, 0, 0), "latency") == 7.0


def cheapest(given: Space, choice: Choice, limit: float) -> float:
    """By trying every choice that undoes nothing: the least extra loss within the limit."""
    problem = onward(given, choice)
    sizes = [range(len(node.widths)) for node in problem.nodes]
    on = [
        c for c in itertools.product(*sizes) if all(a >= b for a, b in zip(c, choice, strict=True))
    ]
    return min(problem.loss(c) for c in on if problem.cost(c, "latency") <= limit)


def test_the_next_tenth_is_the_cheapest_way_on_and_names_who_pays() -> None:
    given, result = space(), Recipe((HALF,)).without_training()
    first, second = further(given, result, [seen(2.0, 0.2)] * 4, (0.0, 1.0))
    assert first["quantity"] == "latency" and first["share"] == 0.1 and first["possible"]
    assert first["from"] == 7.0 and first["to"] <= 0.9 * 7.0
    assert first["loss"] == pytest.approx(cheapest(given, (1, 0, 0), 6.3))
    assert [(s["technique"], s["place"], s["layers"]) for s in first["steps"]] == [
        ("blocks", "block", ["conv"])
    ]
    assert first["steps"][0]["loss"] == pytest.approx(first["loss"]) and first["seen"] == 0.2
    assert first["drop"] == pytest.approx(10.0 * first["loss"]) and first["trials"] == 4
    assert second["share"] == 0.25 and second["loss"] >= first["loss"]


def test_latency_is_told_as_it_was_measured() -> None:
    """Measured = 1 + 2 · predicted: a tenth of what is measured is more of what is predicted."""
    result = Recipe((HALF,)).without_training()
    found = further(space(), result, [], (1.0, 2.0))[0]
    assert found["from"] == 15.0 and found["to"] <= 13.5
    assert found["trials"] == 0 and "drop" not in found


def test_the_end_of_the_road_is_said() -> None:
    everything = Recipe((DROP, replace(EIGHT, place="head"))).without_training()
    places = space().places
    given = replace(
        space(), places=(*places[:2], replace(places[2], edits=((), (everything.edits[1],))))
    )
    (found,) = further(given, everything, [], (0.0, 1.0))
    assert not found["possible"] and found["steps"] == []


def test_where_a_tenth_is_out_of_reach_the_most_is_told() -> None:
    given = space()
    table = {"latency": np.array([100.0, 99.0, 95.0])}
    terms = (replace(given.priced.terms[0], tables=table, gates=()),)
    given = replace(given, problem=replace(given.priced, terms=terms))
    (found,) = further(given, Recipe(), [], (0.0, 1.0))
    assert not found["possible"] and found["to"] == 95.0
    assert [step["to"] for step in found["steps"]] == [1.0]


def test_points_per_loss_weighs_trials_by_their_error_and_knows_when_it_knows_nothing() -> None:
    slope, error, count = points_per_loss([seen(1.0, 0.1), seen(3.0, 0.3)])
    assert (slope, count) == (pytest.approx(10.0), 2) and error == pytest.approx(0.5 / 0.1**0.5)
    assert points_per_loss([]) == (0.0, float("inf"), 0)
    assert points_per_loss([seen(1.0, 0.0)])[2] == 0
    assert points_per_loss([Trial(Recipe(), None, "verify", {}, "failed")])[2] == 0


# ── why ────────────────────────────────────────────────────────────────────────────────────────


def test_an_offer_is_the_best_rate_and_dear_beside_what_was_paid() -> None:
    result = Priced.of(space(), Recipe((HALF,)).without_training())
    assert result.paid == pytest.approx(0.1 / 3.0)
    told = result.told(0, 0, 1)
    assert (told["from"], told["to"], told["saves"]) == (4.0, 2.0, 3.0)
    offer = result.offer(2)
    assert offer is not None and offer["dear"] and offer["loses"] == 0.5 and offer["saves"] == 1.0
    assert Priced.of(space(), Recipe((QUARTER,)).without_training()).offer(0) is None
    untouched = Priced.of(space(), Recipe().without_training()).offer(0)
    assert untouched is not None and untouched["to"] == 2.0  # 0.1 for 3 ms beats 0.6 for 4 ms


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(untrained(), torch.zeros(2, 1, 8, 8), ["0"])


def test_every_layer_says_what_was_done_or_what_stood_in_the_way(graph: Graph) -> None:
    keep = Edit.of("channels", "3.conv1", keep=list(range(8)), of=32)
    found = why(graph, Recipe((keep, Edit.of("quantize", "3.conv1", bits=8))), None)
    by = {(layer, e["technique"]): e for layer, entries in found.items() for e in entries}
    assert by["0", "channels"]["reason"] == by["0", "quantize"]["reason"] == "ignored, as asked"
    assert "output" in by["6", "channels"]["reason"]
    assert by["3.conv1", "channels"]["done"]
    assert by["3.conv1", "channels"]["settings"] == {"keep": 8, "of": 32}
    assert by["3.conv1", "quantize"]["done"] and not by["3.conv2", "quantize"]["done"]
    assert not by["3.conv1", "blocks"]["done"]
    gone = why(graph, Recipe((Edit.of("blocks", "3"),)), None)["3.conv1"]
    assert [(entry["technique"], entry["done"]) for entry in gone] == [("blocks", True)]


# ── time and ranges ────────────────────────────────────────────────────────────────────────────


def program() -> Program:
    build = Builder()
    y = build.op("unary", build.input("x", (4,)), name="a", function="relu")
    return build.finish(build.op("unary", y, name="b", function="relu"))


@pytest.mark.parametrize(("slow", "scale"), [(1.0, 1.0), (2.0, 0.75)])
def test_the_parts_of_a_call_add_up_and_are_never_scaled_up(slow: float, scale: float) -> None:
    profile = {"a": slow * 0.2, "b": slow * 0.3, "(layout)": slow * 0.1}
    found = parts(program(), profile, 1.0, 0.1)
    assert found["scale"] == pytest.approx(scale)
    whole = found["call_ms"] + found["rest_ms"] + sum(op["ms"] for op in found["ops"])
    assert whole == pytest.approx(found["total_ms"]) == pytest.approx(1.0)
    assert [op["kind"] for op in found["ops"]] == ["unary", "unary", ADDED]
    assert (found["rest_ms"] > 0.1) == (scale == 1.0)


def test_a_call_measured_longer_than_the_whole_leaves_the_ops_their_share() -> None:
    found = parts(program(), {"a": 0.2, "b": 0.6}, 1.0, 1.2)
    assert [op["ms"] for op in found["ops"]] == pytest.approx([0.1, 0.3])
    assert (found["call_ms"], found["rest_ms"]) == pytest.approx((0.6, 0.0))


def test_a_histogram_made_small_keeps_its_counts_and_knows_what_lies_beyond() -> None:
    x = np.random.default_rng(0).normal(size=20_000)
    found = compact(Histogram.of(x), -2.0, 1.0)
    assert len(found["bins"]) == 32 and sum(found["bins"]) == 20_000
    assert found["seen"] == pytest.approx([x.min(), x.max()], rel=1e-4)
    assert found["clipped"] == pytest.approx(((x < -2) | (x > 1)).mean(), abs=2e-3)
    assert compact(Histogram.of(x), -9.0, 9.0)["clipped"] == 0.0
    assert sum(compact(Histogram.of(np.zeros(5)), 0.0, 1.0)["bins"]) == 5
