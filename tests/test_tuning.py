"""Kernels chosen by timing: right before fast, written down, done without where it cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lighten import zoo
from lighten.cli import app
from lighten.emit import host
from lighten.engine import choose, tuning
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.kernels.layout import Blocked
from lighten.kernels.shapes import Conv, Window
from lighten.network import lower
from lighten.program import Program, interpret

ISA = host()
HOUR = 3600.0  # seconds: nothing here is cut short by them
CONV = Conv(
    Blocked(16, 10, 10, ISA.lanes), Blocked(16, 10, 10, ISA.lanes), Window((3, 3), pads=(1,) * 4)
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))


def lenet() -> Program:
    torch.manual_seed(0)
    return lower(zoo.build("lenet5").eval(), torch.zeros(2, 1, 28, 28))


def test_every_candidate_is_timed_and_compared_with_the_float64_sum() -> None:
    found = [tuning.measure(choice, ISA) for choice in choose.candidates(CONV, ISA)]
    names = {one.name.split()[0] for one in found}
    assert names == {"direct", "indirect", "winograd"}
    assert all(one.milliseconds > 0 and 0 < one.error < 3e-5 for one in found)


def test_the_fastest_that_is_right_is_chosen() -> None:
    options = choose.candidates(CONV, ISA)
    found = [tuning.Found(choice.name, 1.0 + i, 1e-6) for i, choice in enumerate(options)]
    wrong = replace(found[2], milliseconds=0.1, error=1e-3)
    tuning.keep(CONV, ISA, [*found[:2], wrong, *found[3:]])
    assert tuning.pick(CONV, ISA, options) == options[0]
    assert tuning.pick(CONV, ISA, options, tolerance=1e-2) == options[2]
    activated = replace(CONV, activation="relu", residual=CONV.target)
    assert tuning.pick(activated, ISA, options) == options[0], "whatever is done at the end"


def test_of_what_is_as_fast_the_least_memory_is_chosen() -> None:
    size = Blocked(16, 32, 32, ISA.lanes)
    conv = replace(CONV, source=size, target=size)
    options = [c for c in choose.candidates(conv, ISA) if c.name.startswith("winograd")]
    room = [c.kernel.workspace(c.conv, c.schedule) for c in options]
    least, most = options[room.index(min(room))], options[room.index(max(room))]
    for factor, wanted in ((1.005, least), (1.1, most)):
        found = [tuning.Found(c.name, 1.0 * factor, 1e-6) for c in options if c is not most]
        tuning.keep(conv, ISA, [*found, tuning.Found(most.name, 1.0, 1e-6)])
        assert tuning.pick(conv, ISA, options) == wanted


def test_what_was_measured_as_wrong_is_not_chosen_again() -> None:
    options = choose.candidates(CONV, ISA)
    wrong = [tuning.Found(choice.name, 0.1, 1e-3) for choice in options]
    tuning.keep(CONV, ISA, wrong[1:])
    assert tuning.pick(CONV, ISA, options) == options[0], "the one that was never measured"
    tuning.keep(CONV, ISA, [replace(wrong[0], error=5e-4), *wrong[1:]])
    assert tuning.pick(CONV, ISA, options) == options[0], "the least wrong"


def test_a_plan_goes_by_what_was_measured_and_stays_right() -> None:
    program, x = lenet(), np.random.default_rng(0).standard_normal((2, 1, 28, 28))
    for conv in list(tuning.unknown(program, ISA)):
        slow = [
            tuning.Found(c.name, 1.0 / (1 + i), 0.0)
            for i, c in enumerate(choose.candidates(conv, ISA))
        ]
        tuning.keep(conv, ISA, slow)  # the last candidate looks fastest
    assert not list(tuning.unknown(program, ISA))
    (exact,) = interpret(program, x)
    (found,) = Network(plan(program, ISA))(x.astype(np.float32))
    assert np.abs(found - exact).max() / np.abs(exact).max() < 1e-4


def test_the_tolerance_forbids_kernels() -> None:
    net = torch.nn.Conv2d(16, 16, 3, padding=1).eval()
    program = lower(net, torch.zeros(2, 16, 24, 24))
    tuning.tune(program, ISA, HOUR)
    chosen = {t: plan(program, ISA, t).chosen[program.ops[0].name] for t in (1e-4, 6e-7)}
    found = {one.name: one for one in tuning.recall(tuning.plainly(chosen[1e-4].conv), ISA) or []}
    assert any(one.error > 6e-7 for one in found.values())
    for tolerance, choice in chosen.items():
        allowed = [one for one in found.values() if one.error <= tolerance]
        fastest = min(one.milliseconds for one in allowed)
        assert found[choice.name] in allowed
        assert found[choice.name].milliseconds <= tuning.AS_FAST * fastest


NO_TIME = '{"conv": "CONV", "found": [{"name": "direct", "milliseconds": null, "error": 0}]}'
HARMS = ["", "{}", "not json", '{"conv": "other", "found": []}', '{"found": []}', "[]", NO_TIME]


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_record_is_measured_again(harm: str, tmp_path: Path) -> None:
    tuning.keep(CONV, ISA, [tuning.Found("direct", 1.0, 0.0)])
    (path,) = (tmp_path / tuning.FOLDER).iterdir()
    assert json.loads(path.read_text())["found"] and tuning.recall(CONV, ISA)
    path.write_text(harm.replace("CONV", json.dumps(repr(CONV))[1:-1]))
    assert tuning.recall(CONV, ISA) is None


def test_what_has_no_choice_is_not_tuned() -> None:
    net = torch.nn.Conv3d(8, 8, 3).eval()
    assert tuning.tune(lower(net, torch.zeros(2, 8, 9, 9, 9)), ISA, HOUR) == 0


def test_the_error_of_a_depthwise_kernel_is_measured() -> None:
    conv = replace(CONV, groups=16)
    (choice,) = choose.candidates(conv, ISA)
    assert 0 < tuning.measure(choice, ISA).error < 1e-6


def test_tuning_stops_when_its_time_is_up_and_goes_on_where_it_stopped() -> None:
    program = lenet()
    count = len(list(tuning.unknown(program, ISA)))
    assert tuning.tune(program, ISA, 0.0) == 0
    assert tuning.tune(program, ISA, HOUR) == count > 2
    assert tuning.tune(program, ISA, HOUR) == 0


def test_the_command_says_what_is_left() -> None:
    done = CliRunner().invoke(app, ["tune", "zoo:lenet5", "--time", "1h"])
    assert done.exit_code == 0 and "5 convolutions were timed." in done.output, done.output
    again = CliRunner().invoke(app, ["tune", "zoo:lenet5"])
    assert again.exit_code == 0 and "was timed here before" in again.output, again.output
