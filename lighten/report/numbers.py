"""Numbers as a person reads them, each carrying the exact value it stands for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lighten.report.markup import Markup, element

MISSING = "–"


def milliseconds(value: float) -> str:
    """Three significant digits.

    >>> milliseconds(0.04217), milliseconds(12.3456)
    ('42.2 µs', '12.3 ms')
    """
    if value == 0:
        return "0"
    return f"{_digits(1e3 * value)} µs" if abs(value) < 0.1 else f"{_digits(value)} ms"


def spread(value: float, latency: float) -> str:
    """Two significant digits, in the unit in which `milliseconds` writes `latency`.

    >>> spread(0.0121, 0.93), spread(0.0046, 0.05)
    ('0.012 ms', '4.6 µs')
    """
    return f"{1e3 * value:.2g} µs" if abs(latency) < 0.1 else f"{value:.2g} ms"


def size(value: float) -> str:
    """Bytes in kB or MB of 1000.

    >>> size(431), size(1_114_000)
    ('431 B', '1.11 MB')
    """
    return _scaled(value, (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)))


def count(value: float) -> str:
    """Multiply-accumulates or parameters in k, M or G.

    >>> count(40_551_424), count(12)
    ('40.6 M', '12')
    """
    return _scaled(value, (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))).strip()


def quality(value: float) -> str:
    """Two decimals, and a real minus sign.

    >>> quality(-0.066)
    '−0.07'
    """
    return f"{value:.2f}".replace("-", "−")


FORMATS: dict[str, Callable[[float], str]] = {
    "quality": quality,
    "latency_ms": milliseconds,
    "bytes": size,
    "macs": count,
    "parameters": count,
    "drop": quality,
}


Kind = str | Callable[[float], str]  # a row of FORMATS, or a format of its own


def show(kind: Kind, value: float | None) -> str:
    """`value` in the format of its kind, or a dash."""
    write = FORMATS[kind] if isinstance(kind, str) else kind
    return MISSING if value is None else write(value)


def exact(key: str, kind: Kind, value: float | None) -> Markup:
    """`value` as shown, with the key of `summary.json` it comes from and its exact value."""
    return keyed(key, show(kind, value), value)


def keyed(key: str, text: str, value: float | None) -> Markup:
    """`text`, with the key of `summary.json` it comes from and the exact value there."""
    written = None if value is None else json.dumps(value)
    return element("span", text, class_="number", data_key=key, data_value=written)


def interval(key: str, kind: Kind, bounds: Sequence[float] | None) -> Markup:
    """`[low, high]` in small type, or nothing."""
    if not bounds:
        return Markup("")
    low, high = (exact(f"{key}.{i}", kind, value) for i, value in enumerate(bounds))
    return element("span", "[", low, ", ", high, "]", class_="interval")


def ratio(before: float | None, after: float | None, words: tuple[str, str]) -> str:
    """How many times better: `words` say what less and what more is called.

    >>> ratio(2.0, 0.5, ("faster", "slower")), ratio(1.0, 1.5, ("faster", "slower"))
    ('4.0× faster', '1.5× slower')
    """
    if not before or not after:
        return MISSING
    times, word = (before / after, words[0]) if after <= before else (after / before, words[1])
    return f"{times:.1f}× {word}" if times >= 1.05 else "the same"


def plain(value: Any) -> str:
    """Any value of a JSON file on one line.

    >>> plain({"runs": 3, "error": 0.0831})
    'runs 3, error 0.0831'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)


def _digits(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> str:
    unit, factor = next(((u, f) for u, f in reversed(units) if abs(value) >= f), units[0])
    if value == 0:
        return "0"
    number = f"{value:g}" if factor == 1.0 else _digits(value / factor)
    return f"{number} {unit}"
