"""Threads of Python's own that do the parts of one piece of work, with memory to meet in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from lighten.engine.memory import address, aligned
from lighten.engine.pool import give_way
from lighten.kernels.meeting import GIVE_WAY, TEAM


def with_threads(
    parts: int, work: Callable[[int, int], None], *, first: int | None = None, lead: float = 0.02
) -> None:
    """`work(part, team)` for every part at the same time; or the `first` alone for as long as it
    waits for nobody, or for so many seconds.
    """
    memory = aligned(TEAM)
    memory.view(np.int64)[GIVE_WAY // 8] = give_way()
    threads = [threading.Thread(target=work, args=(part, address(memory))) for part in range(parts)]
    if first is not None:
        threads[first].start()
        threads[first].join(lead)
    for part, thread in enumerate(threads):
        if part != first:
            thread.start()
    for thread in threads:
        thread.join()
