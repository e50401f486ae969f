"""Layouts and tars that are wrong, damaged or hostile: refused, naming what and where."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lighten.data import load
from tests.data_files import (
    folder_of,
    image_files,
    refused,
    tar_of,
)

pytestmark = pytest.mark.usefixtures("own_cache")


# ── layouts that are wrong ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("change", "words"), [
    (lambda f: {n: b for n, b in f.items() if not n.startswith("test/dog")},
     ["class folders differ", "train has dog, which test lacks"]),
    (lambda f: f | {"valid/bird/1.png": f["train/cat/0.png"]}, 
     ["valid has bird, which train lacks"]),
    (lambda f: {n: b for n, b in f.items() if not n.startswith("test")}, ["no images under test"]),
    (lambda f: {"a/b/" + n: b for n, b in f.items()}, ["train or test", "split/class/file"]),
    (lambda f: f | {"train/1.png": b"x"}, ["train/1.png lies in no class folder"]),
    (lambda f: f | {"train/cat/more/1.png": b"x"}, ["train/cat/more", "lies too deep"]),
    (lambda f: f | {"val/cat/1.png": b"x"}, ["both", "val"]),
])  # fmt: skip
@pytest.mark.parametrize("form", [folder_of, tar_of])
def test_a_layout_that_is_wrong_says_which(
    tmp_path: Path,
    form: Callable[[Path, dict[str, bytes]], Path],
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    words: list[str],
) -> None:
    refused(form(tmp_path / "pets.tar", change(image_files())), "pets.tar", *words)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "pets", image_files())
    for split in ("train", "valid", "test"):
        (path / split / "fish").mkdir()
    refused(path, "train/fish is empty")
    (tmp_path / "bare").mkdir()
    refused(tmp_path / "bare", "train or test")


def test_links_in_a_folder_are_followed_and_broken_ones_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "pets", image_files())
    (path / "train" / "cat" / "9.png").symlink_to(path / "train" / "cat" / "0.png")
    (path / "train" / "cat" / "loop").symlink_to(path)
    refused(path, "loop", "too deep")
    (path / "train" / "cat" / "loop").unlink()
    (tmp_path / "dogs").mkdir()
    (path / "test" / "dog").rename(tmp_path / "dogs" / "dog")
    (path / "test" / "dog").symlink_to(tmp_path / "dogs" / "dog")
    assert load(str(path)).train_size == 13
    (path / "train" / "cat" / "9.png").unlink()
    (path / "train" / "cat" / "9.png").symlink_to(path / "nowhere.png")
    refused(path, "train/cat/9.png cannot be opened")


# ── tars that are damaged or hostile ───────────────────────────────────────────────────────────


def test_a_damaged_tar_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    files = image_files(count=2, size=16)
    whole = tar_of(tmp_path / "whole.tar", files).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + 512 * -(-last.size // 512)
    path = tmp_path / "cut.tar"
    for length in (0, 100, 512, 700, last.offset, last.offset + 300, last.offset_data + 5, end):
        path.write_bytes(whole[:length])
        refused(path, "cut.tar", "damaged or cut short")
    damaged = bytearray(whole)
    damaged[last.offset + 10] ^= 0xFF  # a header in the middle
    path.write_bytes(bytes(damaged))
    refused(path, "damaged or cut short")
    path.write_bytes(b"\x1f\x8b" + bytes(600))
    refused(path, "compressed")


@pytest.mark.parametrize("name", ["../train/cat/x.png", "/train/cat/x.png", "train/../../x.png"])
def test_a_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tar_of(tmp_path / "a.tar", image_files() | {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    refused(path, "leaves the archive")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_a_tar_are_never_followed(tmp_path: Path, kind: bytes) -> None:
    path = tar_of(tmp_path / "a.tar", image_files())
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("train/cat/link.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    refused(path, "train/cat/link.png", "never followed")
    assert load(str(path), skip_corrupt=1).train_size == 12


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    huge = tarfile.TarInfo("train/cat/0.png")
    huge.size = 10**14
    path.write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    refused(path, "damaged or cut short")
