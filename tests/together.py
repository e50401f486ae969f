"""Threads of Python's own that do the parts of one piece of work, with memory to meet in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from lighten.engine.memory import address, aligned
from lighten.engine.pool import give_way
from lighten.kernels.meeting import GIVE_WAY, TEAM


def with_threads(parts: int, work: Callable[[int, int], None]) -> None:
    """`work(part, team)` for every part at the same time."""
    memory = aligned(TEAM)
    memory.view(np.int64)[GIVE_WAY // 8] = give_way()
    threads = [threading.Thread(target=work, args=(part, address(memory))) for part in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
