"""What the user typed after --data: a place and options, `images.tar?size=32&mean=0.5&std=0.25`.

Options may also stand in a JSON file beside the data, `<data>.preprocess.json`, such as
`{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}`; what is typed wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lighten.errors import DataError


def _numbers(value: Any) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(float(part) for part in (parts if isinstance(parts, (list, tuple)) else [parts]))


def _pixels(value: Any) -> int:
    if not 1 <= int(value) <= 4096 or int(value) != float(value):
        raise ValueError
    return int(value)


def _tokens(value: Any) -> int:
    if not 2 <= int(value) <= 8192 or int(value) != float(value):
        raise ValueError
    return int(value)


# option → (how to read it, what it must look like)
OPTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mean": (_numbers, "numbers such as 0.485,0.456,0.406"),
    "std": (_numbers, "numbers such as 0.229,0.224,0.225"),
    "scale": (float, "a number such as 255"),
    "size": (_pixels, "a number of pixels from 1 to 4096"),
    "length": (_tokens, "a number of tokens from 2 to 8192"),
    "vocab": (unquote, "a tokenizer.json or vocab.txt"),
}


@dataclass(frozen=True)
class Spec:
    """A place (`builtin:…`, a path, `file.py:factory`) and its options, already read."""

    place: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The place as a path."""
        return Path(self.place).expanduser()


def parse(text: str) -> Spec:
    """Read what was typed. Raises `DataError` naming an option that does not exist.

    >>> parse("photos.tar?size=32&mean=0.5").options
    {'size': 32, 'mean': (0.5,)}
    """
    place, _, query = text.partition("?")
    if _exists(text):  # a path may contain a question mark
        place, query = text, ""
    typed: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        typed[name] = value
    path = Path(place).expanduser()
    beside = path.parent / f"{path.name}.preprocess.json"
    stored = _stored(beside) if _exists(str(beside)) else {}
    return Spec(place, {**_read(stored, str(beside)), **_read(typed, text)})


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError as error:
        raise DataError(f"{text!r} cannot be looked up: {error.strerror}.") from error


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(stored, dict):
        raise DataError(f"{path} must hold a mapping, but got {type(stored).__name__}.")
    return stored


def _read(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    options = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise DataError(
                f"{where}: there is no option {name!r}.", f"Options are {', '.join(OPTIONS)}."
            )
        reader, look = OPTIONS[name]
        try:
            options[name] = reader(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {name} must be {look}, but got {value!r}.") from error
    return options
