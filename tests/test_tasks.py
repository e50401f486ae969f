"""Every kind of task goes the whole road, as a user would walk it; the long ones run in `soak`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lighten import api, inspection
from lighten.core.budget import Budget
from lighten.data import generated
from lighten.errors import NetworkError
from lighten.subject import open_model
from lighten.train import regime
from tests.test_data_generated import NETWORKS

UNITS = {"shapes-segmentation": "points", "super-resolution": "dB", "pairs": "points"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "SIZES", {"train": 192, "valid": 48, "test": 64})


def test_a_network_is_sized_by_the_task_where_the_spec_is_silent(few: None) -> None:
    task = api.load_task("builtin:shapes-segmentation")
    narrow = api.load_network("zoo:unet?width=4", task=task)
    wide = api.load_network("zoo:unet", task=task)
    for net, width in ((narrow, 4), (wide, 16)):
        assert net.classify.weight.shape[:2] == (5, width)
    assert api.load_network("zoo:unet?classes=9", task=task).classify.out_channels == 9
    with pytest.raises(NetworkError, match="must answer for 5 classes, but has 3"):
        api.load_network("zoo:unet?classes=3", task=task)


def test_what_names_no_samples_is_trained_by_adamw(few: None) -> None:
    for name in ("super-resolution", "pairs", "shapes-detection", "shapes-segmentation"):
        task = api.load_task(f"builtin:{name}")
        assert not task.names_samples
        net = api.load_network(f"zoo:{NETWORKS[name]}", task=task)
        assert regime(net, task.names_samples).optimizer == "adamw"
    assert api.load_task("builtin:sensor").names_samples


def test_super_resolution_starts_at_the_repeated_image() -> None:
    net = api.load_network("zoo:espcn?channels=2")
    x = torch.rand(1, 2, 5, 6)
    repeated = torch.nn.functional.interpolate(x, scale_factor=2)
    with torch.no_grad():
        assert (net(x) - repeated).abs().max() < 0.2


@pytest.mark.soak
@pytest.mark.parametrize("name", generated.TABLE)
def test_a_task_goes_the_whole_road(name: str, few: None, tmp_path: Path) -> None:
    task = api.load_task(f"builtin:{name}")
    net = api.load_network(f"zoo:{NETWORKS[name]}", task=task)
    training = replace(api.usual_training(net, task), epochs=2.0, batch=32)
    trained = api.train(net, task, training)
    options = api.Options(epochs=1.0, time=60.0, out=tmp_path / "run")
    named = api.Named(f"zoo:{NETWORKS[name]}", f"builtin:{name}", "")
    result = api.compress(net, task, Budget(latency="0.7x", drop=60.0), options, named=named)
    summary: Any = result.summary
    metric = summary["task"]["metric"]
    assert metric["unit"] == UNITS.get(name, "points") and metric["higher_is_better"]
    assert summary["before"]["quality"] == pytest.approx(trained["test"], abs=0.05)
    assert f"{task.metric.name}, {metric['unit']}".lower() in (
        (tmp_path / "run" / "report.html").read_text().lower()
    )
    subject = open_model(str(tmp_path / "run"), data_spec=f"builtin:{name}")
    scored = inspection.evaluate(subject, "auto", 1, "test")
    assert scored["quality"] == pytest.approx(summary["after"]["quality"], abs=1e-6)
    recipe = api.read_recipe(tmp_path / "run" / "recipe.yaml")
    again = api.replay(net, task, recipe, api.Options(out=tmp_path / "again"), named=named)
    x = task.example(4)
    with torch.no_grad():
        answers = [r.model.eval()(*map(torch.from_numpy, x)).numpy() for r in (result, again)]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)
    assert (
        json.loads((tmp_path / "again" / "summary.json").read_text())["after"]["macs"]
        == (summary["after"]["macs"])
    )


FACTORY = """
import numpy as np, lighten
from lighten.data import from_loaders
from lighten.subject import open_model

def batches(seed):
    rng = np.random.default_rng(seed)
    images = rng.random((6, 8, 1, 8, 8), np.float32)
    return [(x, x[:, :, ::2, ::2]) for x in images]

def task():
    return from_loaders(batches(0), batches(1), loss="l1", metric=lighten.metrics.psnr())
"""


def test_a_factory_names_its_loss_and_metric(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    task = api.load_task(f"{tmp_path / 'own.py'}:task")
    net = torch.nn.Conv2d(1, 1, 3, 2, 1)
    training = replace(api.usual_training(net, task), epochs=40.0, batch=8, lr=0.03)
    assert training.optimizer == "adamw"
    assert api.train(net, task, training)["test"] > 20.0  # dB: the answer is one of the pixels
