"""Who teaches whom: one fixed teacher, several, a teacher that learns along, or peers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lighten.errors import RecipeError
from lighten.train.signals import Named, View, in_use, named

Signals = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Fixed:
    """Teachers that do not change; several speak with one voice, the mean of their
    probabilities (Hinton 2015). They are copied: one may be the student as it was."""

    teachers: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Joint:
    """A teacher that learns the task, from labels alone, while it teaches. Trained in place."""

    teacher: nn.Module


@dataclass(frozen=True)
class Mutual:
    """Students that learn the task and from each other (Zhang et al., CVPR 2018), in place.

    Each copies the mean of the others' probabilities, which has the gradient of their mean KL.
    """

    peers: tuple[nn.Module, ...]


Role = Fixed | Joint | Mutual
Teacher = nn.Module | Sequence[nn.Module] | Role | None


@dataclass(frozen=True)
class Learner:
    """One network that learns: its signals, and its teachers' places among all that speak."""

    module: nn.Module
    signals: tuple[Named, ...]
    teachers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Classroom:
    """All that speak: the learners, the caller's first, then the fixed teachers."""

    learners: tuple[Learner, ...]
    fixed: tuple[nn.Module, ...] = ()

    @property
    def speakers(self) -> tuple[nn.Module, ...]:
        """Every network, in the order that `Learner.teachers` counts in."""
        return (*(learner.module for learner in self.learners), *self.fixed)


def _frozen(teacher: nn.Module) -> nn.Module:
    return copy.deepcopy(teacher).eval().requires_grad_(False)


def _with_fixed(module: nn.Module, role: Fixed, signals: Signals) -> Classroom:
    heard = in_use(signals, bool(role.teachers))
    needed = any(signal.row.teacher for signal in heard)
    fixed = tuple(map(_frozen, role.teachers)) if needed else ()
    return Classroom((Learner(module, heard, tuple(range(1, 1 + len(fixed)))),), fixed)


def _with_joint(module: nn.Module, role: Joint, signals: Signals) -> Classroom:
    alone = (named("task", 1.0),)
    return Classroom((Learner(module, in_use(signals, True), (1,)), Learner(role.teacher, alone)))


def _with_peers(module: nn.Module, role: Mutual, signals: Signals) -> Classroom:
    everyone = (module, *role.peers)
    heard = in_use(signals, len(everyone) > 1)
    others = [tuple(j for j in range(len(everyone)) if j != i) for i in range(len(everyone))]
    return Classroom(tuple(Learner(m, heard, o) for m, o in zip(everyone, others, strict=True)))


def classroom(module: nn.Module, teacher: Teacher, signals: Signals) -> Classroom:
    """Seat the student and its teacher; a module is a fixed teacher, a sequence an ensemble."""
    if teacher is None:
        teacher = Fixed(())
    elif isinstance(teacher, nn.Module):
        teacher = Fixed((teacher,))
    elif isinstance(teacher, Sequence):
        teacher = Fixed(tuple(teacher))
    if isinstance(teacher, Joint):
        room = _with_joint(module, teacher, signals)
    elif isinstance(teacher, Mutual):
        room = _with_peers(module, teacher, signals)
    else:
        room = _with_fixed(module, teacher, signals)
    for learner in room.learners:
        paths = [signal.text for signal in learner.signals if signal.row.paths]
        if paths and len(learner.teachers) != 1:
            raise RecipeError(
                f"The signal {paths[0]} must have exactly one teacher, "
                f"but got {len(learner.teachers)}."
            )
    return room


def _mean_softmax(answers: Tensor, temperature: float) -> Tensor:
    soft = F.log_softmax(answers / temperature, 2)
    return temperature * (soft.logsumexp(0) - torch.log(torch.tensor(float(len(answers)))))


def _mean_sigmoid(answers: Tensor, temperature: float) -> Tensor:
    soft = answers / temperature
    yes, no = F.logsigmoid(soft).logsumexp(0), F.logsigmoid(-soft).logsumexp(0)
    return temperature * (yes - no)


MEANS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "cross_entropy": _mean_softmax,
    "binary_cross_entropy": _mean_sigmoid,
}


def consensus(views: Sequence[View], kind: str, temperature: float) -> View:
    """One view for several teachers: answers whose soft targets are the mean of theirs.

    For a loss of class probabilities `softmax(answer / T)` is the mean of the `softmax(z / T)`;
    answers that are no probabilities are averaged as they are.
    """
    if len(views) == 1:
        return views[0]
    answers = torch.stack([view.answer for view in views])
    if kind in MEANS:
        return View(MEANS[kind](answers, temperature))
    return View(answers.mean(0))
