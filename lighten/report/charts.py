"""The charts: every trial between time and quality, and what training looked like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighten.report.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    drawing,
    x_scale,
    y_scale,
)
from lighten.report.markup import Markup, element
from lighten.report.metric import Metric
from lighten.report.numbers import FORMATS, plain, show

AXES = {"latency_ms": "latency", "bytes": "size", "macs": "MACs"}  # key of a score → its name
CURVE_POINTS = 300


@dataclass(frozen=True)
class Mark:
    """One network on the chart. `kind` is original, control, trial, finished, predicted, chosen.

    `about` is the id of the element that holds its recipe; `series` the class of its run, where
    several share a chart.
    """

    kind: str
    title: str
    score: Mapping[str, Any]
    about: str | None = None
    front: bool = False
    series: str = ""


@dataclass(frozen=True)
class Region:
    """What was asked for: at most `limit` on the axis (or anything), at least `floor` quality.

    `floor` is the most that is allowed where a lower quality number is better.
    """

    limit: float | None
    floor: float
    higher_is_better: bool


def front_chart(
    marks: Sequence[Mark], axis: str, metric: Metric, region: Region | None
) -> Markup | None:
    """Quality against `axis`: marks, the staircase of the front, the budget's region."""
    shown = [m for m in marks if _value(m, axis) is not None and _value(m, "quality") is not None]
    if not shown:
        return None
    xs = [m.score[axis] for m in shown] + ([region.limit or 0.0] if region else [])
    ys = [m.score["quality"] for m in shown] + ([region.floor] if region else [])
    ys += [
        bound for m in shown if m.kind in RANGED for bound in m.score.get("quality_interval") or ()
    ]
    x_name, y_name = f"{AXES[axis]} →", metric.axis
    frame = Frame(x_scale(xs, zero=True), y_scale(ys), FORMATS[axis], plain, x_name, y_name)
    drawn = sorted(shown, key=lambda m: list(SHAPES).index(m.kind))
    parts = [_region(region, frame)] if region else []
    parts.append(frame.draw())
    for series in dict.fromkeys(mark.series for mark in shown):
        own = [mark for mark in shown if mark.series == series]
        parts.append(_staircase(own, axis, metric.higher_is_better, frame))
    parts += [_mark(mark, axis, frame, metric) for mark in drawn]
    return drawing(f"{metric.name} against {AXES[axis]} of {len(shown)} networks", *parts)


def curve_chart(
    runs: Sequence[tuple[str, Sequence[tuple[float, float]]]], name: str, named: int
) -> Markup | None:
    """One line per run, from `(step, value)` pairs; those after the first `named` are faint."""
    points = [point for _, line in runs for point in line]
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    frame = Frame(x_scale(xs, zero=True), y_scale(ys), plain, plain, "step →", name)
    kinds = [f"series{i % 6}" if i < named else "faint" for i in range(len(runs))]
    lines = [
        _curve(kind, label, line, frame)
        for kind, (label, line) in zip(kinds, runs, strict=True)
        if line
    ]
    return drawing(f"{name[2:]} over training steps", frame.draw(), *reversed(lines))


def _circle(x: float, y: float) -> Markup:
    return element("circle", cx=x, cy=y, r=5)


def _diamond(x: float, y: float) -> Markup:
    return element("path", d=f"M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z")


def _square(x: float, y: float) -> Markup:
    return element("rect", x=x - 6, y=y - 6, width=12, height=12)


def _star(x: float, y: float) -> Markup:
    steps = "l3.2 7 7.6.8-5.7 5.1 1.6 7.5-6.7-3.8-6.7 3.8 1.6-7.5-5.7-5.1 7.6-.8z"
    return element("path", d=f"M{x:.1f} {y - 11:.1f}{steps}")


# kind → its shape; later ones are drawn over earlier ones
SHAPES = {
    "predicted": _circle,
    "trial": _circle,
    "finished": _circle,
    "control": _square,
    "original": _diamond,
    "chosen": _star,
}
RANGED = ("original", "control", "chosen")  # drawn with their 95 % interval


def _value(mark: Mark, key: str) -> float | None:
    value = mark.score.get(key)
    return None if value is None else float(value)


def _mark(mark: Mark, axis: str, frame: Frame, metric: Metric) -> Markup:
    x, y = frame.x(mark.score[axis]), frame.y(mark.score["quality"])
    bounds = mark.score.get("quality_interval") if mark.kind in RANGED else None
    low, high = bounds or (mark.score["quality"],) * 2
    whisker = element("line", class_="whisker", x1=x, x2=x, y1=frame.y(low), y2=frame.y(high))
    quality = show(metric.amount, _value(mark, "quality"))
    facts = " · ".join((quality, *(show(key, _value(mark, key)) for key in AXES)))
    return element(
        "g",
        whisker if bounds else Markup(""),
        SHAPES[mark.kind](x, y),
        class_=" ".join(["mark", mark.kind, *["front"] * mark.front, *mark.series.split()]),
        tabindex=0,
        role="img",
        aria_label=f"{mark.title}: {facts}",
        aria_describedby=mark.about,
        data_tip=f"{mark.title}\n{facts}",
    )


def _region(region: Region, frame: Frame) -> Markup:
    """Left of the limit and on the good side of the floor."""
    right = WIDTH - RIGHT if region.limit is None else frame.x(region.limit)
    floor = frame.y(region.floor)
    top, bottom = (TOP, floor) if region.higher_is_better else (floor, HEIGHT - BOTTOM)
    width, height = max(0.0, right - LEFT), max(0.0, bottom - top)
    return element("rect", class_="region", x=LEFT, y=top, width=width, height=height)


def _staircase(marks: Sequence[Mark], axis: str, higher: bool, frame: Frame) -> Markup:
    """The best quality up to each point of the axis, over the front's measured networks."""
    sign = 1.0 if higher else -1.0
    steps: list[tuple[float, float]] = []
    members = [m for m in marks if m.front and m.kind != "predicted"]
    for mark in sorted(members, key=lambda m: float(m.score[axis])):
        quality = float(mark.score["quality"])
        if not steps or sign * quality > sign * steps[-1][1]:
            steps.append((float(mark.score[axis]), quality))
    if not steps:
        return Markup("")
    x, y = frame.x(steps[0][0]), frame.y(steps[0][1])
    path = f"M{x:.1f} {y:.1f}"
    path += "".join(f"H{frame.x(x):.1f}V{frame.y(y):.1f}" for x, y in steps[1:])
    return element(
        "path", class_=f"staircase {marks[0].series}".rstrip(), d=f"{path}H{WIDTH - RIGHT}"
    )


def _curve(kind: str, label: str, line: Sequence[tuple[float, float]], frame: Frame) -> Markup:
    every = max(1, len(line) // CURVE_POINTS)
    kept = [*line[::every], *line[-1:]]
    points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in kept)
    title = element("title", label)
    dot = [
        element("circle", class_="dot", cx=frame.x(x), cy=frame.y(y), r=3)
        for x, y in (line if len(line) <= 40 else ())
    ]
    path = element("polyline", title, points=points)
    return element("g", path, *dot, class_=f"curve {kind}")
