"""What each attribute of an op may be, as a table; `spec.check` says how they fit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lighten.program.spec import KINDS
from lighten.store import forms
from lighten.store.fields import EXTENT, INT64, demand, mapping, shown

Json = Any


@dataclass(frozen=True)
class Rule:
    """What an attribute must be: in words, and as a test that accepts any value."""

    words: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: int = EXTENT) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        counts = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return counts and low <= int(value) <= high

    return holds


def _tuple(low: int) -> Rule:
    each = _whole(low)
    return Rule(
        f"whole numbers from {low} on",
        lambda value: isinstance(value, tuple | list) and all(map(each, value)),
    )


def is_number(value: Any) -> bool:
    """Whether it is one real number, of Python's or NumPy's; truth is none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


COUNT = Rule("a whole number from 1 on", _whole(1))
AXIS = Rule("a whole number from 0 on", _whole(0))
PLACE = Rule("a whole number of 64 bits", _whole(-INT64, INT64 - 1))
NUMBER = Rule("a number", is_number)
SMALL = Rule("a number from 0 on", lambda x: is_number(x) and 0 <= float(x) < math.inf)
TRUTH = Rule("true or false", lambda x: isinstance(x, bool | np.bool_) or _whole(0, 1)(x))
TEXT = Rule("text", lambda value: isinstance(value, str))

# attribute, or "kind.attribute" where a kind means another thing by it → what it must be
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("strides", "dilations", "kernel", "size"), _tuple(1)),
    **dict.fromkeys(("output_padding", "shape", "permutation", "axes"), _tuple(0)),
    "pads": _tuple(-EXTENT),
    **dict.fromkeys(("groups", "layer_norm.axes", "step"), COUNT),
    "axis": AXIS,
    **dict.fromkeys(("start", "stop"), PLACE),
    **dict.fromkeys(("low", "high", "slope", "value"), NUMBER),
    "epsilon": SMALL,
    **dict.fromkeys("align_corners ceil include_pad keepdims reverse rms".split(), TRUTH),
    **dict.fromkeys(("activation", "function", "mode"), TEXT),
}


def rule(kind: str, attribute: str) -> Rule | None:
    """What an attribute of an op of that kind must be; None where it has no such attribute.

    >>> rule("conv", "groups").words
    'a whole number from 1 on'
    """
    known = kind in KINDS and attribute in {*KINDS[kind].attributes, *KINDS[kind].optional}
    return RULES.get(f"{kind}.{attribute}", RULES.get(attribute)) if known else None


def read(form: Json, kind: str, where: str) -> dict[str, Any]:
    """The attributes of an op of that kind. ArtifactError for any it has not, or of another type.

    >>> read({"axis": 1}, "softmax", "ops.0")
    {'axis': 1}
    """
    found = {}
    for name, told in mapping(form, where).items():
        place = f"{where}.{shown(name)}"
        wanted = rule(kind, name)
        value = forms.read(told, place)
        if wanted is None:
            demand(False, f"{place}: a {shown(kind)} has no such attribute")
        elif not wanted.holds(value):
            demand(False, f"{place} must be {wanted.words}, but is {shown(told)}")
        found[name] = value
    return found
