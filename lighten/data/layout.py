"""Which class and split every image belongs to: `split/class/file`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lighten.data.archive import File
from lighten.errors import DataError

# folder name → split
SPLITS = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LAYOUT = "Images must lie as split/class/file, such as train/cat/001.jpg and test/cat/002.jpg."


@dataclass(frozen=True)
class Layout:
    """Class names in order, and for each split the files with the number of their class."""

    labels: tuple[str, ...]
    splits: Mapping[str, tuple[tuple[File, int], ...]]


def arrange(path: Path, files: Sequence[File], folders: Sequence[str]) -> Layout:
    """The layout of an archive. Classes are numbered in sorted order of their folders' names.

    Hidden files are left out, and one folder around everything is looked through. Raises
    `DataError` where a split, a class or an image is missing or out of place.
    """
    root = _root([file.name for file in files] + list(folders))
    names: dict[str, str] = {}  # split → the folder it is called here
    found: dict[str, dict[str, list[File]]] = {}
    for folder in folders:
        parts = _inside(folder, root)
        if len(parts) > 2 and not _hidden(parts):
            raise DataError(f"{path}: {folder} lies too deep.", LAYOUT)
        if len(parts) == 2 and not _hidden(parts):
            found.setdefault(_split(path, parts[0], names), {}).setdefault(parts[1], [])
    for file in files:
        parts = _inside(file.name, root)
        if parts and not _hidden(parts) and _belongs(path, parts, file.name):
            classes = found.setdefault(_split(path, parts[0], names), {})
            classes.setdefault(parts[1], []).append(file)
    found = {split: found[split] for split in dict.fromkeys(SPLITS.values()) if split in found}
    _complain(path, found, names)
    labels = tuple(sorted(found["train"]))
    splits = {
        split: tuple((file, labels.index(label)) for label in labels for file in classes[label])
        for split, classes in found.items()
    }
    return Layout(labels, splits)


def _root(names: Iterable[str]) -> str:
    """The one folder around the splits, or "" where they lie at the top."""
    tops: set[str] = set()
    for name in names:
        first, _, rest = name.partition("/")
        if first.lower() in SPLITS:
            return ""
        if rest.partition("/")[0].lower() in SPLITS:
            tops.add(first)
    return tops.pop() if len(tops) == 1 else ""


def _inside(name: str, root: str) -> list[str]:
    """The parts of a name under its split, or nothing where it lies in none."""
    parts = name.split("/")
    if root:
        parts = parts[1:] if parts[0] == root else []
    return parts if parts and parts[0].lower() in SPLITS else []


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts) or parts[-1] in ("Thumbs.db", "desktop.ini")


def _belongs(path: Path, parts: Sequence[str], name: str) -> bool:
    """Whether this is a file of a class; images anywhere else are an error, not left out."""
    if len(parts) == 3:
        return True
    if PurePosixPath(name).suffix.lower() not in SUFFIXES:
        return False
    where = "in no class folder" if len(parts) < 3 else "too deep"
    raise DataError(f"{path}: {name} lies {where}.", LAYOUT)


def _split(path: Path, folder: str, names: dict[str, str]) -> str:
    split = SPLITS[folder.lower()]
    if names.setdefault(split, folder) != folder:
        raise DataError(f"{path} holds both {names[split]} and {folder}: keep one of them.")
    return split


def _complain(
    path: Path, found: Mapping[str, Mapping[str, list[File]]], names: Mapping[str, str]
) -> None:
    missing = [split for split in ("train", "test") if not found.get(split)]
    if missing:
        raise DataError(f"{path} has no images under {' or '.join(missing)}.", LAYOUT)
    for other, others in found.items():
        for split, classes in found.items():
            if lacking := sorted(set(others) - set(classes)):
                raise DataError(
                    f"{path}: class folders differ between splits: {names[other]} has "
                    f"{_few(lacking)}, which {names[split]} lacks."
                )
        if empty := sorted(label for label, files in others.items() if not files):
            raise DataError(f"{path}: {names[other]}/{empty[0]} is empty: it holds no images.")


def _few(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
