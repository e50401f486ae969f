"""How long a call takes: pinned, warmed up, serial, in alternation, with its spread (row I6)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns, sleep
from typing import Any

import numpy as np

from lighten.core.protocols import Executable
from lighten.core.trial import Interval, Latency
from lighten.errors import InputError
from lighten.measure.quiet import device_lock, pinned

Array = np.ndarray[Any, Any]
Clock = Callable[[], int]
WINDOW = 10  # calls between two looks at whether the time has settled
SETTLED = 0.02  # two windows in a row within this share of each other
RESAMPLES = 2000
REST = 0.25  # seconds


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as another: the median of `rounds` paired ratios, with the
    95 % interval of that median (percentile bootstrap over rounds).
    """

    value: float
    interval: Interval
    rounds: int


@dataclass(frozen=True)
class Timings:
    """Nanoseconds per call, name → one array per round. Equal rounds were timed side by side."""

    rounds: Mapping[str, tuple[Array, ...]]

    def latency(self, name: str) -> Latency:
        """Median and half interquartile range over all calls of all rounds, in milliseconds."""
        calls = np.concatenate(self.rounds[name]) / 1e6
        low, middle, high = np.percentile(calls, (25, 50, 75))
        return Latency(float(middle), float(high - low) / 2, len(calls))

    def undisturbed(self, name: str) -> float:
        """Milliseconds of the calls that nothing interrupted: the tenth percentile."""
        return float(np.percentile(np.concatenate(self.rounds[name]), 10)) / 1e6

    def ratio(self, name: str, to: str, seed: int = 0) -> Ratio:
        """How many times as long `name` takes as `to`: below 1 where it is faster."""
        pairs = zip(self.rounds[name], self.rounds[to], strict=True)
        ratios = np.array([np.median(a) / np.median(b) for a, b in pairs])
        draws = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
        low, high = np.percentile(np.median(ratios[draws], axis=1), (2.5, 97.5))
        return Ratio(float(np.median(ratios)), Interval(float(low), float(high)), len(ratios))


def time(
    executable: Executable,
    inputs: Sequence[Array],
    seconds: float = 1.0,
    clock: Clock = perf_counter_ns,
) -> Latency:
    """Milliseconds per call of `executable(*inputs)`, measured for `seconds` after warming up."""
    return interleave({"": executable}, inputs, seconds, clock=clock).latency("")


def alternate(
    executables: Mapping[str, Executable],
    inputs: Sequence[Array],
    seconds: float = 2.0,
    rounds: int = 20,
    clock: Clock = perf_counter_ns,
) -> dict[str, Latency]:
    """Milliseconds per call of each, timed in turns (see `interleave`)."""
    timings = interleave(executables, inputs, seconds, rounds, clock)
    return {name: timings.latency(name) for name in executables}


def ratio(
    executable: Executable,
    reference: Executable,
    inputs: Sequence[Array],
    seconds: float = 2.0,
    rounds: int = 20,
) -> Ratio:
    """How many times as long `executable` takes as `reference`, both timed in turns."""
    pair = {"executable": executable, "reference": reference}
    return interleave(pair, inputs, seconds, rounds).ratio("executable", to="reference")


def interleave(
    executables: Mapping[str, Executable],
    inputs: Sequence[Array],
    seconds: float = 2.0,
    rounds: int = 20,
    clock: Clock = perf_counter_ns,
    apart: bool = False,
) -> Timings:
    """Time several executables on the same inputs in turns, `seconds` for each.

    Every round gives each a burst of back-to-back calls, in an order that reverses from round to
    round, so that drift (heat, neighbours) meets all of them alike. The first tenth of a burst
    refills the caches and is not counted; the clock's own cost is subtracted; the caller's thread
    is pinned to as many cores as the executables have threads; the device is locked throughout.
    Those of several threads are kept `apart` by a rest before each burst: some threads spin for 0.2
    s after an answer, on a core that the next one counts on.
    """
    if not executables or seconds <= 0 or rounds < 1:
        raise InputError("Timing needs an executable, a positive time and at least one round.")
    taken: dict[str, list[Array]] = {name: [] for name in executables}
    threads = max(executable.threads for executable in executables.values())
    with device_lock(), pinned(threads), _without_gc():
        overhead = _overhead(clock)
        budget = int(seconds / rounds * 1e9)
        for executable in executables.values():
            warm(executable, inputs, seconds, clock)
        for turn in range(rounds):
            order = list(executables.items())
            for name, executable in order if turn % 2 == 0 else reversed(order):
                if apart and threads > 1:
                    sleep(REST)
                calls = _burst(executable, inputs, budget, clock)
                taken[name].append(np.maximum(calls[len(calls) // 10 :] - overhead, 0))
    return Timings({name: tuple(arrays) for name, arrays in taken.items()})


def warm(
    executable: Executable,
    inputs: Sequence[Array],
    seconds: float = 1.0,
    clock: Clock = perf_counter_ns,
) -> None:
    """Call until the time has settled: two windows within 2 %, or `seconds` are over."""
    executable(*inputs)  # what is compiled on first use
    end = clock() + int(seconds * 1e9)
    last = np.inf
    while clock() < end:
        calls = np.empty(WINDOW)
        for i in range(WINDOW):
            start = clock()
            executable(*inputs)
            calls[i] = clock() - start
            if clock() >= end:
                return
        now = float(np.median(calls))
        if abs(now - last) <= SETTLED * now:
            return
        last = now


def _burst(
    executable: Executable, inputs: Sequence[Array], budget: int, clock: Clock
) -> np.ndarray[Any, Any]:
    """Nanoseconds of back-to-back calls until `budget` nanoseconds are over; at least one."""
    calls: list[int] = []
    now = clock()
    end = now + budget
    while now < end or not calls:
        start = clock()
        executable(*inputs)
        now = clock()
        calls.append(now - start)
    return np.array(calls, np.float64)


def _overhead(clock: Clock) -> float:
    """What reading the clock costs, in nanoseconds."""
    return float(np.median([-clock() + clock() for _ in range(101)]))


@contextmanager
def _without_gc() -> Iterator[None]:
    """Collect garbage now, and not while the block runs."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
