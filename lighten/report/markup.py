"""HTML and SVG from Python values: whatever is not already markup is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

Attribute = str | float | bool | None


class Markup(str):
    """Text that is HTML already; every other string is escaped on its way into a page."""

    __slots__ = ()


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """One element. `class_` means `class`, `data_key` means `data-key`; `None` is left out.

    >>> element("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def scrolling(wide: Markup, name: str) -> Markup:
    """What may be wider than the page, in a box of its own that scrolls, by keyboard too."""
    return element("div", wide, class_="scroll", tabindex=0, role="region", aria_label=name)


def join(children: Iterable[str | Markup]) -> Markup:
    """Children one after another; plain strings escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escape(str(c)) for c in children))


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
