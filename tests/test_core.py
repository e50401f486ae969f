"""Budgets, recipes and tasks: what is read is what was meant, and bad input says so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lighten.core.budget import Budget, Limit
from lighten.core.files import replacing, write_text
from lighten.core.recipe import Edit, Recipe, Training
from lighten.core.task import Metric, Preprocess
from lighten.errors import BudgetError, RecipeError, WriteError


@pytest.mark.parametrize(
    ("quantity", "text", "amount", "relative"),
    [
        ("latency", "0.25x", 0.25, True),
        ("latency", "2ms", 2.0, False),
        ("latency", "500us", 0.5, False),
        ("size", "300kB", 300e3, False),
        ("size", "1MiB", 1024.0**2, False),
        ("macs", "20M", 20e6, False),
        ("macs", ".5X", 0.5, True),
    ],
)
def test_limits_are_read(quantity: str, text: str, amount: float, relative: bool) -> None:
    assert Limit.parse(quantity, text) == Limit(amount, relative)


@pytest.mark.parametrize("text", ["", "x", "0.5", "-1x", "0x", "2 potatoes", "1e400kB2", "nan ms"])
def test_limits_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="latency limit must"):
        Limit.parse("latency", text)


def test_a_budget_needs_a_limit_and_a_drop_that_exists() -> None:
    with pytest.raises(BudgetError, match="at least one limit"):
        Budget()
    with pytest.raises(BudgetError, match="drop"):
        Budget(latency="0.5x", drop=-1.0)
    assert Budget(latency="0.5x").limits()["latency"].against(8.0) == 4.0


def test_recipes_are_sorted_hashable_and_come_back_from_json() -> None:
    first = Edit.of("channels", "b", keep=[1, 2], of=4)
    second = Edit.of("blocks", "a")
    recipe = Recipe((first, second), Training(epochs=2.5, signals=(("task", 1.0),)))
    assert recipe.edits == (second, first)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.as_dict())))
    assert again == recipe and hash(again) == hash(recipe) and again.digest == recipe.digest
    assert recipe.without_training().digest != recipe.digest


@pytest.mark.parametrize(
    "data",
    [{}, [], {"lighten": 1, "edits": [{"place": "x"}]}, {"lighten": 1, "training": {"q": 1}}],
)
def test_recipes_that_cannot_be_read_are_refused(data: object) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_dict(data)  # type: ignore[arg-type]


def test_a_failed_write_leaves_what_stood_there(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(WriteError), replacing(path) as beside:
        beside.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_drop_counts_in_the_direction_of_the_metric() -> None:
    assert Metric().drop(90.0, 89.0) == 1.0
    assert Metric("loss", "nats", higher_is_better=False).drop(1.0, 1.5) == 0.5


def test_preprocess_scales_then_normalises_each_channel() -> None:
    pixels = np.full((2, 2, 1, 1), 255, np.uint8)
    x = Preprocess(255.0, (0.5, 0.0), (0.5, 2.0))(pixels)
    assert x.dtype == np.float32 and x[0, :, 0, 0].tolist() == [1.0, 0.5]
