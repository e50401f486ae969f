"""Timing for a moment: the whole road in its order, where the numbers themselves do not matter.

As a program it is the command `lighten`: `python -m tests.moments compress …`.
"""

from __future__ import annotations

import pytest

from lighten import inspection
from lighten.cli import main
from lighten.measure import quiet
from lighten.search import predict, workbench

SECONDS = {
    (inspection, "SECONDS"): 0.05,
    (predict, "SECONDS"): 0.01,
    (predict, "SHARE"): 0.0,  # no more variants than must be
    (predict, "LEAST"): 16,
    (quiet, "LOOK"): 0.01,
    (workbench, "FLOOR_SECONDS"): 0.02,
    (workbench, "TIMING_SECONDS"): 0.1,
}


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Whatever is timed from here on is timed for a moment."""
    for (module, name), value in SECONDS.items():
        patch.setattr(module, name, value)


if __name__ == "__main__":
    shorten(pytest.MonkeyPatch())
    main()
