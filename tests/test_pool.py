"""The pool: answers stay right however it is called, forked, interrupted, narrowed or ended."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.emit import host
from lighten.engine.executable import Network
from lighten.engine.plan import plan
from lighten.engine.pool import LOOKING, POOLS
from lighten.program import Builder, Program

PATIENCE = 60  # seconds for what happens at once where no other process is busy
X = np.arange(-12, 12, dtype=np.float32).reshape(1, 6, 2, 2)


def tiny() -> Program:
    """relu(x) + x, then each channel's mean: what one part makes, all need."""
    b = Builder()
    x = b.input("x", (6, 2, 2))
    y = b.op("binary", b.op("unary", x, function="relu"), x, function="add", activation="")
    return b.finish(b.op("reduce", y, function="mean", axes=(1, 2), keepdims=False))


def network(threads: int) -> Network:
    return Network(plan(tiny(), host()), threads)


WANTED = (np.maximum(X, 0) + X).mean((2, 3))


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_thousands_of_calls_are_right(threads: int) -> None:
    """More threads than cores take turns; where others compute as well, that takes its time."""
    net, end = network(threads), time.monotonic() + 2
    for call in range(4000):
        np.testing.assert_array_equal(net(X)[0], WANTED)
        if call > 20 and time.monotonic() > end:
            break


def test_threads_that_parked_are_woken() -> None:
    net, rng = network(2), random.Random(0)
    for _ in range(200):
        np.testing.assert_array_equal(net(X)[0], WANTED)
        time.sleep(rng.choice([0.0, LOOKING / 2, LOOKING, 2 * LOOKING, 5e-3]))


def test_callers_at_the_same_time_all_get_their_own_answers() -> None:
    net, wrong = network(2), []

    def work(which: int) -> None:
        for _ in range(100):
            if not np.array_equal(
                net(X + which)[0], (np.maximum(X + which, 0) + X + which).mean((2, 3))
            ):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_network_may_go_as_soon_as_it_has_answered() -> None:
    """A thread that is late to leave must not find its code gone."""
    for _ in range(30):
        np.testing.assert_array_equal(network(3)(X)[0], WANTED)


def test_an_interrupted_call_leaves_the_pool_whole() -> None:
    """Exceptions are thrown into calls, and between them, wherever an alarm happens to strike."""

    class Alarm(Exception):
        pass

    def strike(*_: Any) -> None:
        raise Alarm

    net, struck, rng = network(2), 0, random.Random(0)
    before = signal.signal(signal.SIGALRM, strike)
    gc.disable()  # what is raised while garbage is collected strikes nobody
    try:
        while struck < 150:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-5, 8e-4))
                for _ in range(500):
                    net(X)
                    if rng.random() < 0.2:
                        time.sleep(2e-4)  # until they park
            except Alarm:
                struck += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            np.testing.assert_array_equal(net(X)[0], WANTED)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_threads_run_where_their_caller_may() -> None:
    net, allowed = network(2), os.sched_getaffinity(0)
    (worker,) = POOLS.of(2)._workers
    assert worker.native_id is not None
    one = {min(allowed)}
    try:
        os.sched_setaffinity(0, one)
        end = time.monotonic() + PATIENCE
        while os.sched_getaffinity(worker.native_id) != one:
            assert time.monotonic() < end, "it still runs elsewhere"
            time.sleep(10 * LOOKING)  # once it has parked, the next call wakes it where it may run
            np.testing.assert_array_equal(net(X)[0], WANTED)
    finally:
        os.sched_setaffinity(0, allowed)
    time.sleep(10 * LOOKING)
    net(X)
    assert os.sched_getaffinity(worker.native_id) <= allowed


ENDS = {
    "at once": "",
    "with work in flight": """
        import threading
        def work():
            while True: net(X)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.02)
    """,
    "and is called again at the end": """
        import atexit
        atexit.register(lambda: check(net(X)[0]))
        from lighten.engine.pool import POOLS
        atexit.register(POOLS.close)
    """,
    "after a fork": """
        for _ in range(3):
            child = os.fork()
            if not child:
                check(net(X)[0]); check(network(3)(X)[0])
                sys.exit(0)  # the pool of the child ends as well
            assert os.waitpid(child, 0)[1] == 0
            check(net(X)[0])
    """,
    "after a fork, its threads parked and a call under way": """
        import threading
        def work():
            while not done: net(X)
        done = []
        busy = threading.Thread(target=work)
        busy.start()
        for _ in range(10):
            child = os.fork()
            if not child:
                check(net(X)[0])
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        done.append(True)
        busy.join()
    """,
    "after processes were forked to work": """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as processes:
            for found in processes.map(answer, range(4)): check(found)
    """,
}
PROGRAM = """
import os, sys, time, warnings
import numpy as np
from tests.test_pool import WANTED, X, network
def check(found): assert np.array_equal(found, WANTED)
def answer(_): return net(X)[0]
net = network(2)
check(net(X)[0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("how", ENDS)
def test_a_process_ends(how: str) -> None:
    code = PROGRAM + textwrap.dedent(ENDS[how])
    root = Path(__file__).parents[1]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, timeout=10 * PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory cannot be read here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_million_calls_take_no_memory(threads: int) -> None:
    net = network(threads)
    for _ in range(10_000):
        net(X)
    before = resident()
    for _ in range(1_000_000):
        net(X)
    assert resident() - before < 1 << 20
    np.testing.assert_array_equal(net(X)[0], WANTED)
