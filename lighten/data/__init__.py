"""Data as NumPy batches: images, arrays, sentences, what is built in, a user's own factory.

    load(spec)      a Task, ready to train, choose and judge
    read(spec)      the raw splits behind it: pixels, labels, normalisation
    task_of(splits) raw splits to a Task (with another normalisation, say)
    from_loaders    any DataLoader or iterable of batches to a Task

uint8 data is divided by 255. Images of three channels are then normalised by ImageNet's mean
(.485 .456 .406) and standard deviation (.229 .224 .225), other uint8 data by those measured on
train, before a part of it is held out; floats are taken as they are. What is typed behind the
data (`?mean=…&std=…&scale=…`) or stands in `<data>.preprocess.json` overrides.
"""

from __future__ import annotations

from lighten.core.task import Task
from lighten.data import generated
from lighten.data.batches import task_of, task_of_generated
from lighten.data.decode import Progress
from lighten.data.digits import read_digits
from lighten.data.factory import task_from_factory
from lighten.data.images import read_images
from lighten.data.loaders import from_loaders
from lighten.data.npz import read_npz
from lighten.data.spec import Spec, parse
from lighten.data.splits import Split, Splits, complete
from lighten.data.text import is_text, read_text
from lighten.errors import DataError

__all__ = ["Split", "Splits", "from_loaders", "load", "read", "task_of"]

# options that arrays have no use for → what has
OPTIONS_OF = {
    "size": "folders and tars of images",
    **dict.fromkeys(("length", "vocab"), "folders of sentences"),
}
FORMS = (
    "builtin:digits",
    f"made here: {', '.join(f'builtin:{name}' for name in generated.TABLE)}",
    "a folder or .tar of images (split/class/file)",
    "an .npz file (train_x, train_y, test_x, test_y)",
    "a folder of train.tsv and test.tsv (sentence, tab, label) with ?vocab=tokenizer.json",
    "file.py:factory returning a Task",
)


def load(
    spec: str,
    *,
    seed: int = 0,
    skip_corrupt: int = 0,
    batch: int = 128,
    augment: bool = True,
    progress: Progress | None = None,
) -> Task:
    """The `Task` that `spec` names; `seed` decides which tenth of train is held out as valid.

    `skip_corrupt` unreadable images may be left out (`task.notes` name them). `batch` is that of
    valid and test. `progress(what, done, of)` is called while images are decoded. Raises
    `DataError` or `MissingExtra`.

    >>> load("builtin:digits").train_size
    1132
    """
    if _is_factory(spec):
        return task_from_factory(spec)
    parsed = parse(spec)
    if is_text(parsed.path):
        return read_text(parsed.path, parsed.options, seed, batch)
    splits = read(spec, seed=seed, skip_corrupt=skip_corrupt, progress=progress)
    if made := _generated(parsed):
        return task_of_generated(splits, generated.TABLE[made], batch=batch)
    return task_of(splits, batch=batch, augment=augment)


def read(
    spec: str, *, seed: int = 0, skip_corrupt: int = 0, progress: Progress | None = None
) -> Splits:
    """The raw splits that `spec` names, with a valid part and a normalisation."""
    parsed = parse(spec)
    if made := _generated(parsed):
        return generated.read_generated(made)
    return complete(_splits(parsed, skip_corrupt, progress), parsed.options, seed)


def _splits(spec: Spec, skip_corrupt: int, progress: Progress | None) -> Splits:
    path = spec.path
    if spec.place == "builtin:digits":
        splits = read_digits()
    elif (spec.place and path.is_dir()) or (path.is_file() and path.suffix == ".tar"):
        return read_images(path, spec.options, skip_corrupt, progress)
    elif path.is_file() and path.suffix == ".npz":
        splits = read_npz(path)
    else:
        there = bool(spec.place) and path.exists()
        what = "is not a form of data" if there else "names no data: there is no such file"
        raise DataError(f"{spec.place!r} {what}.", f"Give one of: {'; '.join(FORMS)}.")
    for option, kind in OPTIONS_OF.items():
        if option in spec.options:
            raise DataError(f"{spec.place}: the option {option!r} is for {kind}.")
    return splits


def _generated(spec: Spec) -> str:
    """The name of the generated set that is meant, or nothing. None of them takes options."""
    kind, _, name = spec.place.partition(":")
    if kind != "builtin" or name not in generated.TABLE:
        return ""
    for option in spec.options:
        raise DataError(f"{spec.place} takes no options, but got {option!r}.")
    return name


def _is_factory(spec: str) -> bool:
    file, _, name = spec.rpartition(":")
    return file.endswith(".py") and name.isidentifier()
