"""The losses of a grid detector against a loop, and what a student is told by another detector."""

from __future__ import annotations

import math

import pytest
import torch

from lighten.metrics import average_precision
from lighten.train.detection import detected_alike, detection, generalized_iou
from lighten.train.losses import loss_of
from lighten.train.signals import DISTANCES, Lesson, View, named, nearness


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of 4 × 4 cells and three classes: one object, and two."""
    torch.manual_seed(0)
    absent = [-1.0, 0, 0, 0, 0]
    target = [
        [[1.0, 0.3, 0.6, 0.2, 0.3], absent],
        [[0.0, 0.9, 0.1, 0.1, 0.1], [2.0, 0.5, 0.5, 0.4, 0.2]],
    ]
    return torch.randn(2, 8, 4, 4), torch.tensor(target)


def plain_overlap(a: list[float], b: list[float]) -> float:
    """Generalized IoU of two boxes given as centre and size."""
    (al, at, ar, ab), (bl, bt, br, bb) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a, b)
    )
    shared = max(min(ar, br) - max(al, bl), 0) * max(min(ab, bb) - max(at, bt), 0)
    either = a[2] * a[3] + b[2] * b[3] - shared
    hull = (max(ar, br) - min(al, bl)) * (max(ab, bb) - min(at, bt))
    return shared / either - (hull - either) / hull


def test_the_loss_is_that_of_the_loop() -> None:
    answer, target = scene()
    wanted = 0.0

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    for image in range(2):
        cells = {}
        for kind, x, y, w, h in target[image].tolist():
            if kind >= 0:
                cells[int(4 * y), int(4 * x)] = (int(kind), [x, y, w, h])
        for row in range(4):
            for column in range(4):
                said = answer[image, :, row, column].tolist()
                p = sigmoid(said[4])
                if (row, column) not in cells:
                    wanted -= math.log(1 - p)
                    continue
                kind, box = cells[row, column]
                wanted -= math.log(p)
                scores = [math.exp(score) for score in said[5:]]
                wanted -= math.log(scores[kind] / sum(scores))
                where = [(column + sigmoid(said[0])) / 4, (row + sigmoid(said[1])) / 4]
                sizes = [sigmoid(said[2]), sigmoid(said[3])]
                wanted += 5 * (1 - plain_overlap([*where, *sizes], box))
    assert detection(answer, target).item() == pytest.approx(wanted / 2, rel=1e-5)


def test_boxes_that_are_equal_touch_or_lie_apart() -> None:
    box = torch.tensor([[0.0, 0, 1, 1]])
    others = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1], [3, 0, 4, 1]])
    found = generalized_iou(box.expand(3, 4), others)
    assert found.tolist() == pytest.approx([1.0, 0.0, -0.5])


def test_an_image_without_objects_has_a_finite_loss() -> None:
    answer = torch.zeros(1, 8, 4, 4, requires_grad=True)
    loss = detection(answer, torch.full((1, 2, 5), -1.0))
    loss.backward()
    assert loss.item() == pytest.approx(16 * math.log(2))
    assert answer.grad is not None and torch.isfinite(answer.grad).all()


def test_learning_by_it_finds_the_objects() -> None:
    """Gradient descent on the answer itself ends at boxes that the metric counts as right."""
    _, target = scene()
    answer = torch.zeros(2, 8, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([answer], lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        detection(answer, target).backward()
        optimizer.step()
    metric = average_precision(3, (0.75,))
    found = metric.reduce(metric.rows(answer.detach().numpy(), target.numpy()))
    assert found == pytest.approx(100.0)


def test_a_detector_is_like_itself_and_boxes_of_nothing_do_not_count() -> None:
    teacher, _ = scene()
    teacher[:, 4] = -30.0
    teacher[:, 4, 1, 2] = 30.0
    assert detected_alike(teacher, teacher, 4.0).item() == pytest.approx(0.0, abs=1e-5)
    moved = teacher.clone()
    moved[:, :4, 3, 3] += 5.0
    assert detected_alike(moved, teacher, 4.0).item() == pytest.approx(0.0, abs=1e-5)
    moved[:, :4, 1, 2] += 5.0
    assert detected_alike(moved, teacher, 4.0).item() > 0.5


@pytest.mark.parametrize("kind", [*DISTANCES, "callable"])
def test_every_task_has_a_distance_that_is_least_at_the_teachers_answer(kind: str) -> None:
    torch.manual_seed(0)
    shape = (4, 8, 3, 3) if kind == "detection" else (6, 5)
    teacher = torch.randn(shape)
    loss = loss_of(kind) if kind != "callable" else loss_of(lambda outputs, target: outputs.sum())
    signal = named("soft_targets", 1.0).row.make(Lesson(loss, kind, 2.0))
    at = teacher.clone().requires_grad_()
    signal(View(at), View(teacher), None).backward()
    other = signal(View(teacher + 0.5 * torch.randn(shape)), View(teacher), None)
    assert at.grad is not None and at.grad.abs().max() < 1e-5
    assert signal(View(teacher), View(teacher), None).item() == pytest.approx(0.0, abs=1e-5)
    assert other.item() > 1e-3


def test_nearness_knows_no_scale() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    wanted = nearness(student, teacher)
    assert nearness(1000 * student, 1000 * teacher).item() == pytest.approx(wanted.item(), rel=1e-5)
    mean = torch.full_like(teacher, float(teacher.mean()))
    assert nearness(mean, teacher).item() == pytest.approx(1.0, abs=0.06)
