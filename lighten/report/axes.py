"""Scales, ticks and frames: what every chart here stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lighten.report.markup import Markup, element

WIDTH, HEIGHT = 680, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 18, 36, 58  # margins around the plotted area


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` onto pixels from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers inside, about `wanted` of them: steps of 1, 2 or 5 times a power of ten.

        >>> Scale(0.0, 1.0, 0.0, 100.0).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 5, 10), key=lambda m: abs(m * power - rough))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def fitted(values: Sequence[float], start: float, stop: float, zero: bool = False) -> Scale:
    """A scale with a little air around `values`, from 0 where `zero`."""
    low, high = min(values), max(values)
    air = 0.07 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(0.0 if zero else low - air, high + air, start, stop)


@dataclass(frozen=True)
class Frame:
    """The plotted area: two scales, their tick formats and their names."""

    x: Scale
    y: Scale
    x_format: Callable[[float], str]
    y_format: Callable[[float], str]
    x_name: str
    y_name: str

    def draw(self) -> Markup:
        """Grid lines, tick labels and axis names."""
        parts = [self._row(tick) for tick in self.y.ticks()]
        parts += [self._column(tick) for tick in self.x.ticks()]
        parts.append(element("text", self.y_name, class_="name", x=4, y=16))
        end = element("text", self.x_name, class_="name end", x=WIDTH - RIGHT, y=HEIGHT - 5)
        return Markup("".join([*parts, end]))

    def _row(self, tick: float) -> Markup:
        y = self.y(tick)
        line = element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)
        label = element("text", self.y_format(tick), class_="tick end", x=LEFT - 8, y=y + 4)
        return Markup(line + label)

    def _column(self, tick: float) -> Markup:
        x, floor = self.x(tick), HEIGHT - BOTTOM
        line = element("line", class_="tickmark", x1=x, x2=x, y1=floor, y2=floor + 5)
        label = element("text", self.x_format(tick), class_="tick middle", x=x, y=floor + 22)
        return Markup(line + label)


def x_scale(values: Sequence[float], zero: bool = False) -> Scale:
    """Left to right across the plotted area."""
    return fitted(values, LEFT, WIDTH - RIGHT, zero)


def y_scale(values: Sequence[float]) -> Scale:
    """Bottom to top across the plotted area."""
    return fitted(values, HEIGHT - BOTTOM, TOP)


def drawing(label: str, *parts: Markup) -> Markup:
    """The chart as one SVG; `label` is what a screen reader says first."""
    return element(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=label,
    )
