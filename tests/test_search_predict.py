"""The latency model, on times that follow a known law, and the numbers of the integer program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lighten import search, techniques
from lighten.backends import get
from lighten.core.recipe import Edit, Recipe
from lighten.criteria import Statistics
from lighten.network import trace
from lighten.network.graph import Graph
from lighten.network.lower import lower
from lighten.program import cost, onnx_out
from lighten.program.ir import Program
from lighten.search import predict, variants
from lighten.search.costs import price
from lighten.search.dependence import observe
from lighten.search.latency_model import LatencyModel, Observation, fit
from lighten.search.options import Options
from lighten.search.shapes import Shape, shapes
from tests.small import untrained


class Bench:
    """The part of the workbench that measuring needs."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.options, self.backend = graph, Options(), get("onnxruntime")
        self.inputs = (np.zeros((1, 1, 8, 8), np.float32),)
        self.known: dict[str, Any] = {}
        self.original_bytes = onnx_out.to_onnx(self.lowered(graph.module))

    def remember(self, key: str, compute: Any) -> Any:
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def progress(self, *_: Any) -> None:
        pass

    def lowered(self, module: Any) -> Program:
        return lower(module, torch.zeros(2, 1, 8, 8))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(trace(untrained(), torch.zeros(2, 1, 8, 8)))


def law(shape: Shape) -> float:
    """Milliseconds of an op: what it computes on channels padded to 16 and 4, and a call."""
    speed = 0.3 if "i8" in shape.key else 1.0
    padded = np.ceil(shape.written / 16) * 16 * np.ceil(shape.read / 4) * 4
    return float(1e-3 + speed * 1e-5 * padded if shape.paired else 2e-4 + 1e-5 * shape.written)


def observed(bench: Bench, seed: int, count: int) -> list[Observation]:
    rng = np.random.default_rng(seed)
    build = variants.builder(bench)
    found = []
    for i, recipe in enumerate(variants.draw(bench.graph, seed, count, variants.forms(bench))):
        ops = shapes(build(recipe))
        times = {name: law(shape) for name, shape in ops.items()}
        total = (0.02 + sum(times.values())) * float(rng.normal(1, 0.005))
        found.append(Observation(ops, total, times if i % 3 == 0 else {}))
    return found


@pytest.fixture(scope="module")
def model(bench: Bench) -> LatencyModel:
    return fit(observed(bench, 0, 36))


def test_model_predicts_what_it_has_not_seen(bench: Bench, model: LatencyModel) -> None:
    fresh = observed(bench, 1, 12)
    errors = [abs(model.of(seen.shapes) - seen.total) / seen.total for seen in fresh]
    assert np.mean(errors) < 0.03
    assert model.residual < 0.02


def test_one_disturbed_measurement_does_not_spoil_it(bench: Bench) -> None:
    seen = observed(bench, 0, 36)
    seen[7] = replace(seen[7], total=5 * seen[7].total)
    model = fit(seen)
    errors = [abs(model.of(o.shapes) - o.total) / o.total for o in observed(bench, 1, 8)]
    assert np.mean(errors) < 0.05


def test_staircase_takes_the_widest_of_each_step(bench: Bench) -> None:
    """Writing costs in steps of 16 and nothing else does: 32 and 16 are worth it, 28 is not."""
    shape = Shape("conv", 8.0, 32.0, 1.0, 1.0, 1.0, True)
    seen = [
        Observation({"a": shape.at(8.0, w)}, 1.0 + np.ceil(w / 16), {"a": float(np.ceil(w / 16))})
        for w in range(1, 33)
    ]
    uses = {"a": observe_one(shape)}
    group = next(g for g in bench.graph.groups if g.size == 32)
    named = replace(group, name="g")
    assert predict.staircase(fit(seen), uses, named)[:2] == (32, 16)


def observe_one(shape: Shape) -> Any:
    from lighten.search.dependence import Use

    return Use((shape,), {}, {"g": 1.0})


def test_widths_follow_what_cutting_does(bench: Bench) -> None:
    eight = techniques.everywhere("quantize", bench.graph)
    uses = observe(bench.graph, variants.builder(bench), (eight,))
    stream, inner = sorted(bench.graph.groups, key=lambda g: g.size)[:2]
    assert uses["3.conv1"].read == {stream.name: 1.0}
    assert uses["3.conv1"].written == {inner.name: 1.0}
    assert uses["6"].read == {stream.name: 16.0}
    assert uses["3.conv2"].blocks == (bench.graph.blocks[0].name,)
    assert uses["0"].blocks == ()
    assert uses["3.conv1"].int8 is not None and "i8" in uses["3.conv1"].int8.key


def test_problem_costs_equal_the_programs(bench: Bench, model: LatencyModel) -> None:
    """MACs exactly, bytes nearly, latency as the model says for the whole Program."""
    eight = techniques.everywhere("quantize", bench.graph)
    build = variants.builder(bench)
    uses = observe(bench.graph, build, (eight,))
    space = search.space(bench.graph, Statistics(), "random")
    problem = price(space, model, uses, len(bench.original_bytes))
    rng = np.random.default_rng(0)
    for turn in range(6):
        bits = turn % 2
        choice = space.plain(
            tuple(
                bits if p.technique == "quantize" else int(rng.integers(len(p.edits)))
                for p in space.places
            )
        )
        program = build(space.recipe(choice))
        assert problem.cost(choice, "macs") == cost.macs(program)
        predicted = model.predict(program)
        assert problem.cost(choice, "latency") == pytest.approx(predicted, rel=0.06)
        size = len(onnx_out.to_onnx(program))
        assert problem.cost(choice, "size") == pytest.approx(size, rel=0.25, abs=3000)


def test_measure_writes_down_and_replays(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    monkeypatch.setattr(predict, "SECONDS", 0.01)
    bench.known.clear()
    first = predict.measure(bench, 6)
    assert 6 <= len(bench.known) <= 12

    def forbidden(*_: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(predict.latency, "interleave", forbidden)
    second = predict.measure(bench, 6)
    assert (second.classes, second.constant) == (first.classes, first.constant)
    assert second.counts(bench.graph.groups[0])[0] == bench.graph.groups[0].size


def test_draw_covers_ratios_and_formats(bench: Bench) -> None:
    recipes = variants.draw(bench.graph, 0, 40, variants.forms(bench))
    assert recipes == variants.draw(bench.graph, 0, 40, variants.forms(bench))
    assert recipes[0] == Recipe().without_training()
    layers = len(techniques.everywhere("quantize", bench.graph))
    eights = [len(recipe.by("quantize")) for recipe in recipes]
    assert {0, layers} < set(eights)
    shares = [len(e["keep"]) / e["of"] for recipe in recipes for e in recipe.by("channels")]
    assert min(shares) < 0.35 and max(shares) > 0.85
    assert all(isinstance(edit, Edit) for recipe in recipes for edit in recipe.edits)
    dropped = [recipe for recipe in recipes if recipe.by("blocks")]
    assert 1 < len(dropped) < 20
    inside = bench.graph.inside(bench.graph.blocks[0].name)
    assert not any(edit.place in inside for recipe in dropped for edit in recipe.edits)
