"""The only training loop: resumable to the bit, for one student or several."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lighten.core.protocols import Hook
from lighten.core.recipe import Training
from lighten.core.task import Batch, Task
from lighten.errors import InputError, LightenError
from lighten.train import checkpoint as disk
from lighten.train.evaluate import device_of, quality
from lighten.train.layout import channels_last, precision_for
from lighten.train.lessons import Lessons
from lighten.train.optimizers import optimizer, trainable
from lighten.train.outputs import inputs_of, tensors
from lighten.train.progress import History, Progress
from lighten.train.roles import Classroom, Teacher, classroom
from lighten.train.schedules import rate
from lighten.train.stream import Place, stream

CLIP_NORM = 5.0  # per learner: the first steps after surgery must not throw the network away


@dataclass(frozen=True)
class Session:
    """What surrounds a run of training. Only hooks change its result.

    hooks         act before and after every step; what they do must follow from the step alone,
                  since they are not stored
    checkpoint    a file the run is kept in, so that it goes on where it was killed
    progress      called after every step
    valid_every   epochs between two looks at `valid`, with one more at the end; 0 for none
    save_seconds  time between two checkpoints
    """

    hooks: Sequence[Hook] = ()
    checkpoint: Path | None = None
    progress: Callable[[Progress], None] | None = None
    valid_every: float = 1.0
    save_seconds: float = 30.0


def steps_of(training: Training, train_size: int) -> int:
    """The number of steps: `round(epochs · ⌈train_size / batch⌉)`, at least 1 where epochs > 0.

    >>> steps_of(Training(epochs=0.5, batch=128), 50_000)
    196
    """
    steps = round(training.epochs * _per_epoch(training, train_size))
    return max(steps, 1) if training.epochs else 0


def fit(
    module: nn.Module,
    task: Task,
    training: Training,
    teacher: Teacher = None,
    session: Session | None = None,
) -> History:
    """Train `module` in place and leave it in eval mode, with the weights of the last step.

    `teacher` is a network, a sequence of them (an ensemble), or a role (`Fixed`, `Joint`,
    `Mutual`); without one the loss is the task's alone. Gradients are clipped at norm 5, biases
    and norms do not decay, and losses are taken in float32. Equal arguments at an equal number of
    threads give equal bits, also when the run was killed and resumed from its checkpoint; a
    finished checkpoint is put back at once.

    Raises `RecipeError` for settings that make no sense, `LightenError` where the loss is no
    longer finite, and `InputError` for a checkpoint of another run.

    >>> fit(nn.Linear(2, 2), task, Training(epochs=3, lr=0.1)).quality  # doctest: +SKIP
    98.5
    """
    session = session or Session()
    steps = steps_of(training, task.train_size)
    room = classroom(module, teacher, training.signals if steps else (("task", 1.0),))
    run = _Run(room, task, training, session)
    try:
        if steps and not run.resumed_to_end():
            run.work()
    finally:
        for learner in room.learners:
            learner.module.eval()
    return run.history


class _Run:
    """A run under way: what it has, and where it stands."""

    def __init__(self, room: Classroom, task: Task, training: Training, session: Session) -> None:
        self.room, self.task, self.training, self.session = room, task, training, session
        self.steps = steps_of(training, task.train_size)
        self.module = room.learners[0].module
        self.device = device_of(self.module)
        self.precision = precision_for(training.precision, self.device)
        self.identity = disk.identity(training, task.fingerprint, room.speakers)
        self.place = Place()
        self.losses: list[float] = []
        self.valid: list[tuple[int, float]] = []
        self.stored: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.seconds = self.seconds_here = 0.0
        self.samples_here = 0
        self.saved = time.monotonic()
        self.whole = True  # False within a step, when nothing may be written down

    @property
    def speed(self) -> float:
        """Training samples per second in this call."""
        return self.samples_here / self.seconds_here if self.seconds_here else 0.0

    @property
    def history(self) -> History:
        """What happened so far, earlier calls included."""
        used = tuple((s.text, s.weight) for s in self.room.learners[0].signals)
        return History(
            len(self.losses),
            tuple(self.losses),
            tuple(self.valid),
            used,
            self.precision,
            self.seconds,
            self.speed,
        )

    def resumed_to_end(self) -> bool:
        """Read the checkpoint where there is one; True where the run had ended there."""
        path = self.session.checkpoint
        if path is None or not path.exists():
            return False
        found, meta = disk.load(path)
        if meta.get("identity") != self.identity:
            raise InputError(
                f"The checkpoint {path} belongs to another run: "
                "its training, data or first weights differ.",
                "Remove it, or choose another place with --out.",
            )
        past = History.from_dict(meta["history"])
        self.losses, self.valid, self.seconds = list(past.losses), list(past.valid), past.seconds
        self.place = Place(*meta["place"])
        self.stored = found, meta
        if past.steps < self.steps:
            return False
        disk.restore_modules_(found, [learner.module for learner in self.room.learners])
        return True

    def work(self) -> None:
        """Take the steps that are left."""
        example = Batch(self.task.example(2), None)
        inputs = inputs_of(example, self.device, False)
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(self.training.seed)
            self.images_last = stack.enter_context(channels_last(self.room.speakers, inputs))
            self.lessons = stack.enter_context(
                closing(Lessons(self.room, self.task, self.training))
            )
            self.lessons.open(inputs)
            self.optimizer = optimizer(self.lessons.modules, self.training)
            if self.stored:
                disk.restore_(self.stored[0], self.lessons.modules, self.optimizer)
            stopped = stack.enter_context(_interrupts())
            batches = stack.enter_context(closing(stream(self.task, self.training, self.place)))
            try:
                self._steps(batches, stopped)
            except KeyboardInterrupt:
                if self.whole:
                    self.save()
                raise
        for hook in self.session.hooks:
            hook.finish()

    def _steps(self, batches: Iterator[tuple[Batch, Place]], stopped: threading.Event) -> None:
        for learner in self.room.learners:
            learner.module.train()
        while len(self.losses) < self.steps:
            began = time.perf_counter()
            batch, place = next(batches)
            self.whole = False
            loss, lr = self._step(batch)
            self._count(len(batch), time.perf_counter() - began)
            self._judge(len(self.losses) + 1)
            self.losses.append(loss)
            self.place = place
            self.whole = True
            self._tell(loss, lr)
            ended = len(self.losses) == self.steps
            if ended or time.monotonic() - self.saved > self.session.save_seconds:
                self.save()
            if stopped.is_set() and not ended:
                raise KeyboardInterrupt

    def _step(self, batch: Batch) -> tuple[float, float]:
        """One step on one batch; the loss of the first learner and the rate it was taken at."""
        step, training = len(self.losses), self.training
        torch.manual_seed(training.seed * 1_000_003 + step)  # dropout, whenever we came here
        lr = training.lr * rate(training.schedule, step, self.steps, training.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for hook in self.session.hooks:
            hook.before_step(step)
        inputs = inputs_of(batch, self.device, self.images_last)
        target = tensors(batch.target, self.device)
        losses = self.lessons.losses(inputs, target, self.precision == "bfloat16")
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._check(losses, step)
        self.optimizer.step()
        for hook in self.session.hooks:
            hook.after_step(step)
        return losses[0].item(), lr

    def _check(self, losses: Sequence[Tensor], step: int) -> None:
        """Clip each learner's gradient; stop where it, or a loss, is no longer finite."""
        norms = [nn.utils.clip_grad_norm_(trainable(own), CLIP_NORM) for own in self.lessons.own]
        for name, values in (("loss", losses), ("gradient", norms)):
            wrong = [x for x in (value.item() for value in values) if not math.isfinite(x)]
            if wrong:
                raise LightenError(
                    f"Training stopped at step {step + 1} of {self.steps}: "
                    f"the {name} must be finite, but got {wrong[0]}.",
                    f"Try a lower learning rate (lr is {self.training.lr}), or look for "
                    "unusual values in the data.",
                )

    def _count(self, samples: int, seconds: float) -> None:
        self.samples_here += samples
        self.seconds_here += seconds
        self.seconds += seconds

    def _judge(self, step: int) -> None:
        """Look at `valid` after whole stretches of epochs and at the end."""
        every = self.session.valid_every
        if every <= 0:
            return
        stretch = max(1, round(every * _per_epoch(self.training, self.task.train_size)))
        if step % stretch == 0 or step == self.steps:
            value = quality(self.module, self.task.valid(), self.task.metric)
            self.valid.append((step, value))

    def _tell(self, loss: float, lr: float) -> None:
        if self.session.progress is not None:
            value = self.valid[-1][1] if self.valid else None
            step = len(self.losses)
            self.session.progress(Progress(step, self.steps, loss, lr, self.speed, value))

    def save(self) -> None:
        """Write down where the run stands."""
        self.saved = time.monotonic()
        if self.session.checkpoint is None:
            return
        meta = {
            "identity": self.identity,
            "place": [self.place.epoch, self.place.seen],
            "history": replace(self.history, images_per_second=0.0).as_dict(),
        }
        found = disk.collect(self.lessons.modules, self.optimizer)
        disk.save(self.session.checkpoint, found, meta)


def _per_epoch(training: Training, train_size: int) -> int:
    return math.ceil(train_size / training.batch)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Hold the first Ctrl-C back until a step is whole; the second one acts at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def note(_number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
