"""JSON held to one form: sorted keys, no spaces, UTF-8, finite numbers; strict when read."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from lighten.errors import ArtifactError
from lighten.store.fields import refuse

Json = Any
LONGEST, DEEPEST, DIGITS = 16 << 20, 12, 20
# a whole string (or one that never ends), else a bracket; possessive, so that it never steps back
TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def dumps(value: Json) -> bytes:
    """The one form of `value`. ArtifactError for NaN, infinities, and over 16 MiB.

    >>> dumps({"b": (1, 2.0), "a": None})
    b'{"a":null,"b":[1,2.0]}'
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except ValueError as error:  # NaN, or half of a surrogate pair
        raise ArtifactError(f"The structure has no written form: {error}.") from None
    if len(text) > LONGEST:
        raise ArtifactError(f"The structure is over {LONGEST >> 20} MiB long.")
    return text


def loads(data: bytes | memoryview) -> Json:
    """The value that JSON text stands for.

    ArtifactError for what is no JSON, and for text that is over 16 MiB, nested more than 12 deep,
    or has NaN, infinities, a number of more than 20 digits, or a key twice.

    >>> loads(b'{"a": [1, 2.0]}')
    {'a': [1, 2.0]}
    """
    if len(data) > LONGEST:
        refuse(f"The structure is over {LONGEST >> 20} MiB long")
    try:
        text = str(data, "utf-8")
        _check_depth(text)
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_int,
            parse_float=_float,
        )
    except ValueError as error:
        refuse(f"The structure is no JSON ({error})")


def _check_depth(text: str) -> None:
    depth = 0
    for token in TOKEN.finditer(text):
        bracket = text[token.start()]
        depth += (bracket in "[{") - (bracket in "]}")
        if depth > DEEPEST:
            refuse(f"The structure is nested more than {DEEPEST} deep")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        refuse("The structure has a key twice")
    return found


def _no_constant(name: str) -> NoReturn:
    refuse(f"The structure has a bare {name}")


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        refuse(f"The structure has a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        refuse("The structure has a number that is not finite")
    return number
