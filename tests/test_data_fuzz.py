"""Archives damaged at random: they load, or are refused in one sentence; nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lighten.data import load
from lighten.errors import DataError
from tests.data_files import image_files, npz_of, tar_of

pytestmark = pytest.mark.usefixtures("own_cache")


def compressed(path: Path) -> Path:
    with np.load(npz_of(path)) as arrays:
        np.savez_compressed(path, **dict(arrays))
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "a.npz": npz_of,
    "deflated.npz": compressed,
    "a.tar": lambda path: tar_of(path, image_files(count=2)),
}


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, or some bytes changed; the ends, where the headers are, more often."""
    if rng.random() < 0.2:
        return whole[: rng.integers(len(whole))]
    content = bytearray(whole)
    for _ in range(rng.choice([1, 2, 8, 50])):
        near = rng.integers(min(1500, len(whole)))
        place = rng.choice([rng.integers(len(whole)), near, len(whole) - 1 - near])
        content[place] = rng.choice([0, 255, content[place] ^ 1, rng.integers(256)])
    return bytes(content)


def tried(form: str, folder: Path, times: int) -> tuple[int, int]:
    """How many damaged archives loaded, and how many were refused."""
    whole = FORMS[form](folder / form).read_bytes()
    rng = np.random.default_rng(0)
    path = folder / f"damaged{Path(form).suffix}"
    loaded = refused = 0
    for _ in range(times):
        path.write_bytes(damaged(whole, rng))
        try:
            load(str(path), skip_corrupt=int(rng.choice([0, 100])))
            loaded += 1
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    return loaded, refused


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_archive_is_refused(form: str, tmp_path: Path) -> None:
    _, refused = tried(form, tmp_path, 60)
    assert refused > 20


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
def test_many_damaged_archives_are_refused(form: str, tmp_path: Path) -> None:
    loaded, refused = tried(form, tmp_path, 3000)
    assert loaded > 10 and refused > 1000
