"""How long a network will take on this device, from what its variants took: measured in context.

Variants of the network are compiled and timed whole, some of them op by op. Ops of one class (kind,
kernel, stride, extent, number formats; the widths are free) share a time that is a non-negative
sum of a few features of (channels read, channels written), also rounded up to the 4, 8 and 16 that
vector code pads to: that is where the staircase comes from. All classes are fitted at once, to the
whole-call times (which count) and the per-op profile (which tells the ops apart).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from lighten.network.graph import Group
from lighten.search.dependence import Use
from lighten.search.shapes import Shape, shapes
from lighten.search.space import grid

Array = np.ndarray[Any, Any]
TOTAL_ERROR = 0.01  # relative standard error of a whole-call time
OP_ERROR = (0.15, 1e-3)  # of a profiled op: relative, and in ms (the clock of some profilers)
RIDGE = 1e-3  # keeps a class seen at one width from running off


def features(read: float, written: float, scale: tuple[float, float]) -> Array:
    """What an op's time may be made of: `[11]`, each about one at full width (`scale`)."""
    full_read, full_written = (max(1.0, side) for side in scale)
    r, w = read / full_read, written / full_written
    r4, r16 = (_up(read, n) / _up(full_read, n) for n in (4, 16))
    w4, w8, w16 = (_up(written, n) / _up(full_written, n) for n in (4, 8, 16))
    return np.array([1.0, r, w, r4, w16, r * w, r * w8, r4 * w16, r4 * w4, r16 * w16, r16])


def _up(width: float, multiple: int) -> float:
    return float(np.ceil(width / multiple) * multiple)


@dataclass(frozen=True)
class Fit:
    """The time of one class: coefficients in ms of `features` at this scale."""

    scale: tuple[float, float]
    coefficients: tuple[float, ...]

    def __call__(self, read: float, written: float) -> float:
        """Milliseconds at these widths."""
        return float(features(read, written, self.scale) @ np.array(self.coefficients))


@dataclass(frozen=True)
class Observation:
    """One variant: its ops, the whole call in ms, and (where profiled) ms per op name."""

    shapes: Mapping[str, Shape]
    total: float
    ops: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of a call, from the shapes of its ops; `residual` is its mean relative error on
    the whole-call times it was fitted to.

    Ops of a class that was never seen take `rate` ms per million multiply-accumulates (or written
    numbers, where they compute nothing). `steps` are the kept counts worth considering, by group,
    and `uses` what every op of the network depends on.
    """

    classes: Mapping[str, Fit]
    constant: float
    rate: float
    residual: float = 0.0
    steps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict, repr=False)

    def counts(self, group: Group) -> Sequence[int]:
        """Kept counts worth considering: the widest of every step of the staircase."""
        return self.steps.get(group.name) or grid(group)

    def op_ms(self, shape: Shape) -> float:
        """Milliseconds of one op in its network."""
        fit = self.classes.get(shape.key)
        if fit is None:
            return self.rate * max(shape.macs, shape.numbers) / 1e6
        return fit(shape.read, shape.written)

    def cast_ms(self, shape: Shape) -> float:
        """Milliseconds of turning what an op writes from one number format into another."""
        casts = {key: fit for key, fit in self.classes.items() if key.startswith("cast")}
        if not casts:
            return self.rate * shape.numbers / 1e6
        extent = shape.key.partition("@")[2].partition(" ")[0]
        near = [fit for key, fit in casts.items() if f">{extent} " in key] or list(casts.values())
        return float(np.mean([fit(shape.written, shape.written) for fit in near]))

    def predict(self, program: Any) -> float:
        """Milliseconds of a call of the Program."""
        return self.of(shapes(program))

    def of(self, found: Mapping[str, Shape]) -> float:
        """Milliseconds of a call that runs these ops."""
        return self.constant + sum(self.op_ms(shape) for shape in found.values())

    def error(self, measured: Iterable[tuple[Any, float]]) -> float:
        """The mean of |predicted − measured| / measured over (Program, ms) pairs."""
        return float(np.mean([abs(self.predict(p) - ms) / ms for p, ms in measured]))


def fit(observations: Sequence[Observation]) -> LatencyModel:
    """The model that explains the observations best, all classes at once (non-negative)."""
    scales = _scales(observations)
    columns = {key: i for i, key in enumerate(scales)}
    size = len(features(1, 1, (1, 1)))
    width = size * len(columns) + 1
    share, _ = _overhead(observations)
    rows, values = [], []

    def place(row: Array, shape: Shape) -> None:
        start = size * columns[shape.key]
        row[start : start + size] += features(shape.read, shape.written, scales[shape.key])

    for seen in observations:
        row = np.zeros(width)
        row[-1] = 1.0
        for shape in seen.shapes.values():
            place(row, shape)
        rows.append(row / (TOTAL_ERROR * seen.total))
        values.append(1 / TOTAL_ERROR)
        for name, shape in seen.shapes.items():
            if seen.ops:
                row, ms = np.zeros(width), share * seen.ops.get(name, 0.0)
                place(row, shape)
                error = OP_ERROR[0] * ms + OP_ERROR[1]
                rows.append(row / error)
                values.append(ms / error)
    typical = float(np.median([seen.total for seen in observations]))
    rows.extend(np.eye(width) * RIDGE / typical * 1e2)
    values.extend([0.0] * width)
    found = _robust(np.array(rows), np.array(values), width)
    fits = {
        key: Fit(scales[key], tuple(map(float, found[size * i : size * (i + 1)])))
        for key, i in columns.items()
    }
    model = LatencyModel(fits, float(found[-1]), _rate(observations))
    errors = [abs(model.of(seen.shapes) - seen.total) / seen.total for seen in observations]
    return LatencyModel(fits, model.constant, model.rate, float(np.mean(errors)))


def _robust(rows: Array, values: Array, width: int) -> Array:
    """Non-negative least squares in which what lies far off (an interrupted call) counts less."""
    weights = np.ones(len(values))
    for _ in range(3):
        found, _ = nnls(rows * weights[:, None], values * weights, maxiter=50 * width)
        off = np.abs(rows @ found - values)
        usual = 1.5 * np.median(off[off > 0]) if (off > 0).any() else 1.0
        weights = np.sqrt(np.minimum(1.0, 2 * usual / np.maximum(off, 1e-12)))
    return np.asarray(found)


def _scales(observations: Sequence[Observation]) -> dict[str, tuple[float, float]]:
    widest: dict[str, tuple[float, float]] = defaultdict(lambda: (1.0, 1.0))
    for seen in observations:
        for shape in seen.shapes.values():
            read, written = widest[shape.key]
            widest[shape.key] = (max(read, shape.read), max(written, shape.written))
    return dict(sorted(widest.items()))


def _overhead(observations: Sequence[Observation]) -> tuple[float, float]:
    """What a profiled ms is of a call's ms, and what a call costs beside its ops."""
    profiled = [seen for seen in observations if seen.ops]
    if not profiled:
        return 1.0, 0.0
    sums = np.array([sum(seen.ops.values()) for seen in profiled])
    totals = np.array([seen.total for seen in profiled])
    design = np.stack([sums, np.ones(len(sums))], axis=1) / totals[:, None]
    (share, constant), _ = nnls(design, np.ones(len(sums)))
    return float(share), float(constant)


def _rate(observations: Sequence[Observation]) -> float:
    work = [sum(s.macs for s in seen.shapes.values()) / 1e6 for seen in observations]
    totals = [seen.total for seen in observations]
    return float(np.median(totals) / max(float(np.median(work)), 1e-6))
