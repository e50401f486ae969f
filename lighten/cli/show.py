"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lighten.core.files import write_json
from lighten.errors import LightenError
from lighten.report.metric import Metric

Tell = Callable[[str, float, float], None]

out = Console()
err = Console(stderr=True)


def error(problem: LightenError) -> None:
    """One clear sentence on stderr, and what to do next below it."""
    err.print("error:", style="bold red", end=" ")
    err.print(problem.message, markup=False, highlight=False, soft_wrap=True)
    if problem.hint:
        err.print(problem.hint, markup=False, highlight=False, soft_wrap=True)


def save(path: Path | None, value: Any) -> None:
    """Write `value` as JSON where `--json` asked for it."""
    if path:
        write_json(path, value)


@contextmanager
def progress() -> Iterator[Tell]:
    """A progress display on stderr; yields a callable (stage, done, total).

    Where stderr is no terminal, one line as each stage begins.
    """
    if not err.is_terminal:
        yield _lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as display:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: float, total: float) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    display.update(task, total=1, completed=1)
                tasks[stage] = display.add_task(stage, total=total)
            display.update(tasks[stage], total=total, completed=done)

        yield tell


def _lines() -> Tell:
    seen: set[str] = set()

    def tell(stage: str, done: float, total: float) -> None:
        if stage not in seen:
            seen.add(stage)
            err.print(f"{datetime.now():%H:%M:%S} {stage}", markup=False, highlight=False)

    return tell


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table: the first column to the left, the others to the right."""
    view = Table(title=Text(title), title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        view.add_column(Text(column), justify="left" if index == 0 else "right")
    for row in rows:
        view.add_row(*(Text(str(cell)) for cell in row))  # "lighten[train]" is no style
    out.print(view)


def said(text: str) -> None:
    """One line of plain words."""
    Console(highlight=False).print(text, markup=False)


def size(count: float) -> str:
    """Bytes as a person reads them.

    >>> size(1536), size(2_500_000)
    ('1.5 kB', '2.50 MB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"


def count(number: float) -> str:
    """Large counts with a unit.

    >>> count(40_813_184), count(512)
    ('40.81 M', '512')
    """
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number:.0f}"


def _gap(gap: float | None) -> str:
    if gap is None:
        return "by the predictions no choice meets every limit"
    return f"the choice was solved to an optimality gap of {gap:.2%}"


def before_after(summary: Mapping[str, Any]) -> None:
    """The table a compression ends with, and whether the budget is met."""
    before, after = summary["before"], summary["after"]
    metric = Metric.of(summary)

    def quality(score: Mapping[str, Any]) -> str:
        low, high = score["quality_interval"]
        return f"{metric(score['quality'])} [{metric(low)}, {metric(high)}]"

    def latency(score: Mapping[str, Any]) -> str:
        return f"{score['latency_ms']:.4f} ± {score['latency_spread_ms']:.4f}"

    def ratio(name: str) -> str:
        return f"{before[name] / after[name]:.2f}x less"

    low, high = summary["drop_interval"]
    rows = [
        (
            f"{metric.title}, test",
            quality(before),
            quality(after),
            f"drop {metric.amount(summary['drop'])} [{metric(low)}, {metric(high)}]",
        ),
        ("latency, ms", latency(before), latency(after), f"{summary['speedup']:.2f}x faster"),
        ("bytes", size(before["bytes"]), size(after["bytes"]), ratio("bytes")),
        ("MACs", count(before["macs"]), count(after["macs"]), ratio("macs")),
        (
            "parameters",
            count(before["parameters"]),
            count(after["parameters"]),
            ratio("parameters"),
        ),
    ]
    columns = (
        "",
        f"before ({summary['reference']} fp32)",
        f"after ({summary['backend']})",
        "change",
    )
    table(summary["network"], columns, rows)
    if summary["search"]:
        search = summary["search"]
        out.print(
            f"{search['trials']} recipes tried; {_gap(search['gap'])}, with a latency model that "
            f"fits its measurements to {search['latency_model_fit']:.1%}.",
            highlight=False,
            soft_wrap=True,
        )
    for note in summary["notes"]:
        out.print(note, markup=False, highlight=False)
    if summary["met"] is None:
        out.print("The recipe was replayed; no budget was asked for.")
    elif summary["met"]:
        out.print("The budget is met.", style="bold green")
    else:
        out.print("The budget is not met: " + " ".join(summary["missed"]), style="bold yellow")
