"""What a student copies from its teacher: pure functions, and the table that names them.

Soft targets at temperature T are the probability mass function `softmax(z / T)`. T → 0 gives the
one-hot hard target, T = 1 the ordinary softmax, T → ∞ the uniform distribution. The factor T²
keeps the gradient's size as T changes, so that a weight means the same at every T. Hinton, Vinyals
& Dean (2015) named the method; Bucila et al. (2006) and Ba & Caruana (2014) came before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lighten.errors import RecipeError
from lighten.train.detection import detected_alike
from lighten.train.losses import Loss, l1, similarity


@dataclass(frozen=True)
class View:
    """What one network says about a batch, in float32.

    `answer` is its logits with classes on axis 1, `outputs` all it returned, and `features` the
    outputs of the submodules that were asked for, by path.
    """

    answer: Tensor
    outputs: Any = None
    features: Mapping[str, Tensor] = field(default_factory=dict)


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)), mean over samples; classes on axis 1.

    Its gradient tends to that of `matched` as T → ∞ for logits of zero mean (Hinton 2015, eq. 4).

    >>> z = torch.tensor([[2.0, 0.0, -1.0]])
    >>> soft_targets(z, z, 4.0).item()
    0.0
    """
    told = F.log_softmax(teacher / temperature, 1)
    said = F.log_softmax(student / temperature, 1)
    divergence = (told.exp() * (told - said)).sum(1)
    return temperature**2 * divergence.mean()


def soft_answers(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`soft_targets` for independent yes/no answers: T²·KL of the two Bernoullis, mean."""
    told = teacher / temperature
    said = student / temperature
    p = told.sigmoid()
    divergence = p * (F.logsigmoid(told) - F.logsigmoid(said))
    divergence = divergence + (1 - p) * (F.logsigmoid(-told) - F.logsigmoid(-said))
    return temperature**2 * divergence.mean()


def matched(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of the answers (Ba & Caruana 2014)."""
    return 0.5 * F.mse_loss(student, teacher)


def nearness(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of the answers, relative to the variance of the teacher's.

    For answers of unknown scale: 1 is as bad as answering the mean.
    """
    return F.mse_loss(student, teacher) / teacher.var().clamp(min=1e-12)


def uniform(student: Tensor) -> Tensor:
    """KL(uniform ‖ softmax(student)), mean over samples: a teacher that knows nothing.

    Label smoothing is distillation from it, exactly:
    `cross_entropy(z, y, ε) = (1−ε)·cross_entropy(z, y) + ε·uniform(z) + ε·log K`.
    Only in this sense: a network trained with smoothed labels makes a worse teacher (Muller 2019).
    """
    classes = student.shape[1]
    log_classes = torch.log(torch.tensor(float(classes), dtype=student.dtype))
    return (-F.log_softmax(student, 1).mean(1) - log_classes).mean()


def _same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two feature maps `[n, c, h, w]` averaged onto the smaller of their grids."""
    if student.ndim != 4 or teacher.ndim != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    (sh, sw), (th, tw) = student.shape[2:], teacher.shape[2:]
    grid = (min(sh, th), min(sw, tw))
    return F.adaptive_avg_pool2d(student, grid), F.adaptive_avg_pool2d(teacher, grid)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.flatten(1), dim=1)


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """‖s/‖s‖ − t/‖t‖‖², mean over samples, for features `[n, …]`: 0 where they are parallel.

    Images of different size are averaged onto the smaller grid; the widths must be equal.
    """
    student, teacher = _same_grid(student, teacher)
    return (_unit(student) - _unit(teacher)).square().sum(1).mean()


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """`feature_distance` of the attention maps Σ_c F², `[n, c, …]` (Zagoruyko & Komodakis 2017).

    The two may have different numbers of channels.
    """
    return feature_distance(student.square().sum(1, True), teacher.square().sum(1, True))


Signal = Callable[[View, View, Any], Tensor]  # (student, teacher, target) → scalar


@dataclass(frozen=True)
class Lesson:
    """What a signal is made from: the task's loss, its name, the temperature, and two paths."""

    loss: Loss
    kind: str = "cross_entropy"
    temperature: float = 4.0
    student_path: str = ""
    teacher_path: str = ""


def _task(lesson: Lesson) -> Signal:
    return lambda student, teacher, target: lesson.loss(student.outputs, target)


# the loss of a task → how far its answers are from a teacher's, in the units of that loss
DISTANCES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross_entropy": soft_targets,
    "binary_cross_entropy": soft_answers,
    "mse": lambda student, teacher, _: matched(student, teacher),
    "l1": lambda student, teacher, _: l1(student, teacher),
    "similarity": lambda student, teacher, _: similarity(student, teacher),
    "detection": detected_alike,
}


def _soft(lesson: Lesson) -> Signal:
    distance = DISTANCES.get(lesson.kind)
    if distance is None:  # a loss of the user's own, of unknown scale
        return lambda student, teacher, _: nearness(student.answer, teacher.answer)
    return lambda student, teacher, _: distance(student.answer, teacher.answer, lesson.temperature)


def _matched(lesson: Lesson) -> Signal:
    del lesson
    return lambda student, teacher, _: matched(student.answer, teacher.answer)


def _uniform(lesson: Lesson) -> Signal:
    del lesson
    return lambda student, teacher, _: uniform(student.answer)


def _features(lesson: Lesson) -> Signal:
    s, t = lesson.student_path, lesson.teacher_path
    return lambda student, teacher, _: feature_distance(student.features[s], teacher.features[t])


def _attention(lesson: Lesson) -> Signal:
    s, t = lesson.student_path, lesson.teacher_path
    return lambda student, teacher, _: attention_distance(student.features[s], teacher.features[t])


@dataclass(frozen=True)
class Row:
    """A kind of signal: how it is made, whether it needs a teacher, paths, equal widths."""

    make: Callable[[Lesson], Signal]
    teacher: bool = True
    paths: bool = False
    same_width: bool = False


TABLE: dict[str, Row] = {
    "task": Row(_task, teacher=False),
    "soft_targets": Row(_soft),
    "logits": Row(_matched),
    "uniform": Row(_uniform, teacher=False),
    "features": Row(_features, paths=True, same_width=True),
    "attention": Row(_attention, paths=True),
}


@dataclass(frozen=True)
class Named:
    """A signal as a recipe writes it, read: `"features:layer2=layer2"` with its weight."""

    row: Row
    text: str
    weight: float
    student_path: str = ""
    teacher_path: str = ""


def named(text: str, weight: float) -> Named:
    """Read a signal's name; one path stands for both networks.

    >>> named("features:stage2=layer3", 0.5).teacher_path
    'layer3'
    """
    name, _, paths = text.partition(":")
    if name not in TABLE:
        raise RecipeError(f"A signal must be one of {', '.join(TABLE)}, got {name!r}.")
    row = TABLE[name]
    if row.paths != bool(paths):
        wanted = f"{name}:student.path=teacher.path" if row.paths else name
        raise RecipeError(f"The signal must be written {wanted}, got {text!r}.")
    student, _, teacher = paths.partition("=")
    return Named(row, text, weight, student, teacher or student)


def in_use(signals: tuple[tuple[str, float], ...], has_teacher: bool) -> tuple[Named, ...]:
    """The signals that can be given. Without any teacher the task's loss alone is left, whole.

    So a run without a teacher is the matched control of the run with one.
    """
    found = tuple(named(text, weight) for text, weight in signals if weight)
    if has_teacher or not any(signal.row.teacher for signal in found):
        if not found:
            raise RecipeError("Training must have at least one signal with a weight, got none.")
        return found
    return (named("task", 1.0),)
