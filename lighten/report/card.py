"""A result in a few lines of HTML, for a notebook: no script, no style sheet, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lighten.report.markup import Markup, element
from lighten.report.metric import Metric
from lighten.report.numbers import plain, show, spread
from lighten.report.verdict import ROWS, VERDICTS, gain

Json = Mapping[str, Any]

TONES = {True: "#0b6b57", False: "#a63f16", None: "#2d5f9e"}  # by whether the budget was met
CELL = "text-align:right;padding:.25em 1em .25em 0"


def card(summary: Json, report: Path) -> Markup:
    """Met or not, the drop with its interval, before and after, and where the report lies."""
    metric, tone = Metric.of(summary), TONES[summary["met"]]
    stamp = element("b", VERDICTS[summary["met"]][1], style=f"color:{tone}")
    missed = [element("div", plain(reason)) for reason in summary.get("missed") or ()]
    cells = [element("th", title, style=CELL) for title in ("", "before", "after", "change")]
    quality = (metric.title, *(_quality(metric, summary[side]) for side in ("before", "after")))
    rows = [_row((*quality, _change(metric, summary)))]
    for key, title, words in ROWS:
        sides = (_value(key, summary[side]) for side in ("before", "after"))
        rows.append(_row((title, *sides, gain(key, summary, words))))
    table = element("table", element("thead", element("tr", *cells)), element("tbody", *rows))
    where = element("div", "Report: ", element("code", str(report)))
    return element(
        "div",
        element("div", stamp, f" · {summary['network']} · {_change(metric, summary)}"),
        *missed,
        table,
        where,
        style="font-variant-numeric:tabular-nums;line-height:1.5",
    )


def _change(metric: Metric, summary: Json) -> str:
    """The drop in words with its 95 % interval."""
    if summary["drop"] is None:
        return f"{metric.name} not measured"
    bounds = summary.get("drop_interval")
    between = f" [{metric(bounds[0])}, {metric(bounds[1])}]" if bounds else ""
    return f"drop {metric.amount(summary['drop'])}{between}"


def _quality(metric: Metric, score: Json) -> str:
    bounds = score.get("quality_interval")
    between = f" [{metric(bounds[0])}, {metric(bounds[1])}]" if bounds else ""
    return show(metric, score.get("quality")) + between


def _value(key: str, score: Json) -> str:
    value, wide = score.get(key), score.get("latency_spread_ms")
    if key == "latency_ms" and value is not None and wide is not None:
        return f"{show(key, value)} ± {spread(wide, value)}"
    return show(key, value)


def _row(cells: tuple[str, ...]) -> Markup:
    head = element("th", cells[0], scope="row", style="text-align:left;padding:.25em 1em .25em 0")
    return element("tr", head, *(element("td", cell, style=CELL) for cell in cells[1:]))
