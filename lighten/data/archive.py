"""Where image files lie: a folder, or a tar that is read in place and never extracted."""

from __future__ import annotations

import hashlib
import os
import tarfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lighten.data.npz import hash_file
from lighten.errors import DataError

BLOCK = 512  # a tar is a row of blocks of this many bytes, ended by blocks of zeros
DEEPEST = 3  # parts of a folder's name, beyond which nothing is looked for
COPY_AGAIN = "Copy or download it again."


@dataclass(frozen=True)
class File:
    """One file: its name with `/` between the parts, its bytes' place, or why it is unreadable."""

    name: str
    size: int
    offset: int = 0
    problem: str = ""


class Archive(Protocol):
    """Named files that can be read one by one, from several threads at once."""

    path: Path

    def content(self) -> str: ...
    def listing(self) -> tuple[Sequence[File], Sequence[str]]: ...
    def read(self, file: File) -> bytes: ...


class Folder:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def content(self) -> str:
        """The sha256 of every file's name, length and bytes."""
        digest = hashlib.sha256()
        for file in self.listing()[0]:
            data = self._bytes_or_none(file)
            digest.update(f"{file.name}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
            digest.update(data)
        return digest.hexdigest()

    def listing(self) -> tuple[Sequence[File], Sequence[str]]:
        """All files and all folders, sorted by name; links are followed, to a depth."""
        files, folders = [], []
        walk = os.walk(self.path, onerror=self._unreadable, followlinks=True)
        for parent, below, names in walk:
            inside = Path(parent).relative_to(self.path)
            folders += [(inside / name).as_posix() for name in below]
            if len(inside.parts) >= DEEPEST:
                below.clear()
            for name in names:
                files.append(self._file((inside / name).as_posix()))
        return sorted(files, key=lambda file: file.name), sorted(folders)

    def _file(self, name: str) -> File:
        try:
            return File(name, (self.path / name).stat().st_size)
        except OSError as error:
            return File(name, 0, problem=f"cannot be opened ({error.strerror})")

    def _unreadable(self, error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    def read(self, file: File) -> bytes:
        """The file's bytes. Raises `OSError`."""
        return (self.path / file.name).read_bytes()

    def _bytes_or_none(self, file: File) -> bytes:
        try:
            return b"" if file.problem else self.read(file)
        except OSError:
            return b""


class Tar:
    """An uncompressed tar, indexed once; members are read at their offset."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    def content(self) -> str:
        """The sha256 of the whole file."""
        return hash_file(self.path)

    def listing(self) -> tuple[Sequence[File], Sequence[str]]:
        """All files and all folders, sorted by name. Raises `DataError` where the tar is damaged.

        Links are listed as unreadable. A name that leaves the archive is refused.
        """
        files: dict[str, File] = {}
        folders = set()
        try:
            with tarfile.open(self.path, "r:") as tar:
                for member in tar:
                    name = self._checked(member)
                    if member.isdir():
                        folders.add(name)
                    else:
                        files[name] = _member(name, member)
                end = tar.offset
        except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
            raise DataError(
                f"{self.path} is damaged or cut short: {error}.",
                "Only plain tars can be read (a compressed one must be unpacked to .tar first).",
            ) from error
        if os.pread(self.descriptor, BLOCK, end) != bytes(BLOCK):
            raise DataError(f"{self.path} is damaged or cut short at byte {end}.", COPY_AGAIN)
        ordered = sorted(files.values(), key=lambda file: file.name)
        return ordered, sorted(folders)

    def _checked(self, member: tarfile.TarInfo) -> str:
        parts = member.name.split("/")
        if member.name.startswith("/") or ".." in parts:
            raise DataError(f"{self.path} holds {member.name!r}, a name that leaves the archive.")
        if member.size < 0:
            raise DataError(f"{self.path}: {member.name} claims {member.size} bytes.", COPY_AGAIN)
        return "/".join(part for part in parts if part not in ("", "."))

    def read(self, file: File) -> bytes:
        """The member's bytes."""
        return os.pread(self.descriptor, file.size, file.offset)


def _member(name: str, member: tarfile.TarInfo) -> File:
    problem = ""
    if not member.isreg() or member.issparse():
        problem = "is a link or a special file, which is never followed"
    return File(name, member.size, member.offset_data, problem)
