"""The layer table: work, bytes, time and width before and after, and why a layer was left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighten.report.markup import Markup, element, scrolling
from lighten.report.numbers import FORMATS, MISSING
from lighten.report.source import Source
from lighten.report.why import sentences

Json = Mapping[str, Any]

CEILING = 0.3  # what the search counts of one place, at most
# key of a layer's side → column title and number format
MEASURES = {
    "macs": ("MACs", "macs"),
    "bytes": ("Bytes", "bytes"),
    "time_ms": ("Time", "latency_ms"),
}


def layers(source: Source) -> Markup | None:
    """A body per layer: a bar for each measure, outline before and fill after; and its why."""
    rows = source.layers
    if not rows:
        return None
    widest = {
        key: max((_side(r, "before", key) or 0.0 for r in rows), default=0.0) for key in MEASURES
    }
    shown = [key for key, most in widest.items() if most > 0]
    titles = ["Layer", "Width", *(MEASURES[key][0] for key in shown), "Bits", "Sensitivity"]
    heads = [
        element(
            "th",
            element("button", title, type="button"),
            scope="col",
            data_sort=number,
            class_="measure" if 2 <= number < 2 + len(shown) else None,
        )
        for number, title in enumerate(titles)
    ]
    known = {str(row["name"]) for row in rows}
    why = {str(r["name"]): sentences(r, source.summary, known) or _reason(r) for r in rows}
    body = [_layer(row, shown, widest, why[str(row["name"])]) for row in rows]
    table = element(
        "table",
        element("thead", element("tr", *heads)),
        *body,
        class_="layers",
    )
    note = (
        "Outline: before. Fill: after. Times are measured: the runtime's profile, scaled to the "
        "whole call. Sensitivity was seen before any training: how far the answers move when half "
        f"of the layer's channels go, in {_unit(source)}. What was predicted counts "
        "what the neighbours need too, such as changes of number format. A title sorts the table "
        "by its column."
    )
    return element(
        "section",
        element("h2", "Layer by layer"),
        scrolling(table, "Layer by layer"),
        element("p", note, class_="note"),
    )


def _unit(source: Source) -> str:
    """The unit of a sensitivity, as a noun."""
    unit = str(source.summary.get("loss_unit", "nats"))
    return f"nats of divergence, {CEILING} at most" if unit == "nats" else f"shares {unit}"


def _reason(row: Json) -> list[str]:
    return [f"{row['reason']}."] if row.get("reason") else []


def _layer(
    row: Json, shown: Sequence[str], widest: Mapping[str, float], why: Sequence[str]
) -> Markup:
    name = element(
        "th",
        element("b", str(row["name"])),
        element("small", str(row.get("kind", ""))),
        scope="row",
        data_value=str(row["name"]),
    )
    bits, lost = _side(row, "after", "bits"), row.get("sensitivity")
    cells = (
        name,
        _width(row),
        *(_measure(row, key, widest[key]) for key in shown),
        _plain("Bits", MISSING if bits is None else f"{bits:g}{_kept(row)}", bits),
        _plain("Sensitivity", MISSING if lost is None else f"{lost:.2f}", lost),
    )
    text = element("td", *(element("span", line) for line in why), colspan=len(cells))
    return element(
        "tbody",
        element("tr", *cells),
        element("tr", text, class_="why") if why else Markup(""),
    )


def _kept(row: Json) -> str:
    """The share of the weights that stay, where not all do."""
    density = _side(row, "after", "density")
    return f", {density:.0%} kept" if density is not None and density < 1 else ""


def _measure(row: Json, key: str, most: float) -> Markup:
    title, kind = MEASURES[key]
    before, after = _side(row, "before", key), _side(row, "after", key)
    bar = element(
        "span",
        element("i", class_="was", style=f"width:{_percent(before, most)}"),
        element("i", class_="now", style=f"width:{_percent(after, most)}"),
        class_="bar",
    )
    text = _change(before, after, kind)
    return element("td", bar, text, data_title=title, data_value=after or 0, class_="measure")


def _width(row: Json) -> Markup:
    before, after = _side(row, "before", "width"), _side(row, "after", "width")
    text = _change(before, after, None)
    return element("td", text, data_title="Width", data_value=after or 0, class_="width")


def _plain(title: str, text: str, value: float | None) -> Markup:
    return element("td", text, data_title=title, data_value=value or 0)


def _change(before: float | None, after: float | None, kind: str | None) -> Markup:
    """`before → after`, once where they are equal."""
    write = FORMATS[kind] if kind else "{:g}".format
    first = MISSING if before is None else write(before)
    last = MISSING if after is None else write(after)
    if first == last:
        return element("span", first, class_="same")
    return element("span", element("s", first), " → ", element("b", last))


def _side(row: Json, side: str, key: str) -> float | None:
    value = (row.get(side) or {}).get(key)
    return None if value is None else float(value)


def _percent(value: float | None, most: float) -> str:
    return f"{100 * (value or 0.0) / most:.1f}%"
