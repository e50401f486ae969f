"""Sharing out the time, correcting predictions, choosing what to finish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lighten.core.budget import Budget
from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Interval, Latency, Score, Trial
from lighten.errors import BudgetError
from lighten.network import Graph
from lighten.search.correct import corrected, loss_factors
from lighten.search.limits import MARGIN, Bounds, check_possible
from lighten.search.options import Options
from lighten.search.problem import Node, Problem, Term
from lighten.search.schedule import (
    MOST_EPOCHS,
    allows,
    finishing,
    most_epochs,
    spared,
    verifying,
)
from lighten.search.space import Place, Space
from lighten.search.stages import best
from lighten.search.workbench import Timing

HALF = Edit.of("channels", "conv", keep=[0, 1], of=4)
EIGHT = Edit.of("quantize", "conv", bits=8)
GRAPH = Graph((), (), (), {}, (), "", torch.nn.Identity())


def space(limit: float = 5.0) -> Space:
    """Two places: half the channels at loss 0.5 and −4 ms, int8 at loss 0.1 and −2 ms."""
    places = (
        Place("channels", "conv", ((), (HALF,)), (4.0, 2.0)),
        Place("quantize", "conv", ((), (EIGHT,)), (32.0, 8.0)),
    )
    nodes = (Node("channels", (4.0, 2.0), (0.0, 0.5)), Node("quantize", (32.0, 8.0), (0.0, 0.1)))
    terms = (
        Term("cut", (0,), {"latency": np.array([6.0, 2.0])}),
        Term("round", (1,), {"latency": np.array([4.0, 2.0])}),
    )
    return Space(places, {}, GRAPH).bounded(Problem(nodes, terms), {"latency": limit})


def trial(
    edits: tuple[Edit, ...], drop: float, ratio: float, predicted: float, apart: float = 0.0
) -> Trial:
    score = Score(90.0 - drop, Interval(0, 100), 10 * ratio, 0.0, 1000, 500, 10)
    notes = {
        "drop": drop,
        "standard_error": 0.3,
        "divergence": apart or drop,
        "measured_ratio": ratio,
        "latency": predicted,
    }
    return Trial(Recipe(edits).without_training(), score, "verify", notes)


def test_without_trials_nothing_is_corrected() -> None:
    given = space()
    assert corrected(given, [], 10.0) is given


def test_the_limit_is_what_must_be_predicted_for_the_wanted_to_be_measured() -> None:
    seen = [trial((HALF,), 1.0, 0.72, 6.0), trial((EIGHT,), 0.0, 0.96, 8.0)]
    assert corrected(space(), seen, 10.0).limits["latency"] == pytest.approx(5.0 / 1.2, rel=0.05)
    seen = [trial((HALF,), 1.0, 0.8, 6.0), trial((EIGHT,), 0.0, 1.0, 8.0)] * 3
    assert corrected(space(), seen, 10.0).limits["latency"] == pytest.approx(5.0 - 2.0, rel=0.1)
    seen = [trial((HALF,), 1.0, 9.0, 6.0)]
    assert 0 < corrected(space(), seen, 10.0).limits["latency"] < 1.0


def test_a_disturbed_baseline_cancels_out() -> None:
    """The limit was made from a baseline 25 % too slow: ratios put it right."""
    seen = [trial((HALF,), 1.0, 0.6, 6.0)]
    quiet = corrected(space(5.0), seen, 10.0).limits["latency"]
    disturbed = corrected(space(6.25), seen, 12.5).limits["latency"]
    assert disturbed == pytest.approx(quiet, rel=0.05)


def test_losses_become_what_was_measured_and_blame_goes_where_it_belongs() -> None:
    seen = [trial((HALF,), 2.0, 0.6, 6.0), trial((EIGHT,), 0.0, 0.8, 8.0)] * 4
    factors = loss_factors(space(), seen)
    assert factors["channels"] == pytest.approx(4.0, rel=0.3)
    assert factors["quantize"] < factors["channels"]
    losses = [node.loss for node in corrected(space(), seen, 10.0).priced.nodes]
    assert losses[0][1] == pytest.approx(2.0, rel=0.3) and losses[0][0] == 0.0


def test_time_is_shared_out_and_control_runs_take_their_part() -> None:
    options = Options(time=1000.0)
    left = 1000.0 * 0.92 - 5 - 100
    assert verifying(options, 100.0, 30.0, 40.0) == pytest.approx(0.25 * left / 6 / 30.0)
    assert finishing(options, 100.0, 30.0, 40.0) == pytest.approx(left / 30.0)
    controlled = replace(options, control=True)
    assert finishing(controlled, 100.0, 30.0, 40.0) == pytest.approx(left / 90.0)
    assert finishing(options, 100.0, 1e-3, 40.0) == 40.0
    assert verifying(options, 100.0, 1e-3, 40.0) == 4.0
    assert finishing(replace(options, epochs=7.0), 100.0, 10.0, 40.0) == 7.0
    assert finishing(options, 5000.0, 30.0, 40.0) == pytest.approx(0.3 * 1000.0 / 30.0)
    assert 6 * verifying(options, 5000.0, 30.0, 40.0) == pytest.approx(0.1 * 1000.0 / 30.0)


def test_slow_trials_are_stopped_after_two() -> None:
    options = Options(time=100.0)
    assert allows(options, [], True) and allows(options, [90.0], True)
    assert allows(options, [8.0] * 2, True) and not allows(options, [10.0] * 2, True)
    assert allows(options, [10.0] * 3, True, spare=45.0)
    assert spared(options, 20.0, 1.0, 40.0) == pytest.approx(92.0 - 5.0 - 20.0 - 40.0)
    assert allows(options, [10.0] * 6, False) and not allows(options, [10.0] * 7, False)
    assert allows(replace(options, epochs=3.0), [900.0] * 5, True)


def test_few_samples_are_trained_on_for_more_epochs() -> None:
    assert most_epochs(1000) == MOST_EPOCHS
    assert most_epochs(20) == 200


def test_the_best_trial_within_the_limits_is_finished() -> None:
    bounds = Bounds(Budget(latency="0.7x"), {"latency": 10.0})
    slow, good = trial((), 0.0, 0.9, 9.0), trial((HALF,), 1.0, 0.6, 6.0)
    worse = trial((EIGHT,), 2.0, 0.5, 5.0)
    assert best([slow, good, worse], bounds) == good
    assert best([slow], bounds) == slow
    closer, close = trial((HALF,), 1.2, 0.6, 6.0, 0.1), trial((EIGHT,), 1.2, 0.6, 6.0, 0.2)
    far = trial((EIGHT,), 1.4, 0.5, 5.0, 0.05)
    assert best([good, close, closer, far], bounds) == closer  # far is worse for certain
    failed = Trial(Recipe(), None, "verify", failure="why")
    assert best([failed, slow], bounds) == slow
    with pytest.raises(Exception, match="why"):
        best([failed], bounds)


def test_limits_are_absolute_aimed_below_and_impossible_ones_refused() -> None:
    bounds = Bounds(Budget(latency="0.5x", size="300kB"), {"latency": 8.0, "size": 1e6})
    assert bounds.absolute == {"latency": 4.0, "size": 300e3}
    assert bounds.aims == {"latency": 4.0 * MARGIN, "size": 300e3}
    timing = Timing(Latency(8.0, 0.1, 9), Latency(8.0, 0.1, 9), 1.0, Interval(0.9, 1.1))
    check_possible(Budget(latency="0.5x"), 1.0, timing)
    with pytest.raises(BudgetError, match="cannot be met by any network"):
        check_possible(Budget(latency="0.1x"), 1.0, timing)
