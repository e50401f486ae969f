"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test per core: more threads would only wait

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep their caches, and their device lock, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def _what_is_loaded_stays() -> None:
    """Every timing collects garbage first: from here on among this module's objects, not all of
    torch's.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def moments() -> Iterator[None]:
    """What is timed is timed for a moment: for what is done with the numbers, whatever they are."""
    from tests.moments import shorten

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the development data folder {SHARED} is not here")
    return SHARED


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own; where decoded data lies in it."""
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"
