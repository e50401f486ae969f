"""How long to train: timed on a few steps, written down, the same again on a resumed run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lighten.core.recipe import Recipe
from lighten.core.trial import Trial
from lighten.errors import RecipeError
from lighten.search import pace, schedule
from lighten.search.options import Options


class Bench:
    """The part of the workbench that pacing needs; a step takes 0.1 s, beginning one 0.5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.options = Options(time=1000.0, **options)
        self.graph = SimpleNamespace(module=torch.nn.Identity())
        self.task = SimpleNamespace(train_size=640, names_samples=True)  # ten steps of 64
        self.known: dict[str, Any] = {}
        monkeypatch.setattr(pace, "_steps_seconds", lambda *given: (0.5 + 0.1 * given[2], given[2]))

    def remember(self, key: str, compute: Any) -> Any:
        return self.known.setdefault(key, self.known[key] if key in self.known else compute())

    def cut(self, recipe: Recipe) -> Any:
        raise RecipeError("it cannot be cut; the original is timed")


def test_an_epoch_is_timed_and_the_time_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = Bench(monkeypatch)
    most = schedule.most_epochs(10)
    found = pace.verifying(bench, lambda: 30.0, Recipe())
    assert bench.known["epoch_seconds"] == pytest.approx(1.0)
    assert found == schedule.verifying(bench.options, 30.0, bench.known["epoch_seconds"], most)
    assert pace.verifying(bench, lambda: 700.0, Recipe()) == found  # as on a resumed run
    chosen = Trial(Recipe(), None, "verify")
    last = pace.finishing(bench, lambda: 600.0, chosen)
    assert last == pytest.approx(0.92 * 1000 - 5 - 600)
    assert pace.finishing(bench, lambda: 0.0, chosen) == last


def test_given_epochs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = Bench(monkeypatch, epochs=7.0)
    assert pace.finishing(bench, lambda: 0.0, Trial(Recipe(), None, "verify")) == 7.0
    assert pace.verifying(bench, lambda: 0.0, Recipe()) == pytest.approx(0.7)
    assert not bench.known


def test_whether_there_is_another_trial_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench: Any = Bench(monkeypatch)
    slow = [Trial(Recipe(), None, "verify", seconds=300.0)] * 2
    quick = [Trial(Recipe(), None, "verify", seconds=1.0)] * 2
    assert not pace.another(bench, slow, True)
    assert not pace.another(bench, quick, True)  # the same question, answered before
    assert pace.another(bench, quick * 2, True)
