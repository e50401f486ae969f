"""The loop: learns, repeats to the bit, resumes to the bit, and says what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighten.core.recipe import Training
from lighten.core.task import Batch, Metric, Task
from lighten.errors import DataError, InputError, LightenError, RecipeError
from lighten.train import Fixed, History, Joint, Mutual, Session, fit, logits, rows, steps_of
from lighten.train import loop as loop_module
from lighten.train.layout import channels_last, precision_for
from lighten.train.progress import Progress
from lighten.train.stream import Place, stream

SHORT = Training(epochs=2.5, batch=32, lr=0.05)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blobs(train_size: int = 300, noise: float = 2.0) -> Task:
    """Four classes of noisy 8 × 8 pictures, with a shift as augmentation."""
    centres = np.random.default_rng(0).normal(size=(4, 1, 8, 8))

    def sample(count: int, seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, count)
        noisy = centres[labels] + noise * rng.normal(size=(count, 1, 8, 8))
        return noisy.astype(np.float32), labels

    x, y = sample(train_size, 1)
    held_x, held_y = sample(200, 2)

    def train(seed: int, epoch: int, batch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(train_size)
        for start in range(0, train_size, batch):
            chosen = order[start : start + batch]
            scale = rng.normal(1, 0.05, (len(chosen), 1, 1, 1)).astype(np.float32)
            yield Batch((x[chosen] * scale,), y[chosen])

    def held() -> list[Batch]:
        return [Batch((held_x[i : i + 64],), held_y[i : i + 64]) for i in range(0, 200, 64)]

    return Task(train, held, held, train_size, fingerprint="blobs")


def net(seed: int = 0, width: int = 8, dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(36 * width, 4),
    )


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == j and torch.equal(s, t) for (k, s), (j, t) in pairs)


class Crash(Exception):
    pass


def crash_at(step: int, error: type[BaseException] = Crash) -> Callable[[Progress], None]:
    def call(progress: Progress) -> None:
        if progress.step == step:
            raise error

    return call


def test_it_learns_and_says_how() -> None:
    seen: list[Progress] = []
    module = net()
    history = fit(module, blobs(), SHORT, session=Session(progress=seen.append))
    assert history.steps == 25 == len(history.losses) == len(seen)
    assert history.losses[-1] < 0.3 * history.losses[0]
    assert [step for step, _ in history.valid] == [10, 20, 25]
    assert history.quality is not None and history.quality > 85
    assert history.signals == (("task", 1.0),)
    assert not module.training
    assert [p.step for p in seen] == list(range(1, 26))
    assert seen[-1].quality == history.quality
    assert max(p.lr for p in seen) == pytest.approx(SHORT.lr)
    assert History.from_dict(history.as_dict()) == history


def test_equal_arguments_give_equal_bits() -> None:
    a, b, c = net(), net(), net()
    before = torch.random.get_rng_state()
    first = fit(a, blobs(), SHORT)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second = fit(b, blobs(), SHORT)
    other = fit(c, blobs(), replace(SHORT, seed=1))
    assert same_bits(a, b)
    assert first.losses == second.losses
    assert first.losses != other.losses


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("step", [3, 10, 17])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, optimizer: str, step: int) -> None:
    training = replace(SHORT, optimizer=optimizer, lr=0.01)
    training = replace(training, signals=(("soft_targets", 0.5), ("features:0", 0.5)))
    teacher = net(seed=5, width=6)  # another width: the projection resumes too
    whole, parted = net(), net()
    straight = fit(whole, blobs(), training, teacher)
    file = tmp_path / "run.safetensors"
    stopping = Session(checkpoint=file, progress=crash_at(step + 1), save_seconds=0.0)
    with pytest.raises(Crash):
        fit(parted, blobs(), training, teacher, stopping)
    resumed = net()
    calls: list[Progress] = []
    history = fit(resumed, blobs(), training, teacher, Session((), file, calls.append))
    assert calls[0].step == step + 1
    assert same_bits(whole, resumed)
    assert history.losses == straight.losses
    assert history.valid == straight.valid


def test_a_killed_process_ends_in_the_same_bits(tmp_path: Path) -> None:
    """It is killed at any moment, but never so late that it has ended."""
    file = tmp_path / "run.safetensors"
    script = (
        "import sys, time; from pathlib import Path; from tests.test_train_loop import *\n"
        "torch.set_num_threads(1)\n"
        f"file = Path({str(file)!r})\n"
        "wait = lambda p: time.sleep(0.05 if p.step < 20 else 600)\n"
        "fit(net(), blobs(), SHORT, session=Session((), file, wait, save_seconds=0.0))\n"
    )
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", script], cwd=root) as process:
        while not file.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    straight, resumed = net(), net()
    calls: list[Progress] = []
    history = fit(resumed, blobs(), SHORT, session=Session((), file, calls.append))
    assert 0 < len(calls) < history.steps
    assert history.losses == fit(straight, blobs(), SHORT).losses
    assert same_bits(straight, resumed)


def test_a_finished_checkpoint_is_put_back_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    first, second = net(), net()
    history = fit(first, blobs(), SHORT, session=Session(checkpoint=file))

    def never(*_: int) -> list[Batch]:
        raise AssertionError("the data must not be touched")

    again = fit(second, replace(blobs(), train=never), SHORT, session=Session(checkpoint=file))
    assert same_bits(first, second)
    assert again == replace(history, images_per_second=0.0)
    assert not second.training


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    session = Session(checkpoint=file)
    fit(net(), blobs(), SHORT, session=session)
    for module, training in ((net(1), SHORT), (net(), replace(SHORT, lr=0.01))):
        with pytest.raises(InputError, match="belongs to another run"):
            fit(module, blobs(), training, session=session)
    with pytest.raises(InputError, match="belongs to another run"):
        fit(net(), replace(blobs(), fingerprint="others"), SHORT, session=session)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="is not a checkpoint"):
        fit(net(), blobs(), SHORT, session=session)


class Acts:
    """A hook that calls `act` in the middle of one step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def before_step(self, step: int) -> None:
        if step == self.step:
            self.act()

    def after_step(self, step: int) -> None:
        pass

    def finish(self) -> None:
        pass


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal: started in the background, a process would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    press = Acts(6, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):  # held back until the seventh step is whole
        fit(net(), blobs(), SHORT, session=Session([press], file))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed, straight = net(), net()
    calls: list[Progress] = []
    fit(resumed, blobs(), SHORT, session=Session((), file, calls.append))
    fit(straight, blobs(), SHORT)
    assert calls[0].step == 8
    assert same_bits(resumed, straight)


def test_a_step_broken_in_the_middle_is_not_written_down(tmp_path: Path) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(net(), blobs(), SHORT, session=Session([Acts(4, press)], file))
    assert not file.exists()


def test_hooks_act_around_every_step() -> None:
    class Mask:
        """Keeps the first filter at zero."""

        def __init__(self, module: nn.Sequential) -> None:
            self.module, self.calls = module, list[str]()

        def before_step(self, step: int) -> None:
            self.calls.append(f"before {step}")

        def after_step(self, step: int) -> None:
            self.calls.append(f"after {step}")
            with torch.no_grad():
                self.module[0].weight[0] = 0

        def finish(self) -> None:
            self.calls.append("finish")

    module = net()
    hook = Mask(module)
    fit(module, blobs(), replace(SHORT, epochs=0.2), session=Session([hook]))
    assert hook.calls == ["before 0", "after 0", "before 1", "after 1", "finish"]
    assert torch.equal(module[0].weight[0], torch.zeros(1, 3, 3))


def test_a_loss_that_explodes_stops_the_run() -> None:
    with pytest.raises(LightenError, match=r"loss must be finite.*lower learning rate"):
        fit(net(), blobs(), replace(SHORT, lr=1e12))
    poisoned = replace(blobs(), loss=lambda outputs, target: outputs.sum() * float("nan"))
    with pytest.raises(LightenError, match="step 1 of 25"):
        fit(net(), poisoned, SHORT)


@pytest.mark.parametrize("seed", [0, 1])
def test_f3_one_loop_runs_fixed_joint_and_mutual(seed: int) -> None:
    training = replace(SHORT, seed=seed)
    teacher = net(seed=9)
    fit(teacher, blobs(), SHORT)
    frozen = {name: t.clone() for name, t in teacher.state_dict().items()}
    student = net(seed)
    assert (fit(student, blobs(), training, Fixed((teacher,))).quality or 0) > 85
    assert all(torch.equal(t, frozen[name]) for name, t in teacher.state_dict().items())

    joint, learning = net(seed), net(seed=9, dropout=0.0)
    assert (fit(joint, blobs(), training, Joint(learning)).quality or 0) > 85
    alone = net(seed=9, dropout=0.0)
    fit(alone, blobs(), training)
    for name, tensor in learning.state_dict().items():  # the teacher learns from labels alone
        assert torch.allclose(tensor, alone.state_dict()[name], atol=1e-5), name

    first, *peers = (net(seed + i) for i in range(3))
    assert (fit(first, blobs(), training, Mutual(tuple(peers))).quality or 0) > 75
    task = blobs()
    for peer in peers:
        assert task.metric.reduce(rows(peer, task.valid(), task.metric)) > 75


def test_a_teacher_is_asked_in_eval_mode_and_may_be_the_student_itself() -> None:
    module = net()
    fit(module, blobs(), SHORT)
    told = replace(SHORT, signals=(("soft_targets", 1.0),), epochs=0.1, lr=1e-6)
    module[4].p = 0.0
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.0
    history = fit(module, blobs(), replace(told, precision="float32"), module)
    assert 0 < history.losses[0] < 0.2  # BatchNorm of the batch against its running statistics


class Answers(nn.Module):
    """Two inputs, a dict of outputs, and a `view` that channels-last memory would break."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.next = nn.Conv2d(6, 6, 3)
        self.linear = nn.Linear(6 * 16, 4)

    def forward(self, image: Tensor, scale: Tensor) -> dict[str, Tensor]:
        features = self.next(self.conv(image * scale[:, :, None, None]).relu()).relu()
        return {"features": features, "logits": self.linear(features.view(len(image), -1))}


def test_several_inputs_dict_outputs_and_views() -> None:
    task = blobs()

    def two(batch: Batch) -> Batch:
        return Batch((*batch.inputs, np.ones((len(batch), 1), np.float32)), batch.target)

    def margin(outputs: Any, target: Any) -> Any:
        assert set(outputs) == {"features", "logits"}
        return outputs["logits"][np.arange(len(target)), target]

    double = replace(
        task,
        train=lambda seed, epoch, batch: map(two, task.train(seed, epoch, batch)),
        valid=lambda: list(map(two, task.valid())),
    )
    module, teacher = Answers(), Answers()
    assert (fit(teacher, double, SHORT).quality or 0) > 60
    assert (fit(module, double, SHORT, teacher).quality or 0) > 60
    assert logits(module, double.valid()).shape == (200, 4)
    own = Metric("margin", "nats", True, margin, lambda r: float(r.mean()))
    assert rows(module, double.valid(), own).shape == (200,)


def test_channels_last_only_where_it_runs() -> None:
    images = torch.randn(2, 1, 8, 8)
    module = net()
    with channels_last([module], [images]) as done:
        assert done
        assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[0].weight.is_contiguous()
    with channels_last([Answers()], [images, torch.ones(2, 1)]) as done:
        assert not done
    with channels_last([nn.Linear(3, 3)], [torch.ones(2, 3)]) as done:
        assert not done


def test_modes_survive_being_judged() -> None:
    module = net().train()
    module[1].eval()
    task = blobs()
    rows(module, task.valid(), task.metric)
    assert module.training and not module[1].training


def test_steps_are_rounded_and_settings_checked() -> None:
    assert steps_of(Training(epochs=0.0), 100) == 0
    assert steps_of(Training(epochs=1e-9), 100) == 1
    assert steps_of(Training(epochs=1.5, batch=32), 100) == 6
    for wrong in ({"epochs": -1}, {"batch": 0}, {"epochs": float("nan")}):
        with pytest.raises(RecipeError, match="must be"):
            Training(**wrong)
    module = net()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    assert fit(module, blobs(), replace(SHORT, epochs=0.0)).steps == 0
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    with pytest.raises(RecipeError, match="float32, bfloat16"):
        precision_for("float16", torch.device("cpu"))
    features = replace(SHORT, signals=(("features:0", 1.0),))
    with pytest.raises(RecipeError, match="exactly one teacher, but got 2"):
        fit(net(), blobs(), features, [net(), net()])


def test_the_stream_goes_on_from_any_place() -> None:
    task = blobs(97)  # four batches of 32, the last of one sample: passed over
    found = stream(task, SHORT, Place())
    straight = [next(found) for _ in range(8)]
    assert [place for _, place in straight[:4]] == [
        Place(0, 1),
        Place(0, 2),
        Place(0, 3),
        Place(1, 1),
    ]
    for i in range(7):
        batch, place = next(stream(task, SHORT, straight[i][1]))
        assert place == straight[i + 1][1]
        assert np.array_equal(batch.inputs[0], straight[i + 1][0].inputs[0])
    empty = replace(task, train=lambda *_: iter(()))
    with pytest.raises(DataError, match="at least one batch"):
        next(stream(empty, SHORT, Place()))


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    steep = replace(blobs(), loss=lambda outputs, target: 1e4 * outputs.square().sum())
    training = Training(epochs=0.1, batch=32, lr=1.0, momentum=0.0, weight_decay=0.0, warmup=0.0)
    for limit in (loop_module.CLIP_NORM, 1.0):
        monkeypatch.setattr(loop_module, "CLIP_NORM", limit)
        module = net()
        before = [p.detach().clone() for p in module.parameters()]
        fit(module, steep, training, session=Session(valid_every=0))
        pairs = zip(module.parameters(), before, strict=True)
        moved = sum((p.detach() - b).square().sum() for p, b in pairs) ** 0.5
        assert float(moved) == pytest.approx(limit, rel=1e-3)
