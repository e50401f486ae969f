"""Timing: the arithmetic and the order of things, on a clock that only moves when told to."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from lighten.errors import InputError
from lighten.measure import latency, quiet
from lighten.measure.energy import energy

MS = 1_000_000
PATIENCE = 60  # seconds for what happens at once where no other process is busy


class Clock:
    """Nanoseconds that pass only where something says so; looking costs `cost`."""

    def __init__(self, cost: int = 0) -> None:
        self.now, self.cost = 0, cost

    def __call__(self) -> int:
        self.now += self.cost
        return self.now


class Takes:
    """An executable that takes the next of `times` (ms), over and over."""

    threads = 1

    def __init__(self, clock: Clock, *times: float, log: list[str] | None = None, name: str = ""):
        self.clock, self.times, self.calls = clock, times, 0
        self.log, self.name = log, name

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self.clock.now += int(self.times[self.calls % len(self.times)] * MS)
        self.calls += 1
        if self.log is not None:
            self.log.append(self.name)
        return inputs

    def profile(self, inputs: object, runs: int = 50) -> dict[str, float]:
        return {}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(quiet, "LOOK", 0.0)


def test_median_spread_and_runs() -> None:
    clock = Clock()
    found = latency.time(Takes(clock, 1, 2, 3, 4, 5), [], seconds=10, clock=clock)
    assert found.median_ms == pytest.approx(3, abs=0.01)
    assert found.spread_ms == pytest.approx(1, abs=0.01)  # half of (4 − 2)
    assert 0.85 * 10_000 / 3 <= found.runs <= 10_000 / 3 + 20


def test_the_clocks_own_cost_is_subtracted() -> None:
    clock = Clock(cost=1000)
    found = latency.time(Takes(clock, 0.01), [], seconds=0.01, clock=clock)
    assert found.median_ms == pytest.approx(0.01, rel=1e-9)


def test_calls_that_refill_the_caches_are_not_counted() -> None:
    clock = Clock()
    # 20 rounds of 100 ms: each burst begins with a call of 9 ms, the rest take 1
    cold = Takes(clock, 1.0)
    burst = latency._burst

    def first_is_cold(executable: Takes, inputs: object, budget: int, clock: Clock) -> np.ndarray:
        calls = burst(executable, inputs, budget, clock)
        calls[0] = 9 * MS
        return calls

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_burst", first_is_cold)
        timings = latency.interleave({"a": cold}, [], 2.0, clock=clock)
    assert max(calls.max() for calls in timings.rounds["a"]) == MS


@pytest.mark.parametrize(("threads", "apart", "rests"), [(1, True, 0), (2, False, 0), (2, True, 8)])
def test_those_of_several_threads_are_kept_apart(
    threads: int, apart: bool, rests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen = Clock(), list[float]()
    monkeypatch.setattr(latency, "sleep", seen.append)
    monkeypatch.setattr(latency, "pinned", lambda threads: nullcontext())
    pair = {name: Takes(clock, 5) for name in "ab"}
    for one in pair.values():
        one.threads = threads
    latency.interleave(pair, [], seconds=0.02, rounds=4, clock=clock, apart=apart)
    assert seen == [latency.REST] * rests


def test_turns_reverse_from_round_to_round() -> None:
    clock, log = Clock(), []
    pair = {name: Takes(clock, 5, log=log, name=name) for name in "ab"}
    found = latency.alternate(pair, [], seconds=0.02, rounds=4, clock=clock)
    timed = "".join(log)[-16:]  # 0.02 s in 4 rounds: one call each, after the warm-up
    assert timed.endswith("abbaabba")
    assert list(found) == ["a", "b"] and found["a"].median_ms == 5


def test_warm_up_goes_on_until_the_time_settles() -> None:
    clock = Clock()
    falling = [10.0] * 10 + [8.0] * 10 + [6.0] * 10 + [5.0] * 1000
    executable = Takes(clock, 50.0, *falling)
    latency.warm(executable, [], 100.0, clock)
    assert executable.calls == 1 + 10 + 10 + 10 + 10 + 10


def test_warm_up_ends_when_its_time_is_over() -> None:
    clock = Clock()
    never_settles = Takes(clock, *(2.0 ** (i // 10) for i in range(200)))
    latency.warm(never_settles, [], 0.5, clock)
    assert clock.now < 1500 * MS


def test_a_ratio_ignores_drift_that_meets_both() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(1, 3, 20)
    rounds = {
        "fast": tuple(MS * d * rng.normal(1, 0.01, 50) for d in drift),
        "slow": tuple(MS * 4 * d * rng.normal(1, 0.01, 50) for d in drift),
    }
    timings = latency.Timings(rounds)
    ratio = timings.ratio("fast", to="slow")
    assert ratio.value == pytest.approx(0.25, rel=0.01) and ratio.rounds == 20
    assert ratio.interval.low <= ratio.value <= ratio.interval.high
    assert ratio.interval.high - ratio.interval.low < 0.01
    assert timings.latency("fast").spread_ms > 0.2  # the drift itself is not hidden
    assert timings.ratio("slow", to="fast").value == pytest.approx(4, rel=0.01)


def test_the_interval_of_a_ratio_covers_the_truth() -> None:
    rng, covered, trials = np.random.default_rng(1), 0, 300
    for _ in range(trials):
        noisy = {name: tuple(rng.lognormal(0, 0.1, (20, 1))) for name in "ab"}
        interval = latency.Timings(noisy).ratio("a", to="b").interval
        covered += interval.low <= 1.0 <= interval.high
    assert 0.90 <= covered / trials <= 0.99  # 95 % ± 4 standard errors, bootstrap of 20


def test_garbage_collection_and_cores_come_back() -> None:
    clock = Clock()
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    seen: list[bool] = []

    class Fails(Takes):
        def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            seen.append(gc.isenabled())
            raise InputError("no")

    with pytest.raises(InputError):
        latency.time(Fails(clock, 1), [], clock=clock)
    assert seen == [False] and gc.isenabled()
    assert before is None or os.sched_getaffinity(0) == before


def test_what_cannot_be_timed_is_refused() -> None:
    with pytest.raises(InputError):
        latency.alternate({}, [])
    with pytest.raises(InputError):
        latency.time(Takes(Clock(), 1), [], seconds=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_the_thread_is_pinned_and_freed() -> None:
    allowed = os.sched_getaffinity(0)
    with quiet.pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1 or len(allowed) == 1
    assert os.sched_getaffinity(0) == allowed
    with quiet.pinned(len(allowed) + 1):
        assert os.sched_getaffinity(0) == allowed


def test_cores_are_chosen_idle_and_apart() -> None:
    pairs = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    assert quiet.choose({0, 1, 2, 3}, {}, pairs, 1) == (3,)
    assert quiet.choose({0, 1, 2, 3}, {}, pairs, 2) == (2, 3)
    assert quiet.choose({0, 1, 2, 3}, {3: 0.9, 1: 0.9}, pairs, 2) == (2, 3)
    assert quiet.choose({0, 1, 2, 3}, {3: 0.9}, pairs, 2) == (1, 2)
    assert quiet.choose({0, 1, 2, 3}, {}, pairs, 3) == (1, 2, 3)
    assert quiet.choose({0, 1}, {1: 1.0}, {}, 1) == (0,)


HOLD = """
import sys
from lighten.measure.quiet import device_lock
with device_lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_the_device_is_measured_by_one_process_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin and holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        got = threading.Event()

        def measure() -> None:
            with quiet.device_lock(), quiet.device_lock():  # nests
                got.set()

        waiting = threading.Thread(target=measure)
        waiting.start()
        end = time.monotonic() + PATIENCE
        while "Another process is measuring" not in caplog.text:
            assert time.monotonic() < end and not got.is_set()
            time.sleep(0.01)
        assert not got.wait(0.1)
    finally:
        holder.kill()  # the lock goes with its holder
        holder.communicate()
    waiting.join(PATIENCE)
    assert got.is_set()


def _zone(root: Path, name: str, before: int, span: int) -> Path:
    zone = root / name
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text(str(before))
    (zone / "max_energy_range_uj").write_text(str(span))
    return zone


def test_energy_is_counted_across_a_wrap_or_said_to_be_missing(tmp_path: Path) -> None:
    assert energy(Takes(Clock(), 1), [], root=tmp_path).reason.startswith("not available")
    zone = _zone(tmp_path, "intel-rapl:0", 900, 999)
    _zone(tmp_path, "intel-rapl:0:0", 0, 999)  # inside the package: not counted twice

    class Burns(Takes):
        def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            (zone / "energy_uj").write_text("150")
            return ()

    found = energy(Burns(Clock(), 1), [], seconds=0.0, root=tmp_path)
    # the warm-up call already wrote 150, so a counter that stands still is no energy
    assert (found.joules, found.calls) == (0.0, 1)
    (zone / "energy_uj").write_text("900")

    class Wraps(Takes):
        def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
            self.calls += 1
            (zone / "energy_uj").write_text("900" if self.calls == 1 else "150")
            return ()

    found = energy(Wraps(Clock(), 1), [], seconds=0.0, root=tmp_path)
    assert found.joules == pytest.approx(250e-6) and found.calls == 1  # 900 → 1000 = 0 → 150
