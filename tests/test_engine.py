"""Whole networks in the engine: as exact as float32 is, whatever is interpreted, however called."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lighten
from lighten import backends, store, zoo
from lighten.backends.native import Native
from lighten.emit import ISAS, host
from lighten.engine.executable import Network
from lighten.engine.memory import offsets
from lighten.engine.plan import plan
from lighten.engine.steps import Step
from lighten.errors import InputError, UnsupportedOps
from lighten.formats import Integer
from lighten.network import lower
from lighten.program import Builder, Program, interpret
from lighten.program.ir import Value
from lighten.search.workbench import choose_backend
from tests.random_programs import SHAPES, STEPS, random_program, weight
from tests.test_emit import HERE
from tests.test_lower import lively

FOUR = Integer(4)
BOUND = 1e-4  # max |y − y64| / max |y64|
QUICK = ("lenet5", "resnet20", "mobilenet_v3", "squeezenet", "unet", "espcn", "sensor_cnn")
# every op of these has a kernel
WHOLE = (
    *("lenet5", "digits_cnn", "resnet20", "resnet18", "vgg16_bn", "squeezenet", "densenet121"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "efficientnet_b0", "unet", "shufflenet_v2"),
)


def error(found: np.ndarray, exact: np.ndarray) -> float:
    assert found.shape == exact.shape
    return float(np.abs(found - exact).max() / max(np.abs(exact).max(), 1e-30))


def made(name: str) -> tuple[Any, np.ndarray]:
    torch.manual_seed(0)
    channels, *sides = zoo.TABLE[name].input_shape
    shape = (channels, *(min(side, 64) for side in sides))
    return lively(zoo.build(name)).eval(), torch.randn(3, *shape).numpy()


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in zoo.TABLE]
)
def test_zoo_networks_are_exact(name: str) -> None:
    net, x = made(name)
    program = lower(net, torch.from_numpy(x[:2]))
    network = Native().compile(program)
    with torch.no_grad():
        exact = net.double()(torch.from_numpy(x).double())
    wanted = exact.numpy() if isinstance(exact, torch.Tensor) else exact[0].numpy()
    assert error(network(x)[0], wanted) < BOUND
    if name in WHOLE:
        assert not network.plan.interpreted


@pytest.mark.parametrize("isa", HERE)
def test_every_instruction_set_gives_the_same(isa: str) -> None:
    net, x = made("resnet20")
    program = lower(net, torch.from_numpy(x[:2]))
    (wanted,) = interpret(program, x)
    assert error(Network(plan(program, ISAS[isa]))(x)[0], wanted) < BOUND


def agrees(program: Program) -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(3, *program.values[i].shape)) for i in program.inputs]
    (exact,) = interpret(program, *inputs)
    (rounded,) = interpret(program, *inputs, dtype=np.float32)
    (found,) = Native().compile(program)(*(x.astype(np.float32) for x in inputs))
    scale = max(np.abs(exact).max(), 0.1)
    bound = max(3e-5, 10 * np.abs(rounded - exact).max() / scale)
    assert found.shape == exact.shape and np.abs(found - exact).max() / scale < bound


@pytest.mark.parametrize("step", STEPS)
def test_every_kind_of_op_means_the_same(step: str) -> None:
    for shape in SHAPES:
        agrees(random_program(shape, [step, "binary"], 0))


def chain(steps: int, seed: int) -> Program:
    rng = np.random.default_rng(seed)
    names = sorted(STEPS)
    chosen = [names[i] for i in rng.integers(len(names), size=steps)]
    return random_program(SHAPES[int(rng.integers(len(SHAPES)))], chosen, seed)


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_mean_the_same(seed: int) -> None:
    agrees(chain(5, seed))


@pytest.mark.soak
def test_many_random_programs_mean_the_same() -> None:
    for seed in range(20, 1000):
        agrees(chain(6, seed))


def test_any_batch_runs_and_answers_do_not_depend_on_it() -> None:
    net, x = made("resnet20")
    network = Native().compile(lower(net, torch.from_numpy(x[:2])))
    whole = network(x)[0]
    for size in (1, 2):
        np.testing.assert_array_equal(network(x[:size])[0], whole[:size])


def test_larger_batches_have_kernels_of_their_own() -> None:
    """Heavy weights over small images: many samples at a time."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(128, 256, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(256, 96, 3)
    )
    x = np.random.default_rng(0).standard_normal((37, 128, 6, 6)).astype(np.float32)
    network = Native().compile(lower(net.eval(), torch.from_numpy(x[:2])))
    many = network.plan.for_many()
    assert many is not None, "no kernel for many samples was chosen"
    assert all("samples=1)" not in choice.name for choice in many.chosen.values())
    wanted = net.double()(torch.from_numpy(x).double()).detach().numpy()
    for count in (1, 4, 37):
        assert error(network(x[:count])[0], wanted[:count]) < BOUND


def test_calls_at_the_same_time_do_not_meet() -> None:
    net, _ = made("resnet20")
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, 3, 32, 32)).astype(np.float32) for _ in range(16)]
    network = Native().compile(lower(net, torch.from_numpy(np.concatenate(inputs[:2]))))
    wanted = [network(x)[0] for x in inputs]
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(30):
            if not np.array_equal(network(inputs[which])[0], wanted[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_wrong_inputs_are_refused() -> None:
    network = Native().compile(lower(*_small()))
    with pytest.raises(InputError, match=r"must be \[n, 3, 8, 8\], but got \[1, 4, 9, 9\]"):
        network(np.zeros((1, 4, 9, 9), np.float32))
    with pytest.raises(InputError, match="but got none"):
        network()


def test_numbers_of_no_row_of_a_table_are_refused() -> None:
    b = Builder()
    ids = b.input("ids", (4,))
    table = b.store("table", np.arange(30, dtype=np.float32).reshape(10, 3))
    moved = b.op("reshape", ids, shape=(2, 2))
    network = Native().compile(b.finish(b.op("gather", table, moved, axis=0)))
    (found,) = network(np.array([[0, 9, -1, -10]]))
    assert found[0, :, :, 0].tolist() == [[0, 27], [27, 0]]
    for wrong in (10, -11):
        with pytest.raises(InputError, match=f"from -10 to 9, but holds {wrong}"):
            network(np.array([[0, 1, 2, wrong]]))


def test_whole_numbers_come_out_whole_and_must_be_exact() -> None:
    b = Builder()
    x = b.input("x", (3,))
    program = b.finish(b.op("reshape", x, shape=(3, 1)), integers=("x",))
    network = Native().compile(program)
    (found,) = network(np.array([[1, -2, (1 << 24) - 1]]))
    assert found.dtype == np.int64 and found.reshape(-1).tolist() == [1, -2, (1 << 24) - 1]
    with pytest.raises(InputError, match="held as floats"):
        network(np.array([[1, 2, 1 << 24]]))


def test_tokens_flow_without_moves() -> None:
    """Heads are split, turned and joined by steps alone: no copies beside the kernels."""
    b = Builder()
    x = b.input("x", (6, 32))
    q, k, v = (b.op("linear", x, weight(b, 32, 32)) for _ in range(3))
    q, k, v = (b.op("reshape", value, shape=(6, 4, 8)) for value in (q, k, v))
    q, v = (b.op("transpose", value, permutation=(1, 0, 2)) for value in (q, v))
    k = b.op("transpose", k, permutation=(1, 2, 0))
    scores = b.op("binary", b.op("matmul", q, k), b.store("s", np.array(0.35)), function="mul")
    y = b.op("matmul", b.op("softmax", scores, axis=2), v)
    y = b.op("reshape", b.op("transpose", y, permutation=(1, 0, 2)), shape=(6, 32))
    program = b.finish(b.op("binary", b.op("linear", y, weight(b, 32, 32)), x, function="add"))
    agrees(program)
    kernels = [step.kernel for step in plan(program, host()).steps if isinstance(step, Step)]
    assert kernels == ["linear"] * 3 + ["attention", "linear"]


def _small() -> tuple[Any, Any]:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    return net, torch.zeros(2, 3, 8, 8)


def test_what_it_cannot_run_is_named() -> None:
    b = Builder()
    program = b.finish(b.op("unary", b.input("x", (4,)), function="relu"))
    rounded = Value((4,), FOUR, FOUR.span(0, 1))
    program = program.changed(values={**program.values, program.outputs[0]: rounded})
    assert Native().missing(program) == [program.ops[0].name]
    with pytest.raises(UnsupportedOps, match="runs unsigned 8-bit activations"):
        backends.get("native").compile(program)
    with pytest.raises(InputError, match="one thread or more, but got 0"):
        Native().compile(lower(*_small()), threads=0)
    assert [backend.name for backend in choose_backend("native")] == ["native"]
    assert "native" in {backend.name for backend in choose_backend("auto")}


def built(inputs: dict[str, tuple[int, ...]], write: Any, whole: tuple[str, ...] = ()) -> Program:
    b = Builder()
    x = [b.input(name, shape) for name, shape in inputs.items()]
    return b.finish(write(b, *x)).changed(integers=whole)


def conv_of(b: Builder, x: str, activation: str = "", **more: Any) -> str:
    rng = np.random.default_rng(0)
    w = b.store("w", rng.normal(size=(4, 4, 3, 3)))
    given = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1, **more}
    return b.op("conv", x, w, activation=activation, **given)


def add(b: Builder, x: str, y: str, activation: str = "") -> str:
    return b.op("binary", x, y, function="add", activation=activation)


IMAGE = (4, 6, 8)
SLIDING = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}
# what is easily taken for something else
TRAPS: dict[str, Any] = {
    "rows of one length": lambda: built({"x": (5, 5), "y": (5,)}, add),
    "a vector beside an image": lambda: built({"x": (8, 4, 8), "y": (8,)}, add),
    "an outer product": lambda: built({"x": (8, 1, 1), "y": (8,)}, add),
    "an activation that no kernel has": lambda: built(
        {"x": IMAGE}, lambda b, x: add(b, conv_of(b, x), x, "mish")
    ),
    "whole numbers, convolved and added": lambda: built(
        {"x": IMAGE}, lambda b, x: add(b, conv_of(b, x), x, "relu"), ("x",)
    ),
    "whole numbers, added": lambda: built(
        {"x": IMAGE, "y": IMAGE}, lambda b, x, y: add(b, conv_of(b, x), y, "relu"), ("y",)
    ),
    "whole numbers, scaled": lambda: built(
        {"x": IMAGE},
        lambda b, x: b.op(
            "unary",
            b.op("affine", x, b.store("s", np.arange(4)), b.store("t", -np.ones(4)), axis=0),
            function="relu",
        ),
        ("x",),
    ),
    "a slice from behind": lambda: built(
        {"x": IMAGE},
        lambda b, x: b.op("slice", conv_of(b, x), axis=2, start=-3, stop=8, step=1),
    ),
    "a slice from far before": lambda: built(
        {"x": IMAGE},
        lambda b, x: b.op("slice", conv_of(b, x), axis=1, start=-(10**9), stop=5, step=2),
    ),
    "transposed, not overlapping": lambda: built(
        {"x": IMAGE}, lambda b, x: _transposed(b, x, (1, 1), "gelu")
    ),
    "transposed and dilated": lambda: built(
        {"x": IMAGE}, lambda b, x: _transposed(b, x, (2, 2), "")
    ),
    "transposed, with another activation": lambda: built(
        {"x": IMAGE}, lambda b, x: _transposed(b, x, (1, 1), "mish")
    ),
    "one value, two frames": lambda: built(
        {"x": IMAGE},
        lambda b, x: add(
            b,
            conv_of(b, conv_of(b, x, "relu")),
            conv_of(b, "conv", pads=(2, 1, 2, 1), dilations=(2, 1)),
        ),
    ),
}


def _transposed(b: Builder, x: str, dilations: tuple[int, int], activation: str) -> str:
    w = b.store("w", np.random.default_rng(0).normal(size=(4, 3, 2, 2)))
    return b.op(
        "conv_transpose",
        x,
        w,
        b.store("b", np.ones(3)),
        **{**SLIDING, "strides": (2, 2), "pads": (0,) * 4, "dilations": dilations},
        output_padding=(0, 0),
        activation=activation,
    )


@pytest.mark.parametrize("trap", TRAPS)
def test_what_looks_alike_is_told_apart(trap: str) -> None:
    program, rng = TRAPS[trap](), np.random.default_rng(0)
    inputs = [
        rng.integers(-4, 5, (2, *program.values[name].shape)).astype(np.float32)
        for name in program.inputs
    ]
    (exact,) = interpret(program, *inputs)
    network = Native().compile(program)
    for _ in range(2):  # the second time, the arena holds what the first left
        (found,) = network(*inputs)
        assert error(found, exact) < 1e-5


def test_stale_memory_is_never_read() -> None:
    """An arena full of NaN: what is read without having been written would show."""
    for name in ("resnet20", "squeezenet", "sensor_cnn"):
        net, x = made(name)
        network = Native().compile(lower(net, torch.from_numpy(x[:2])))
        (wanted,) = network(x)
        arena = network._arenas.take(len(x))
        arena.memory.view(np.float32)[...] = np.nan
        network._arenas.give(arena)
        np.testing.assert_array_equal(network(x)[0], wanted)


def test_lists_are_arrays_and_nothing_is_no_batch() -> None:
    network = Native().compile(built({"x": (3,)}, lambda b, x: b.op("unary", x, function="relu")))
    assert network([[-1, 0, 2]])[0].tolist() == [[0, 0, 2]]
    for wrong in (np.zeros((0, 3)), 1.0, np.zeros(3)):
        with pytest.raises(InputError, match="must be"):
            network(wrong)


def test_four_bits_are_refused_wherever_they_enter(tmp_path: Path) -> None:
    program = built({"x": (4,)}, lambda b, x: b.op("unary", x, function="relu"))
    rounded = Value((4,), FOUR, FOUR.span(0, 1))
    program = program.changed(values={**program.values, "x": rounded})
    assert Native().missing(program) == ["x"]
    store.save(program, tmp_path / "four.lighten")
    with pytest.raises(UnsupportedOps, match="runs unsigned 8-bit activations"):
        lighten.load(tmp_path / "four.lighten")


def test_a_profile_names_the_ops() -> None:
    net, example = _small()
    program = lower(net, example)
    times = Native().compile(program).profile([example.numpy()], runs=5)
    layers = [op.name for op in program.ops if op.kind == "conv"]
    assert set(layers) <= set(times) and all(t >= 0 for t in times.values())


def test_values_share_memory_only_when_they_never_live_together() -> None:
    rng = np.random.default_rng(0)
    names = [f"v{i}" for i in range(60)]
    sizes = {name: int(rng.integers(1, 5000)) for name in names}
    begins = {name: int(rng.integers(50)) for name in names}
    lives = {name: (begins[name], begins[name] + int(rng.integers(8))) for name in names}
    at, total = offsets(sizes, lives)
    for i, a in enumerate(names):
        assert at[a] % 64 == 0 and at[a] + sizes[a] <= total
        for b in names[:i]:
            together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
            apart = at[a] + sizes[a] <= at[b] or at[b] + sizes[b] <= at[a]
            assert apart or not together
    most = max(
        sum(sizes[n] for n in names if lives[n][0] <= step <= lives[n][1]) for step in range(60)
    )
    assert most <= total < 2 * most


def test_a_call_of_no_samples_divides_by_nothing() -> None:
    """What a profile subtracts: heavy weights over one pixel, whose outermost loop is the batch."""
    net = torch.nn.Sequential(torch.nn.Conv2d(256, 512, 1), torch.nn.Flatten()).eval()
    network = Native().compile(lower(net, torch.zeros(2, 256, 1, 1)))
    assert set(network.profile((np.ones((1, 256, 1, 1), np.float32),), runs=1)) >= {"0"}
