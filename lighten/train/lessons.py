"""The classroom at work: from a batch to one loss per learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lighten.core.recipe import Training
from lighten.core.task import Task
from lighten.errors import RecipeError
from lighten.train.losses import loss_of
from lighten.train.roles import Classroom, Learner, consensus
from lighten.train.signals import Lesson, Named, Signal, View
from lighten.train.taps import Speaker


class Projection(nn.Module):
    """A 1×1 linear map of channels (axis 1), trained along, where feature widths differ."""

    def __init__(self, width: int, wanted: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, wanted, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mapped: Tensor = self.linear(features.movedim(1, -1)).movedim(-1, 1)
        return mapped


def _detached(view: View) -> View:
    features = {path: tensor.detach() for path, tensor in view.features.items()}
    return View(view.answer.detach(), None, features)


def _paths(room: Classroom) -> list[list[str]]:
    """The features each speaker is asked for."""
    found: list[list[str]] = [[] for _ in room.speakers]
    for place, learner in enumerate(room.learners):
        for signal in learner.signals:
            if signal.row.paths:
                found[place].append(signal.student_path)
                found[learner.teachers[0]].append(signal.teacher_path)
    return found


class Lessons:
    """Speakers that listen to each other. `modules` are what learns, projections last."""

    def __init__(self, room: Classroom, task: Task, training: Training) -> None:
        self.room = room
        self.kind = task.loss if isinstance(task.loss, str) else "callable"
        self.training = training
        self.loss = loss_of(task.loss, training.label_smoothing)
        self.speakers: list[Speaker] = []
        self.projections = nn.ModuleList()
        self.signals: list[list[tuple[float, Signal]]] = []
        self.own: list[list[nn.Module]] = [[learner.module] for learner in room.learners]

    @property
    def modules(self) -> list[nn.Module]:
        """All that learns: every learner's network, then the projections."""
        return [*(learner.module for learner in self.room.learners), self.projections]

    def open(self, inputs: Sequence[Tensor]) -> None:
        """Start listening; `inputs` are an example, run once in eval mode to learn the widths."""
        for module, paths in zip(self.room.speakers, _paths(self.room), strict=True):
            self.speakers.append(Speaker(module, paths))
        views = [] if not any(map(any, _paths(self.room))) else self._look(inputs)
        for place, learner in enumerate(self.room.learners):
            bound = [(s.weight, self._bind(s, place, learner, views)) for s in learner.signals]
            self.signals.append(bound)

    def _look(self, inputs: Sequence[Tensor]) -> list[View]:
        modes = [(m, m.training) for s in self.room.speakers for m in s.modules()]
        for speaker in self.room.speakers:
            speaker.eval()
        with torch.no_grad():
            views = [speaker(inputs) for speaker in self.speakers]
        for part, mode in modes:
            part.training = mode
        return views

    def _bind(self, named: Named, place: int, learner: Learner, views: list[View]) -> Signal:
        """A signal as recipes name it, ready to be called."""
        student, teacher = named.student_path, named.teacher_path
        temperature = self.training.temperature
        signal = named.row.make(Lesson(self.loss, self.kind, temperature, student, teacher))
        if not named.row.paths:
            return signal
        s = _heard(views[place], student, "student")
        t = _heard(views[learner.teachers[0]], teacher, "teacher")
        if not named.row.same_width or s.shape[1] == t.shape[1]:
            return signal
        project = Projection(s.shape[1], t.shape[1]).to(s.device)
        self.projections.append(project)
        self.own[place].append(project)

        def projected(said: View, told: View, target: Any) -> Tensor:
            features = {**said.features, student: project(said.features[student])}
            return signal(replace(said, features=features), told, target)

        return projected

    def losses(self, inputs: Sequence[Tensor], target: Any, bfloat16: bool) -> list[Tensor]:
        """One loss per learner, in float32."""
        device = inputs[0].device.type
        learners = len(self.room.learners)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            views = [speaker(inputs, target) for speaker in self.speakers[:learners]]
            with torch.no_grad():
                views += [speaker(inputs, target) for speaker in self.speakers[learners:]]
        told = [_detached(view) for view in views]
        found = []
        for view, learner, signals in zip(
            views[:learners], self.room.learners, self.signals, strict=True
        ):
            voices = [told[place] for place in learner.teachers] or [view]
            teacher = consensus(voices, self.kind, self.training.temperature)
            terms = [weight * signal(view, teacher, target) for weight, signal in signals]
            found.append(torch.stack(terms).sum())
        return found

    def close(self) -> None:
        """Stop listening."""
        for speaker in self.speakers:
            speaker.close()


def _heard(view: View, path: str, who: str) -> Tensor:
    if path not in view.features:
        raise RecipeError(
            f"The {who}'s forward pass never called {path!r}, so it has no features there.",
            "Name a module that it calls.",
        )
    return view.features[path]
