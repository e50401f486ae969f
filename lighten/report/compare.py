"""Runs side by side as a page: one table, and their fronts in one chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lighten.core.files import write_text
from lighten.report.charts import AXES, Mark, front_chart
from lighten.report.markup import Markup, element, scrolling
from lighten.report.page import whole
from lighten.report.runs import Run, table, warnings
from lighten.report.sections import LEGEND, marks
from lighten.report.tabs import tabs

SERIES = 6  # colours; more runs than that share them
NOTE = (
    "A colour for each run; a line is its measured front. Trials are scored on the validation "
    "part, so compare them with each other rather than with the networks scored on the test part."
)


def write_comparison(runs: Sequence[Run], path: Path) -> Path:
    """Write the page about several runs to `path`."""
    parts = [_head(runs), _fronts(runs), _table(runs)]
    title = " · ".join([*(run.name for run in runs), "lighten"])
    write_text(path, whole(title, [part for part in parts if part]))
    return path


def _head(runs: Sequence[Run]) -> Markup:
    """The runs with their colours, and what cannot be compared."""
    found = [element("li", sentence) for sentence in warnings(runs)]
    return element(
        "header",
        element("h1", f"{len(runs)} runs side by side"),
        element("p", *(_key(i, run.name) for i, run in enumerate(runs)), class_="legend"),
        element("ul", *found, class_="missed") if found else Markup(""),
        class_="compared",
    )


def _fronts(runs: Sequence[Run]) -> Markup | None:
    """Every network of every run, where all runs speak of the same metric."""
    if len({run.metric.axis for run in runs}) > 1:
        return None
    drawn = [mark for i, run in enumerate(runs) for mark in _marks(i, run)]
    metric = runs[0].metric
    charts = {
        axis: (AXES[axis], chart)
        for axis in AXES
        if (chart := front_chart(drawn, axis, metric, None))
    }
    if not charts:
        return None
    kinds = [kind for kind in LEGEND if any(mark.kind == kind for mark in drawn)]
    keys = [
        element("span", element("i", class_=f"swatch {kind}"), LEGEND[kind], class_="key")
        for kind in kinds
    ]
    return element(
        "section",
        element("h2", "Their fronts"),
        tabs("fronts", "What quality is drawn against", charts),
        element("p", *keys, class_="legend shapes"),
        element("p", NOTE, class_="note"),
    )


def _marks(number: int, run: Run) -> list[Mark]:
    """The run's marks in its colour; recipes are told in the run's own report."""
    return [
        replace(mark, title=f"{run.name}: {mark.title}", about=None, series=_series(number))
        for mark in marks(run.source)
    ]


def _table(runs: Sequence[Run]) -> Markup:
    heads = [
        element("th", element("i", class_=f"swatch {_series(i)}"), " ", run.name, scope="col")
        for i, run in enumerate(runs)
    ]
    rows = [
        element("tr", element("th", title, scope="row"), *(element("td", text) for text in texts))
        for title, *texts in table(runs)
    ]
    whole_table = element(
        "table",
        element("thead", element("tr", element("td", ""), *heads)),
        element("tbody", *rows),
        class_="runs",
    )
    return element(
        "section", element("h2", "In numbers"), scrolling(whole_table, "Runs side by side")
    )


def _key(number: int, name: str) -> Markup:
    return element("span", element("i", class_=f"swatch {_series(number)}"), name, class_="key")


def _series(number: int) -> str:
    return f"series{number % SERIES}"
