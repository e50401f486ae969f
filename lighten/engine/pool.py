"""Threads of our own: they do one network's call together, and wait for the next.

Every thread but the caller's is a Python thread inside one native call, so that others may run
Python. There it looks for work for a while and then parks on a Python lock: nothing here is one
system's own but the affinity, which is left alone where there is none.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np

from lighten.emit import Library, build, host
from lighten.engine import team
from lighten.engine.memory import aligned
from lighten.kernels.meeting import GIVE_WAY, LINE, PATIENCE

LOOKING = 150e-6  # seconds that a thread looks for work before it parks
TRIES, TRIED = 5, 1000  # turns of a loop by which that is measured, so many times
PATIENT = 1_000  # turns before a thread that waits for others lets go of its core
WAKING = 1_000  # times that a call gives way to those that it woke before it wakes them again
LEAVING = 1.0  # seconds that the process's end waits for a thread


class Pool:
    """So many threads, the caller's among them. Calls take turns."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._memory = aligned(team.STATES + threads * LINE)
        self._words = self._memory.view(np.int64)
        self._team = int(self._memory.ctypes.data)
        self._words[GIVE_WAY // 8] = give_way()
        self._words[team.STATES // 8 :: LINE // 8] = team.PARKED
        word, place = ctypes.c_int64, ctypes.c_void_p
        self._work = _library().function("work", place, word, word)
        self._lead = _library().function("lead", *[place] * 4, *[word] * 3)
        self._turns = self._calibrated()
        self._closed, self._turn = False, threading.Lock()
        self._gates = [threading.Lock() for _ in range(1, threads)]
        self._workers = [
            threading.Thread(target=self._serve, args=(part, gate), daemon=True)
            for part, gate in enumerate(self._gates, 1)
        ]
        for gate, worker in zip(self._gates, self._workers, strict=True):
            gate.acquire()
            worker.start()

    def run(self, entry: int, arena: int, weights: int, count: int) -> bool:
        """Call what begins at `entry` in all threads, each for its part; False, and nothing done,
        where the process is ending.
        """
        given = (self._team, entry, arena, weights, count, self.threads)
        with self._turn:
            if self._closed:
                return False
            self._lead(*given, 0)
            while self._words[team.MISSING // 8]:
                self._wake()
                self._lead(*given, WAKING)
        return True

    def close(self) -> None:
        """Send all threads home, unless a call never ends."""
        if self._turn.acquire(timeout=LEAVING):
            self._closed = True
            self._wake()
            for worker in self._workers:
                worker.join(LEAVING)
            self._turn.release()

    def _wake(self) -> None:
        """Let the parked ones look for work, on the cores that are the caller's to use."""
        allowed, enough = _others(self.threads)
        self._words[PATIENCE // 8] = PATIENT if enough else 0
        for gate, worker in zip(self._gates, self._workers, strict=True):
            if allowed and worker.native_id is not None:
                with suppress(OSError):
                    os.sched_setaffinity(worker.native_id, allowed)
            if gate.locked():
                gate.release()

    def _serve(self, part: int, gate: threading.Lock) -> None:
        while True:
            gate.acquire()
            if self._closed:
                return
            self._work(self._team, part, self._turns)

    def _calibrated(self) -> int:
        """Turns of a loop that take as long as one should look, where nobody else computes."""
        taken = []
        for _ in range(TRIES):
            begun = time.perf_counter()
            self._work(self._team, 1, TRIED)
            taken.append(time.perf_counter() - begun)
        return int(LOOKING / min(taken) * TRIED) + 1


@functools.cache
def _library() -> Library:
    isa = host()
    return build([team.work(isa), team.lead(isa)])


def _others(threads: int) -> tuple[set[int], bool]:
    """The cores where the caller may run, but the one where it does, if there is one for each
    thread, and whether there is: systems like to put who is woken beside who wakes it. No cores
    where the system does not say.
    """
    if not hasattr(os, "sched_getaffinity"):
        return set(), threads <= (os.cpu_count() or 1)
    allowed = os.sched_getaffinity(0)
    enough = threads <= len(allowed)
    return allowed - {_here()} if enough else allowed, enough


def _here() -> int:
    """The core that this thread runs on."""
    find = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return int(find()) if find is not None else -1


def give_way() -> int:
    """The address of what lets other threads run."""
    if sys.platform == "win32":
        found = ctypes.windll.kernel32.SwitchToThread
    else:
        found = ctypes.CDLL(None).sched_yield
    return ctypes.cast(found, ctypes.c_void_p).value or 0


class Pools:
    """The pools of this process, one for each number of threads."""

    def __init__(self) -> None:
        self.forget()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """In a forked child, no thread is left but the one that forked."""
        self._made: dict[int, Pool] = {}
        self._making = threading.Lock()

    def of(self, threads: int) -> Pool:
        """The pool of so many threads, which all networks share."""
        found = self._made.get(threads)
        if found is None:
            with self._making:
                found = self._made.get(threads) or Pool(threads)
                self._made[threads] = found
        return found

    def close(self) -> None:
        """Send all threads home."""
        for one in list(self._made.values()):
            one.close()


POOLS = Pools()
