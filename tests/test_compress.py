"""The whole road on a network that takes seconds: budgets, files, resuming, honesty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from lighten import api
from lighten.core.budget import Budget
from lighten.errors import BudgetError, InputError, RecipeError
from lighten.search.limits import Bounds
from tests import small

pytestmark = pytest.mark.usefixtures("moments")
FILES = ("model.onnx", "weights.safetensors", "recipe.yaml", "trials.jsonl", "summary.json")


def options(out: Path, **more: Any) -> api.Options:
    return api.Options(**{"backend": "onnxruntime", "epochs": 2.0, "out": out, **more})


@pytest.fixture(scope="module")
def run(moments: None, tmp_path_factory: pytest.TempPathFactory) -> api.Result:
    out = tmp_path_factory.mktemp("compress") / "run"
    budget = Budget(latency="0.95x", size="0.5x", macs="0.6x", drop=3.0)
    return api.compress(small.trained(), small.digits(), budget, options(out))


def test_the_files_are_there_and_agree(run: api.Result) -> None:
    assert all((run.folder / name).is_file() for name in FILES)
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary == json.loads(json.dumps(run.summary))
    assert summary["after"]["bytes"] == (run.folder / "model.onnx").stat().st_size
    assert summary["after"]["macs"] <= 0.6 * summary["before"]["macs"]
    assert summary["after"]["bytes"] <= 0.5 * summary["before"]["bytes"]
    assert summary["met"] == (not summary["missed"])


def read(run: api.Result, name: str) -> Any:
    return json.loads((run.folder / name).read_text())


def test_where_the_time_goes_adds_up_to_what_was_measured(run: api.Result) -> None:
    times = read(run, "time.json")
    for side in ("before", "after"):
        told = times[side]
        parts = told["call_ms"] + told["rest_ms"] + sum(op["ms"] for op in told["ops"])
        assert parts == pytest.approx(told["total_ms"], rel=1e-6)
        assert told["total_ms"] == run.summary[side]["latency_ms"]
    by_layer = {row["name"]: row["before"]["time_ms"] for row in read(run, "layers.json")}
    by_op = {op["name"]: op["ms"] for op in times["before"]["ops"]}
    assert all(by_op[name] == ms for name, ms in by_layer.items() if ms is not None)


def test_every_layer_has_its_whys(run: api.Result) -> None:
    edits = {(e.technique, e.place) for e in run.recipe.edits}
    rows = read(run, "layers.json")
    assert len(rows) == 4
    for row in rows:
        assert row["why"], row["name"]
        for entry in row["why"]:
            assert entry["done"] == ((entry["technique"], entry["place"]) in edits)
            assert entry["done"] or entry.get("reason") or "offer" in entry
            assert not entry["done"] or entry["predicted"]["quantity"] == "latency"


def test_int8_layers_have_their_histograms_and_nothing_else_has(run: api.Result) -> None:
    told = read(run, "calibration.json")
    found = {layer for tensor in told.get("tensors", ()) for layer in tensor["layers"]}
    assert found == {edit.place for edit in run.recipe.by("quantize")}
    for tensor in told.get("tensors", ()):
        assert len(tensor["bins"]) == 32 and tensor["range"][0] <= 0.0 < tensor["range"][1]
    if found:
        assert told["calibrator"] == run.recipe.by("quantize")[0]["calibrator"]


def test_every_training_has_its_curve(run: api.Result) -> None:
    runs = read(run, "training.json")["runs"]
    trials = [t for t in _trials(run.folder) if t["stage"] == "verify" and t["score"]]
    names = ["final", *(f"trial {i + 1}" for i in range(len(trials)))]
    assert [each["name"] for each in runs] == names
    assert all(each["loss"] and each["valid"] for each in runs)


def test_going_further_is_told_for_every_limit(run: api.Result) -> None:
    told = run.summary["further"]
    assert {entry["quantity"] for entry in told} == {"latency", "size", "macs"}
    for entry in told:
        assert not entry["possible"] or entry["to"] <= (1 - entry["share"]) * entry["from"] * 1.001
        assert not entry["possible"] or (entry["steps"] and entry["loss"] >= 0)


def test_the_result_shows_itself_in_a_notebook(run: api.Result) -> None:
    shown = run._repr_html_()
    assert shown is not None and "<script" not in shown
    assert str(run.report) in shown and "drop" in shown


def test_the_quality_is_that_of_the_shipped_file(run: api.Result) -> None:
    session = onnxruntime.InferenceSession(str(run.folder / "model.onnx"))
    name = session.get_inputs()[0].name
    right = [
        session.run(None, {name: batch.inputs[0]})[0].argmax(1) == batch.target
        for batch in small.digits().test()
    ]
    assert 100 * np.concatenate(right).mean() == pytest.approx(run.summary["after"]["quality"])


def test_the_model_is_alive_and_smaller(run: api.Result) -> None:
    before = sum(p.numel() for p in small.trained().parameters())
    assert sum(p.numel() for p in run.model.parameters()) < before
    out = run.model(torch.randn(3, 1, 8, 8))
    out.sum().backward()
    assert out.shape == (3, 10)


def test_the_model_opens_without_its_class_and_learns(run: api.Result) -> None:
    net, images = api.open(run.folder), torch.randn(3, 1, 8, 8)
    assert torch.equal(net(images), run.model.eval()(images))
    net.train()(images).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_given_network_is_untouched(run: api.Result) -> None:
    assert api.trace(small.trained(), small.digits().example(2)).fingerprint == run.recipe.weights


def test_a_recipe_replays_to_the_same_network(run: api.Result, tmp_path: Path) -> None:
    recipe = api.read_recipe(run.folder / "recipe.yaml")
    assert recipe == run.recipe
    again = api.replay(small.trained(), small.digits(), recipe, options(tmp_path / "again"))
    assert again.summary["after"]["quality"] == run.summary["after"]["quality"]
    assert (again.folder / "model.onnx").read_bytes() == (run.folder / "model.onnx").read_bytes()
    assert again.summary["further"] == [] and "Going further" not in again.report.read_text()


def test_a_recipe_for_other_weights_is_refused(run: api.Result, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="other weights"):
        api.replay(small.untrained(), small.digits(), run.recipe, options(tmp_path / "other"))


def test_a_finished_run_resumes_to_itself(run: api.Result) -> None:
    budget = Budget(latency="0.95x", size="0.5x", macs="0.6x", drop=3.0)
    again = api.compress(small.trained(), small.digits(), budget, options(run.folder, resume=True))
    assert again.recipe == run.recipe
    assert again.summary["after"] == run.summary["after"]
    assert again.summary["further"] == run.summary["further"]


def test_a_folder_in_use_is_refused(run: api.Result) -> None:
    with pytest.raises(InputError, match="already holds a run"):
        api.compress(small.trained(), small.digits(), Budget(macs="0.5x"), options(run.folder))


def test_an_impossible_latency_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="cannot be met by any network"):
        budget = Budget(latency="0.00001ms")
        api.compress(small.trained(), small.digits(), budget, options(tmp_path / "run"))


def test_a_budget_out_of_reach_gives_the_nearest_and_says_so(tmp_path: Path) -> None:
    budget = Budget(size="100B", drop=0.0)
    chosen = options(tmp_path / "run", epochs=0.5)
    result = api.compress(small.trained(), small.digits(), budget, chosen)
    assert result.summary["met"] is False
    assert any("size" in reason for reason in result.summary["missed"])


def test_bounds_compare_what_was_measured_with_what_was_asked(run: api.Result) -> None:
    trial = next(t for t in _trials(run.folder) if t["score"])
    bounds = Bounds(Budget(macs="0.5x"), {"macs": 2.0 * trial["score"]["macs"]})
    from lighten.core.trial import Trial

    assert bounds.excess(Trial.from_dict(trial))["macs"] == pytest.approx(1.0)


def _trials(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "trials.jsonl").read_text().splitlines()
    return [json.loads(line)["value"] for line in lines]
