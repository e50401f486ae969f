"""Networks on several threads: the same bits as on one, whichever thread is ahead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import lighten
from lighten import store, zoo
from lighten.emit import host
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.engine.steps import Step
from lighten.engine.waits import waits
from lighten.errors import InputError
from lighten.network import lower
from lighten.program import Builder, Program
from tests.random_programs import SHAPES, STEPS, random_program, weight
from tests.test_lower import lively
from tests.together import with_threads

NAMES = ("resnet20", "mobilenet_v3", "unet", "shufflenet_v2", "sensor_cnn")


def made(name: str) -> Program:
    torch.manual_seed(0)
    channels, *sides = zoo.TABLE[name].input_shape
    example = torch.randn(2, channels, *(min(side, 64) for side in sides))
    return lower(lively(zoo.build(name)).eval(), example)


def tokens() -> Program:
    """Attention, normalised and mixed: what a transformer is made of."""
    b = Builder()
    x = b.input("x", (12, 32))
    q, k, v = (b.op("linear", x, weight(b, 32, 32)) for _ in range(3))
    q, k, v = (b.op("reshape", value, shape=(12, 4, 8)) for value in (q, k, v))
    q, v = (b.op("transpose", value, permutation=(1, 0, 2)) for value in (q, v))
    k = b.op("transpose", k, permutation=(1, 2, 0))
    y = b.op("matmul", b.op("softmax", b.op("matmul", q, k), axis=2), v)
    y = b.op("reshape", b.op("transpose", y, permutation=(1, 0, 2)), shape=(12, 32))
    x = b.op("binary", b.op("linear", y, weight(b, 32, 32)), x, function="add")
    return b.finish(b.op("unary", b.op("linear", x, weight(b, 64, 32)), function="gelu"))


def chain(seed: int) -> Program:
    rng, names = np.random.default_rng(seed), sorted(STEPS)
    chosen = [names[i] for i in rng.integers(len(names), size=6)]
    return random_program(SHAPES[int(rng.integers(len(SHAPES)))], chosen, seed)


def noise(program: Program, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [
        rng.standard_normal((count, *program.values[name].shape)).astype(np.float32)
        for name in program.inputs
    ]


def same(program: Program) -> None:
    """On any number of threads and samples, every bit."""
    made = plan(program, host())
    alone = Network(made)
    for threads in (2, 3):
        network = Network(made, threads)
        for count in (1, 2, 5):
            x = noise(program, count)
            for found, wanted in zip(network(*x), alone(*x), strict=True):
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_networks_give_the_same_bits(name: str) -> None:
    same(made(name))


def test_tokens_give_the_same_bits() -> None:
    same(tokens())


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_give_the_same_bits(seed: int) -> None:
    same(chain(seed))


@pytest.mark.soak
def test_many_random_programs_give_the_same_bits() -> None:
    for seed in range(10, 1000):
        same(chain(seed))
        ahead(chain(seed))


def ahead(program: Program) -> None:
    """One part does all steps up to the next meeting before another begins, whichever it is.

    There are samples for each part: what parts would do together, each does for its own.
    """
    made, parts = plan(program, host()), 2
    schedules = [choice.schedule for choice in made.chosen.values()]
    count = parts * math.lcm(*(getattr(schedule, "samples", 1) for schedule in schedules))
    network, x = Network(made, parts), noise(program, count)
    wanted = Network(made)(*x)
    for first in range(parts):
        arena = network._arenas.take(count)
        arena.memory.view(np.float32)[...] = np.nan
        arena.enter(x)
        for group in meetings(network):
            if not isinstance(made.steps[group[0]], Step):
                network._interpret(made.steps[group[0]], arena, count)
                continue

            def work(part: int, team: int, group: Any = group, at: int = arena.address) -> None:
                for step in group:
                    call = network._calls.functions[f"step{step}"]
                    call(at, network.weights.ctypes.data, count, part, parts, team)

            with_threads(parts, work, first=first)
        for found, right in zip(arena.left(), wanted, strict=True):
            np.testing.assert_array_equal(found, right)


def meetings(network: Network) -> list[list[int]]:
    """The steps' numbers, in groups between which threads meet."""
    kernels: dict[Any, Any] = {}
    groups: list[list[int]] = []
    run: list[int] = []
    for at, step in enumerate([*network.plan.steps, None]):
        if isinstance(step, Step):
            kernels.setdefault(step.key, step.emit(f"kernel{len(kernels)}"))
            run.append(at)
            continue
        steps = [network.plan.steps[i] for i in run]
        late = waits(steps, [kernels[s.key] for s in steps], network._ranges())
        for number, waiting in zip(run, late, strict=True):
            if waiting or number == run[0]:
                groups.append([])
            groups[-1].append(number)
        groups += [[at]] if step is not None else []
        run = []
    return groups


@pytest.mark.parametrize("name", NAMES)
def test_who_is_ahead_takes_nothing_from_who_is_behind(name: str) -> None:
    ahead(made(name))


def test_tokens_take_nothing_from_each_other() -> None:
    ahead(tokens())


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_take_nothing_from_each_other(seed: int) -> None:
    ahead(chain(seed))


def test_steps_wait_for_what_they_need_and_for_nothing_else() -> None:
    program = made("resnet20")
    groups = meetings(Network(plan(program, host()), 2))
    steps = plan(program, host()).steps
    kinds = [[step.kernel for step in (steps[i] for i in group)] for group in groups]
    assert ["clear", "winograd"] in kinds, "zeros around an image are nobody's pixels"
    assert all(group.count("winograd") <= 1 for group in kinds)


def test_a_file_is_run_on_as_many_threads_as_asked(tmp_path: Any) -> None:
    program = tokens()
    store.save(program, tmp_path / "m.lighten")
    (x,) = noise(program, 2)
    one, two = (lighten.load(tmp_path / "m.lighten", threads=n) for n in (1, 2))
    assert (one.network.threads, two.network.threads) == (1, 2)
    np.testing.assert_array_equal(one(x), two(x))
    with pytest.raises(InputError, match="one thread or more, but got 0"):
        lighten.load(tmp_path / "m.lighten", threads=0)
