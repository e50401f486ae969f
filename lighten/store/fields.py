"""What a field of the structure must be: each function gives it back typed, or refuses it.

`where` names the field in the refusal, as in "values.x.shape".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from typing import Any, NoReturn

from lighten.errors import ArtifactError

ANEW = "Make it anew with lighten, and take it only from those you trust."
INT64, TEXT = 1 << 63, 4096
RANK, EXTENT, ELEMENTS = 32, (1 << 31) - 1, 1 << 40


def refuse(message: str) -> NoReturn:
    """Raise the one error, with `message` as its sentence."""
    raise ArtifactError(f"{message}.", ANEW)


def demand(holds: bool, message: str) -> None:
    """Raise the one error unless `holds`."""
    if not holds:
        refuse(message)


def shown(form: Any) -> str:
    """A field as a refusal quotes it: short, whatever it is.

    >>> shown([1, 2])
    'a list'
    """
    if isinstance(form, dict | list):
        return "a mapping" if isinstance(form, dict) else "a list"
    return repr(form[:40] if isinstance(form, str) else form)


def record(form: Any, keys: Collection[str], where: str) -> dict[str, Any]:
    """A mapping with exactly these keys.

    >>> record({"a": 1}, ("a",), "it")
    {'a': 1}
    """
    found = mapping(form, where)
    absent, extra = set(keys) - set(found), set(found) - set(keys)
    demand(not absent, f"{where} has no {min(absent, default='')!r}")
    demand(not extra, f"{where} has an unknown {shown(min(extra, default=''))}")
    return found


def mapping(form: Any, where: str) -> dict[str, Any]:
    """A mapping whose keys are names."""
    if not isinstance(form, dict):
        refuse(f"{where} must be a mapping, but is {shown(form)}")
    for name in form:
        text(name, f"A name in {where}")
    return form


def items(form: Any, where: str) -> list[Any]:
    """A list."""
    if not isinstance(form, list):
        refuse(f"{where} must be a list, but is {shown(form)}")
    return form


def text(form: Any, where: str) -> str:
    """Text of up to 4,096 characters that UTF-8 can hold."""
    if not isinstance(form, str):
        refuse(f"{where} must be text, but is {shown(form)}")
    demand(len(form) <= TEXT, f"{where} has {len(form)} characters, over {TEXT}")
    torn = not form.isascii() and any("\ud800" <= c <= "\udfff" for c in form)
    demand(not torn, f"{where} has half a character")
    return form


def texts(form: Any, where: str) -> tuple[str, ...]:
    """A list of text."""
    return tuple(text(item, where) for item in items(form, where))


def whole(form: Any, low: int, high: int, where: str) -> int:
    """A whole number in low … high; True and 1.0 are none."""
    if type(form) is not int or not low <= form <= high:
        refuse(f"{where} must be a whole number in {low} … {high}, but is {shown(form)}")
    return form


def extents(form: Any, where: str) -> tuple[int, ...]:
    """A shape: at most 32 axes, 2³¹ − 1 along each, 2⁴⁰ elements.

    >>> extents([3, 32, 32], "values.x.shape")
    (3, 32, 32)
    """
    axes = items(form, where)
    demand(len(axes) <= RANK, f"{where} has {len(axes)} axes, over {RANK}")
    shape = tuple(whole(extent, 0, EXTENT, where) for extent in axes)
    elements = prod(max(extent, 1) for extent in shape)
    demand(elements <= ELEMENTS, f"{where} has over 2⁴⁰ elements")
    return shape


def choice(form: Any, known: Mapping[str, Any], where: str) -> Any:
    """The row of a table that the field names.

    >>> choice("a", {"a": 1}, "it")
    1
    """
    if not isinstance(form, str) or form not in known:
        refuse(f"{where} must be one of {', '.join(known)}, but is {shown(form)}")
    return known[form]
