"""The page: one self-contained HTML file, put together from its sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from lighten.core.files import write_text
from lighten.report.calibration import calibration
from lighten.report.further import further
from lighten.report.layers import layers
from lighten.report.markup import Markup, element
from lighten.report.sections import front, machine, reproduce, training
from lighten.report.source import Source
from lighten.report.spent import spent
from lighten.report.verdict import asked, comparison, headline

# from top to bottom; a section that has nothing to show is left out
SECTIONS: tuple[Callable[[Source], Markup | None], ...] = (
    headline,
    asked,
    comparison,
    front,
    spent,
    layers,
    further,
    training,
    calibration,
    machine,
    reproduce,
)


def write_report(directory: Path) -> Path:
    """Write `report.html` from what the run left in `directory`, and give its path.

    Reads `summary.json`, and where they are there `trials.jsonl`, `front.json`, `layers.json`,
    `time.json`, `training.json`, `calibration.json`, `recipe.yaml`. Raises
    `InputError` where the summary is missing or damaged.
    """
    path = directory / "report.html"
    write_text(path, render(Source.read(directory)))
    return path


def render(source: Source) -> str:
    """The page as text: style, script and charts inside, nothing fetched."""
    parts = [section(source) for section in SECTIONS]
    return whole(f"{source.summary['network']} · lighten", [part for part in parts if part])


def whole(title: str, parts: Sequence[Markup]) -> str:
    """A self-contained page of these parts."""
    return Template(_text("page.html")).substitute(
        title=element("title", title),
        style=_text("style.css"),
        script=_text("script.js"),
        body="\n".join(parts),
    )


def _text(name: str) -> str:
    return files("lighten.report").joinpath(name).read_text(encoding="utf-8")
