"""Compressing for our own engine: what is searched, what ships, and when "auto" takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lighten
from lighten import api, backends, store
from lighten.backends import native
from lighten.core.budget import Budget
from lighten.core.recipe import Edit, Recipe, Training
from lighten.engine import tuning
from lighten.engine.codes import has_codes
from lighten.errors import InputError
from lighten.formats import INT8_WEIGHT
from lighten.network import lower
from lighten.program.emulate import emulate
from lighten.search import stages, variants
from tests import small
from tests.without_kernels import without_kernels

pytestmark = pytest.mark.usefixtures("moments")


@pytest.fixture(scope="module")
def run(moments: None, tmp_path_factory: pytest.TempPathFactory) -> api.Result:
    out = tmp_path_factory.mktemp("native") / "run"
    options = api.Options(backend="native", epochs=2.0, out=out)
    return api.compress(small.trained(), small.digits(), Budget(macs="0.6x", drop=10.0), options)


def test_the_road_goes_to_its_end(run: api.Result) -> None:
    assert run.summary["backend"] == "native" and run.summary["met"], run.summary["missed"]
    assert run.summary["after"]["macs"] <= 0.6 * run.summary["before"]["macs"]
    assert run.summary["after"]["quality"] > 80


def test_int8_is_offered(run: api.Result) -> None:
    for row in json.loads((run.folder / "layers.json").read_text()):
        reasons = {e["technique"]: e.get("reason") for e in row["why"]}
        assert reasons["quantize"] != "the backend does not run it"


def test_what_ships_also_runs_without_torch(run: api.Result) -> None:
    x = next(iter(small.digits().test())).inputs[0]
    with torch.no_grad():
        wanted = run.model.eval()(torch.from_numpy(x)).numpy()
    found = lighten.load(run.folder / "model.lighten")(x)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_its_profile_tells_where_the_time_goes(run: api.Result) -> None:
    after = json.loads((run.folder / "time.json").read_text())["after"]
    assert after["backend"] == "native"
    kept = {op["name"] for op in after["ops"]}
    assert {"0", "6"} <= kept and len(kept) >= 3
    parts = after["call_ms"] + after["rest_ms"] + sum(op["ms"] for op in after["ops"])
    assert parts == pytest.approx(after["total_ms"]) and after["total_ms"] > 0


def test_a_recipe_with_int8_ships_codes(tmp_path: Path) -> None:
    recipe = Recipe((Edit.of("quantize", "0", bits=8),))
    options = api.Options(backend="native", epochs=0.1, out=tmp_path / "run")
    found = api.replay(small.trained(), small.digits(), recipe, options)
    kept = store.load(found.folder / "model.lighten")
    assert has_codes(kept) and kept.arrays[kept.op("0").inputs[1]].format == INT8_WEIGHT


class Bench:
    """What choosing a backend looks at; every backend claims the time given."""

    def __init__(self, program: Any) -> None:
        self.original, self.options, self.inputs = program, api.Options(), ()
        self.backend = backends.get("onnxruntime")
        self.graph = api.trace(small.untrained(), torch.zeros(2, 1, 8, 8))

    def program(self, module: nn.Module, recipe: Recipe, backend: Any) -> Any:
        before, self.backend = self.backend, backend
        made = variants.builder(self)(recipe)  # type: ignore[arg-type]
        self.backend = before
        return made

    def lowered(self, module: nn.Module) -> Any:
        return lower(module, torch.zeros(2, 1, 8, 8))


def fastest(bench: Bench, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is chosen where our engine takes half the time of the others."""

    def claimed(run: Any, *_: Any) -> Any:
        ours = type(run).__module__ == "lighten.engine.executable"
        return type("Took", (), {"median_ms": 1.0 if ours else 2.0})

    monkeypatch.setattr(stages.latency, "time", claimed)
    return stages._fastest(bench, [backends.get(name) for name in names])  # type: ignore[arg-type]


def test_auto_takes_it_where_it_is_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lower(small.untrained(), torch.zeros(2, 1, 8, 8)))
    assert fastest(bench, ("onnxruntime", "native"), monkeypatch) == "native"
    assert fastest(bench, ("onnxruntime",), monkeypatch) == "onnxruntime"


def test_auto_does_not_take_it_where_it_interprets(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch, "pool")
    program = lower(small.untrained(), torch.zeros(2, 1, 8, 8))
    assert native.interpreted(program) == ("4.max_pool2d",)
    bench = Bench(program)
    assert fastest(bench, ("onnxruntime", "native"), monkeypatch) == "onnxruntime"
    with pytest.raises(InputError, match="No installed backend"):
        fastest(bench, ("native",), monkeypatch)


def test_measurements_are_kept_for_the_code_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other kernels, after tuning or in another version: other measurements."""
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    program = lower(small.untrained(), torch.zeros(2, 1, 8, 8))
    first = native.code_digest(program)
    assert first == native.code_digest(program) and len(first) == 16

    def last(conv: Any, isa: Any, options: Any, tolerance: float = 1.0) -> Any:
        return max(options, key=lambda choice: choice.cycles)

    monkeypatch.setattr(tuning, "pick", last)
    assert native.code_digest(program) != first


def unlike(program: Any) -> list[str]:
    """What a backend without int8 says."""
    return ["0"] if has_codes(program) else []


def test_int8_is_offered_where_the_backend_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(None)
    bench.backend = backends.get("onnxruntime")  # type: ignore[attr-defined]
    assert len(variants.eight(bench)) == 4  # type: ignore[arg-type]
    bench.backend = backends.get("native")  # type: ignore[attr-defined]
    assert len(variants.eight(bench)) == 4  # type: ignore[arg-type]
    monkeypatch.setattr(bench.backend, "missing", unlike)
    assert variants.eight(bench) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [0.0, 2.0])
def test_fewer_weights_are_learned_and_ship(epochs: float, tmp_path: Path) -> None:
    """A recipe that leaves a layer a quarter of its blocks: trained so, in codes, and measured."""
    fewer = Edit.of("weights", "3.conv1", pattern="block", block=(1, 4), density=0.25)
    eight = [Edit.of("quantize", name, bits=8) for name in ("3.conv1", "3.conv2")]
    options = api.Options(backend="native", out=tmp_path / "run")
    recipe = Recipe((fewer, *eight), Training(epochs=epochs, batch=32, lr=0.02))
    found = api.replay(small.trained(), small.digits(), recipe, options)
    kept = store.load(found.folder / "model.lighten")
    stored = kept.arrays[kept.op("3.conv1").inputs[1]]
    blocks = np.abs(stored.codes.astype(int)).reshape(len(stored.codes), -1, 4, 3, 3).sum(2)
    assert stored.format == INT8_WEIGHT and stored.sparsity.kind == "block"
    assert np.count_nonzero(blocks) <= 0.25 * blocks.size + 1
    assert stored.sparsity.density == pytest.approx(0.25, abs=0.02)
    assert found.summary["after"]["quality"] > (80 if epochs else 30)
    x = next(iter(small.digits().test())).inputs[0]
    (exact,) = emulate(kept, x)
    answers = lighten.load(found.folder / "model.lighten")(x)
    np.testing.assert_allclose(answers, exact, atol=1e-2 * np.abs(exact).max())  # a code
