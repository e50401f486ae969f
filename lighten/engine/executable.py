"""A planned network, compiled: arrays in, arrays out; every run of native steps is one call."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lighten.emit import POINTER, Function, Value, build
from lighten.engine import choose, turns
from lighten.engine.arena import Arena, Arenas, Calls, Held, Room
from lighten.engine.bounds import entry
from lighten.engine.entry import Entry
from lighten.engine.memory import joined, offsets
from lighten.engine.sizes import Sizes
from lighten.engine.steps import Interpreted, Plan, Shapes, Step
from lighten.engine.waits import waits
from lighten.errors import InputError, ProgramError
from lighten.kernels import share
from lighten.program.reference import REFERENCE
from lighten.program.spec import operands, weights

Array = np.ndarray[Any, Any]
HINT = "Give it that shape, or build the model from an example of the size you need."


class Network:
    """A compiled plan. Calls may run at the same time: each takes an arena of its own.

    Each call runs on so many `threads`, which calls take in turns where there are several. One that
    is not `compiled` only says where everything lies, for another machine to run. For larger
    batches other kernels may be better: the first such call plans and compiles again. So does the
    first call with inputs of another size, where the program takes that (`program.resized`).
    """

    def __init__(self, plan: Plan, threads: int = 1, compiled: bool = True) -> None:
        if threads < 1:
            raise InputError(f"A network runs on one thread or more, but got {threads}.")
        self.plan, self.program, self.threads = plan, plan.program, threads
        self._inputs = entry(plan.program, plan.whole)
        self._stored: dict[str, Array] = {}  # what interpreted ops have read of the arrays
        lives = _lives(plan)
        sizes = {name: layout.sample for name, layout in plan.layouts.items()}
        self._at, self.bytes_per_sample = offsets(sizes, lives)
        # beyond the samples, once for each thread: kernels take one sample after the other
        wanted = {name: size * threads for name, size in plan.scratch.items()}
        self._scratch_at, self.scratch_bytes = offsets(wanted, lives)
        self._arenas = Arenas(self._room())
        self._weights, self._packed = joined(plan.packed)
        self._segments = _segments(plan.steps)
        self._turn = turns.samples(plan, self.bytes_per_sample, self._weights.nbytes, threads)
        kernels, entries = self.functions() if compiled else ([], {})
        self._names = list(entries)
        if entries:
            self.library = build([*kernels, *entries.values()])
            self._calls = Calls(self.library, self._names, self._weights, threads)
        self._many: Network | None = None
        self._planning = threading.Lock()
        self._sizes: Sizes[Network] = Sizes(self._made_at)

    # ── running ───────────────────────────────────────────────────────────────────────────

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run once: arrays `[n, …]` in the program's order. InputError where they do not fit."""
        inputs = tuple(map(np.asarray, inputs))
        count = self._inputs.usual(inputs)
        if not count:
            if (other := self._sized(inputs)) is not self:
                return other(*inputs)
            count = self._inputs.count(inputs)
        if (other := self._best(count)) is not self:
            return other(*inputs)
        if not 0 < self._turn < count:
            return self._answer(inputs, count)
        begins = range(0, count, self._turn)
        parts = [tuple(x[begin : begin + self._turn] for x in inputs) for begin in begins]
        found = [self._answer(part, len(part[0])) for part in parts]
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    def _answer(self, inputs: Sequence[Array], count: int) -> tuple[Array, ...]:
        """The outputs of samples that come at a time."""
        arena = self._arenas.take(count)
        try:
            arena.enter(inputs)
            for number, segment in enumerate(self._segments):
                if isinstance(segment, Interpreted):
                    self._interpret(segment, arena, count)
                else:
                    self._calls.run(f"segment{number}", arena, count)
            return arena.left()
        finally:
            self._arenas.give(arena)

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]:
        """Median milliseconds per op name, each step timed by itself, less what a call costs:
        that is timed beside them, so that what disturbs the one disturbs the other.
        """
        inputs = tuple(map(np.asarray, inputs))
        if (other := self._sized(inputs)) is not self:
            return other.profile(inputs, runs)
        count = self._inputs.count(inputs)
        if (other := self._best(count)) is not self:
            return other.profile(inputs, runs)
        arena = self._arenas.take(count)
        times: dict[int, list[float]] = defaultdict(list)
        calls: list[float] = []
        for _ in range(runs + 3):
            arena.enter(inputs)
            for number, step in enumerate(self.plan.steps):
                begun = time.perf_counter()
                if isinstance(step, Interpreted):
                    self._interpret(step, arena, count)
                else:
                    self._calls.run(f"step{number}", arena, count)
                times[number].append(1e3 * (time.perf_counter() - begun))
            calls.append(self._call_ms(arena))
        total: dict[str, float] = defaultdict(float)
        call = float(np.median(calls[3:]))
        for number, step in enumerate(self.plan.steps):
            name = step.op.name if isinstance(step, Interpreted) else step.op
            total[name] += max(float(np.median(times[number][3:])) - call, 0.0)
        return dict(total)

    def _best(self, count: int) -> Network:
        """This network, or the same as it is planned for many samples."""
        if count < choose.FEWEST or self.plan.again is None:
            return self
        with self._planning:
            if self._many is None:
                plan = self.plan.for_many()
                self._many = Network(plan, self.threads) if plan else self
        return self._many

    def _sized(self, inputs: Sequence[Array]) -> Network:
        """This network, or the same for inputs of other shapes, where there is one."""
        shapes = self._inputs.elsewhere(inputs)
        if not shapes or self.plan.at is None:
            return self
        try:
            return self._sizes.at(shapes)
        except ProgramError as stop:
            told = self._inputs.unlike([x.shape for x in inputs])
            raise InputError(f"{told}: at another size, {stop.message}", HINT) from None

    def _made_at(self, shapes: Shapes) -> Network:
        assert self.plan.at is not None
        return Network(self.plan.at(shapes), self.threads)

    def _call_ms(self, arena: Arena) -> float:
        """Milliseconds of a native call that does nothing: no samples."""
        begun = time.perf_counter()
        for name in self._names[:1]:
            self._calls.run(name, arena, 0)
        return 1e3 * (time.perf_counter() - begun)

    def arena_bytes(self, count: int) -> int:
        """Bytes that a call of so many samples works in."""
        if (other := self._best(count)) is not self:
            return other.arena_bytes(count)
        return self.room.bytes(min(count, self._turn or count))

    def _interpret(self, step: Interpreted, arena: Arena, count: int) -> None:
        op = step.op

        def read(name: str) -> Array:
            if name in self.program.arrays:
                return self._array(name)[None]
            held = self._held(step.given[name], name).view(arena.memory, count)
            return held.astype(np.int64) if name in self.plan.whole else held

        stored = [self._array(name) if name else None for name in weights(op)]
        result = REFERENCE[op.kind](op, *map(read, operands(op)), *stored)
        self._held(step.made[op.output], op.output).view(arena.memory, count)[...] = result

    def _array(self, name: str) -> Array:
        """A stored array in numbers, which are found once."""
        if name not in self._stored:
            self._stored[name] = self.program.arrays[name].decode()
        return self._stored[name]

    # ── where things lie ──────────────────────────────────────────────────────────────────

    @property
    def room(self) -> Room:
        """What a call works in."""
        return self._arenas.room

    def _room(self) -> Room:
        outputs = zip(self.plan.results, self.program.outputs, strict=True)
        return Room(
            self.bytes_per_sample,
            self.scratch_bytes,
            tuple(self._held(name, name) for name in self.program.inputs),
            tuple(self._held(place, name) for place, name in outputs),
        )

    def _held(self, place: str, name: str) -> Held:
        """A value where it lies in rows."""
        return Held(self._at[place], self.program.values[name].shape, name in self.plan.whole)

    @property
    def inputs(self) -> Entry:
        """What the inputs must be like."""
        return self._inputs

    @property
    def native(self) -> bool:
        """Whether a call is one native call, `segment0`."""
        return len(self._segments) == 1 and not isinstance(self._segments[0], Interpreted)

    # ── compiling ─────────────────────────────────────────────────────────────────────────

    @property
    def weights(self) -> Array:
        """All packed weights, as the native calls read them: bytes."""
        return self._weights

    def offset(self, name: str) -> int:
        """Bytes before a value in the arena, for each sample of the call."""
        return self._at[name]

    def functions(self) -> tuple[list[Function], dict[str, Function]]:
        """Each kernel once, and the calls of each step and of each segment."""
        kernels: dict[tuple[Any, ...], Function] = {}
        entries: dict[str, Function] = {}
        for number, step in enumerate(self.plan.steps):
            if isinstance(step, Step):
                if step.key not in kernels:
                    kernels[step.key] = step.emit(f"kernel{len(kernels)}")
                entries[f"step{number}"] = self._entry(f"step{number}", [step], kernels)
        for number, segment in enumerate(self._segments):
            if not isinstance(segment, Interpreted):
                name = f"segment{number}"
                entries[name] = self._entry(name, segment, kernels)
        return list(kernels.values()), entries

    def _entry(
        self, name: str, steps: Sequence[Step], kernels: Mapping[tuple[Any, ...], Function]
    ) -> Function:
        """`name(arena, weights, …)`: the steps' kernels, one after the other. Threads meet before a
        step that needs what others made, or that overwrites what they may still need.
        """
        f = Function(name, {"arena": POINTER, "weights": POINTER, **share.COUNT}, self.plan.isa)
        called = [kernels[step.key] for step in steps]
        late = waits(steps, called, self._ranges())
        for step, kernel, waiting in zip(steps, called, late, strict=True):
            if waiting:
                share.meet(f, share.everyone(f))
            f.run(kernel, *(self._place(f, held) for held in step.arguments), *share.given(f))
        return f

    def _ranges(self) -> dict[str, tuple[int, int]]:
        """The bytes of each value for one sample, and beyond them of each scratch."""
        places = {name: (at, self.plan.layouts[name].sample) for name, at in self._at.items()}
        for name, at in self._scratch_at.items():
            size = self.plan.scratch[name] * self.threads
            places[name] = (self.bytes_per_sample + at, size)
        return {name: (at, at + size) for name, (at, size) in places.items()}

    def _place(self, f: Function, name: str) -> Value:
        """Where a value, a workspace or packed weights lie."""
        if name in self._packed:
            return f["weights"] + self._packed[name]
        if name in self._scratch_at:
            scratch = f["arena"] + f["n"] * self.bytes_per_sample + self._scratch_at[name]
            return scratch + f["part"] * self.plan.scratch[name]
        return f["arena"] + f["n"] * self._at[name]


def _segments(steps: Sequence[Step | Interpreted]) -> list[list[Step] | Interpreted]:
    """Runs of native steps, and the interpreted ones between them."""
    found: list[list[Step] | Interpreted] = []
    for step in steps:
        if isinstance(step, Interpreted):
            found.append(step)
        elif found and isinstance(found[-1], list):
            found[-1].append(step)
        else:
            found.append([step])
    return found


def _lives(plan: Plan) -> dict[str, tuple[int, int]]:
    """First and last step at which each value in memory is needed."""
    lives: dict[str, list[int]] = {name: [] for name in (*plan.layouts, *plan.scratch)}
    for at, step in enumerate(plan.steps):
        made = step.arguments if isinstance(step, Step) else step.made.values()
        given = () if isinstance(step, Step) else step.given.values()
        for name in (*made, *given):
            if name in lives:
                lives[name].append(at)
    for name in plan.program.inputs:
        lives[name].append(-1)
    for name in plan.results:
        if name in lives:
            lives[name].append(len(plan.steps))
    return {name: (min(at, default=0), max(at, default=0)) for name, at in lives.items()}
