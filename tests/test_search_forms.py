"""Forms that a layer can have beside float: int8, and int8 with ever fewer blocks of weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lighten import search, techniques, zoo
from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Trial
from lighten.criteria import Statistics
from lighten.errors import RecipeError
from lighten.formats.integer import INT8_WEIGHT
from lighten.network import lower, trace
from lighten.network.graph import Graph
from lighten.program import cost
from lighten.program.sparsity import zeros
from lighten.report.why import step
from lighten.search import uniform, variants
from lighten.search.costs import price
from lighten.search.dependence import observe
from lighten.search.latency_model import LatencyModel
from lighten.search.sensitivity import fake_int8
from lighten.search.shapes import shapes
from lighten.search.space import Space, form_places
from lighten.search.why import why

LEVELS = (0.5, 0.25, 0.125)


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return trace(zoo.build("lenet5"), torch.zeros(2, 1, 28, 28))


class Bench(SimpleNamespace):
    """The part of the workbench that measuring needs."""

    def lowered(self, module: Any) -> Any:
        return lower(module, torch.zeros(2, 1, 28, 28))


@pytest.fixture(scope="module")
def bench(graph: Graph) -> Bench:
    backend = SimpleNamespace(missing=lambda program: (), skips_zeros=True, joins=True)
    return Bench(graph=graph, backend=backend)


@pytest.fixture(scope="module")
def space(graph: Graph) -> Space:
    return search.space(graph, Statistics(), "l1", techniques=("channels", "quantize", "weights"))


def thin(graph: Graph, level: int) -> tuple[str, tuple[Edit, ...]]:
    """A layer, and what leaves it so few of its blocks, in int8."""
    place = next(place for place in form_places(graph) if len(place.edits) > 2)
    return place.name, place.edits[2 + level]


def test_a_convolution_of_many_channels_may_lose_blocks(graph: Graph) -> None:
    found = {place.name: place for place in form_places(graph)}
    wide = [layer for layer in graph.layers if layer.kind == "conv2d" and layer.input[0] >= 8]
    assert wide, "LeNet-5 (Caffe) has a convolution over 20 channels"
    assert found[wide[0].name].widths == (32.0, 8.0, 4.0, 2.0, 1.0)
    first = next(layer for layer in graph.layers if layer.kind == "conv2d")
    assert found[first.name].widths == (32.0, 8.0), "it reads one channel"
    assert all(place.widths == (32.0, 8.0) for place in form_places(graph, thin=False))


def test_a_choice_comes_back_from_its_recipe(space: Space) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        choice = space.plain(tuple(int(rng.integers(len(p.edits))) for p in space.places))
        assert space.choice(space.recipe(choice)) == choice


def test_fewer_weights_without_int8_are_no_choice(space: Space, graph: Graph) -> None:
    layer, (_, fewer) = thin(graph, 0)
    with pytest.raises(RecipeError, match=layer):
        space.choice(Recipe((fewer,)).without_training())


def test_what_is_timed_has_as_few_weights(bench: Bench) -> None:
    forms = variants.forms(bench)
    assert len(forms) == 1 + len(LEVELS)
    for level, density in enumerate(LEVELS):
        program = variants.builder(bench)(Recipe(forms[1 + level]))
        places = {edit.place for edit in forms[1 + level] if edit.technique == "weights"}
        assert places
        for layer in zeros(program):
            if layer.layer in places:
                assert 1 - layer.sparsity == pytest.approx(density, abs=0.02)
        for op in program.ops:
            if op.name in places:
                stored = program.arrays[op.inputs[1]]
                assert stored.format == INT8_WEIGHT and stored.sparsity.block == (1, 4, 1, 1)
                assert f"block {round(16 * density)}/16" in shapes(program)[op.name].key


def test_backends_that_multiply_zeros_are_not_offered_them(bench: Bench, graph: Graph) -> None:
    other = Bench(graph=graph, backend=SimpleNamespace(missing=bench.backend.missing, joins=True))
    other.backend.skips_zeros = False
    assert len(variants.forms(other)) == 1


def test_costs_of_a_choice_are_those_of_its_program(bench: Bench, space: Space) -> None:
    build = variants.builder(bench)
    uses = observe(bench.graph, build, variants.forms(bench))
    problem = price(space, LatencyModel({}, 0.0, 1.0), uses)
    for form in range(5):
        choice = tuple(
            min(form, len(place.edits) - 1) if place.technique == "quantize" else 0
            for place in space.places
        )
        program = build(space.recipe(choice))
        assert problem.cost(choice, "macs") == cost.macs(program)
        stored = sum(shape.weights for shape in shapes(program).values())
        each = 1.0 if form else 4.0
        assert problem.cost(choice, "size") == pytest.approx(stored * each, rel=0.05)


def test_drawn_variants_show_every_form(bench: Bench) -> None:
    recipes = variants.draw(bench.graph, 0, 40, variants.forms(bench))
    seen = {edit["density"] for recipe in recipes for edit in recipe.by("weights")}
    assert seen == set(LEVELS)
    for recipe in recipes:
        rounded = {edit.place for edit in recipe.by("quantize")}
        assert all(edit.place in rounded for edit in recipe.by("weights"))


def test_a_layer_is_judged_with_what_is_left_and_comes_back(graph: Graph) -> None:
    layer, (_, edit) = thin(graph, 1)
    weight = graph.module.get_submodule(layer).weight
    before = weight.detach().clone()
    with fake_int8(graph.module, layer, techniques.weights.thinning(edit)):
        assert np.isclose(float((weight != 0).float().mean()), 0.25, atol=0.02)
    assert torch.equal(weight, before)


def test_uniform_offers_each_form(space: Space, bench: Bench) -> None:
    uses = observe(bench.graph, variants.builder(bench), variants.forms(bench))
    known = space.bounded(price(space, LatencyModel({}, 0.0, 1.0), uses), {"latency": 1e9})
    history: list[Trial] = []
    found = uniform.propose(known, history, 0, 5)
    counts = [len({edit["density"] for edit in recipe.by("weights")}) for recipe in found]
    assert counts == [0, 1, 1, 1, 0]
    assert not found[-1].by("quantize")


def test_a_step_is_told_in_words() -> None:
    assert step("quantize", 32.0, 2.0) == "int8 with 25 % of its weights"


def test_the_report_is_told_what_share_a_layer_keeps(graph: Graph) -> None:
    layer, edits = thin(graph, 1)
    told = [e for e in why(graph, Recipe(edits), None)[layer] if e["technique"] == "quantize"]
    assert told[0]["done"] and told[0]["settings"] == {"bits": 8, "density": 0.25}
