"""An engine that lacks some kernels, for tests of what happens then."""

from __future__ import annotations

import pytest

from lighten.engine import writers, writers_rows


def without_kernels(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """Ops of these kinds are left to the reference interpreter."""
    for module, table in ((writers, "WRITERS"), (writers_rows, "ROWS")):
        rows = {kind: row for kind, row in getattr(module, table).items() if kind not in kinds}
        monkeypatch.setattr(module, table, rows)
