"""An engine that lacks some kernels, for tests of what happens then."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from lighten.program.ir import Op


def without_kernels(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """Ops of these kinds are left to the reference interpreter."""
    plans = import_module("lighten.engine.plan")  # the name in the package is the function's
    writers = plans._writers

    def fewer(writer: Any, op: Op) -> Any:
        return () if op.kind in kinds else writers(writer, op)

    monkeypatch.setattr(plans, "_writers", fewer)
