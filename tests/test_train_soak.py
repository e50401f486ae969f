"""What distillation is for, on real digits with few labels (rows F1, F2, F4), three seeds each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lighten.core.recipe import Training
from lighten.core.task import Batch, Task
from lighten.train import Mutual, Session, fit, logits, quality
from lighten.train.roles import consensus
from lighten.train.signals import View

pytestmark = [pytest.mark.soak, pytest.mark.shared]
SEEDS = (0, 1, 2)
AT_END = Session(valid_every=1000)
TEST = 4000


@cache
def _mnist(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as stored:
        return {
            name: (stored[name][:, None].astype(np.float32) / 255 - 0.13) / 0.31
            if name.endswith("x")
            else stored[name].astype(np.int64)
            for name in stored.files
        }


def mnist(folder: Path, labels: int) -> Task:
    """MNIST with that many training labels; 4,000 test digits to judge by."""
    data = _mnist(folder / "mnist.npz")
    chosen = np.random.default_rng(0).permutation(60_000)[:labels]
    x, y = data["train_x"][chosen], data["train_y"][chosen]

    def train(seed: int, epoch: int, batch: int) -> Iterator[Batch]:
        order = np.random.default_rng((seed, epoch)).permutation(labels)
        for start in range(0, labels, batch):
            part = order[start : start + batch]
            yield Batch((x[part],), y[part])

    def held() -> Iterator[Batch]:
        for start in range(0, TEST, 500):
            part = slice(start, start + 500)
            yield Batch((data["test_x"][part],), data["test_y"][part])

    return Task(train, held, held, labels)


def teacher(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(512, 10),
    )


def student(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def short(seed: int, temperature: float = 8.0) -> Training:
    return Training(epochs=15, batch=64, seed=seed, temperature=temperature)


def test_f1_a_taught_student_errs_less(shared_data: Path) -> None:
    many, few = mnist(shared_data, 10_000), mnist(shared_data, 1000)
    guide = teacher(0)
    taught_by = fit(guide, many, Training(epochs=5, batch=64), session=AT_END).quality
    assert taught_by is not None and taught_by > 97.5
    for seed in SEEDS:
        with_it = fit(student(seed), few, short(seed), guide, AT_END).quality or 0
        without = fit(student(seed), few, short(seed), None, AT_END).quality or 0
        print(f"seed {seed}: errors {100 - with_it:.2f} % taught, {100 - without:.2f} % alone")
        assert 100 - with_it < 0.8 * (100 - without)


def test_f2_an_ensemble_beats_its_mean_member_and_teaches(shared_data: Path) -> None:
    some, few = mnist(shared_data, 2000), mnist(shared_data, 500)
    guides = [teacher(seed) for seed in SEEDS]
    single = [
        fit(g, some, Training(epochs=6, batch=64, seed=s), session=AT_END).quality or 0
        for s, g in enumerate(guides)
    ]
    views = [View(torch.from_numpy(logits(g, some.test()))) for g in guides]
    said = consensus(views, "cross_entropy", 1.0).answer.argmax(1).numpy()
    target = np.concatenate([batch.target for batch in some.test()])
    together = 100 * float((said == target).mean())
    assert together >= float(np.mean(single))
    by_all = [fit(student(s), few, short(s), guides, AT_END).quality or 0 for s in SEEDS]
    by_one = [fit(student(s), few, short(s), guides[s], AT_END).quality or 0 for s in SEEDS]
    means = float(np.mean(by_all)), float(np.mean(by_one))
    print(f"members {single}, together {together:.2f}")
    print(f"students taught by all {by_all}, by one {by_one}")
    assert means[0] > means[1] - 0.5  # reported: with three seeds it is not a gain to insist on


def calibration_error(module: nn.Module, task: Task, bins: int = 15) -> float:
    """Expected calibration error, in points: |confidence − accuracy| over bins of confidence."""
    answers = torch.from_numpy(logits(module, task.test())).double().softmax(1).numpy()
    target = np.concatenate([batch.target for batch in task.test()])
    sure, right = answers.max(1), answers.argmax(1) == target
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[place == b].sum() - right[place == b].sum()) for b in range(bins)]
    return 100 * float(sum(gaps)) / len(target)


def test_f4_label_smoothing_calibrates(shared_data: Path) -> None:
    """ε = 0.02 halves the error; ε ≥ 0.05 overshoots here, into too little confidence."""
    few = mnist(shared_data, 300)
    for seed in SEEDS:
        errors = []
        for smoothing in (0.0, 0.02):
            module = student(seed)
            training = Training(epochs=40, batch=64, seed=seed, label_smoothing=smoothing)
            fit(module, few, training, session=AT_END)
            errors.append(calibration_error(module, few))
        print(f"seed {seed}: calibration error {errors[0]:.2f} plain, {errors[1]:.2f} smoothed")
        assert errors[1] < 0.6 * errors[0]


def test_f9_peers_learn_as_well_as_alone_or_better(shared_data: Path) -> None:
    few = mnist(shared_data, 500)
    together, alone = [], []
    training = short(0, temperature=1.0)
    for seed in SEEDS:
        pair = student(seed), student(seed + 10)
        signals = (("task", 1.0), ("soft_targets", 1.0))
        peers = Training(epochs=15, batch=64, seed=seed, temperature=1.0, signals=signals)
        fit(pair[0], few, peers, Mutual(pair[1:]), AT_END)
        together += [quality(one, few.test(), few.metric) for one in pair]
        for start in (seed, seed + 10):
            one = student(start)
            fit(one, few, training, None, AT_END)
            alone.append(quality(one, few.test(), few.metric))
    print(f"mutual {np.mean(together):.2f}, alone {np.mean(alone):.2f}")
    assert np.mean(together) >= np.mean(alone) - 0.2
