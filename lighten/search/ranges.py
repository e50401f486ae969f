"""What flowed through the int8 layers during calibration, and the range that was chosen for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.backends.eager import activations
from lighten.core.task import Batch
from lighten.formats.calibrate import Histogram
from lighten.formats.integer import Integer
from lighten.program.flow import LAYERS
from lighten.program.ir import Program
from lighten.program.quantize import observe
from lighten.search.workbench import Built, Workbench

Array = np.ndarray[Any, Any]
BINS = 32  # kept per tensor
DIGITS = 6  # significant ones


def calibration(bench: Workbench, built: Built) -> dict[str, Any]:
    """One histogram per tensor that an int8 layer reads, with its range; empty without int8."""
    eight = built.recipe.by("quantize")
    if not eight:
        return {}

    def observed() -> dict[str, Any]:
        batches = [Batch(batch.inputs, None) for batch in bench.calibration]
        seen = observe(bench.lowered(built.module), batches, activations)
        return {
            "calibrator": dict(eight[0].settings).get("calibrator", "mse"),
            "samples": sum(len(batch) for batch in batches),
            "tensors": tensors(built.program, seen),
        }

    found: dict[str, Any] = bench.remember(f"calibration/{built.recipe.digest}", observed)
    return found


def tensors(program: Program, seen: Mapping[str, Histogram]) -> list[dict[str, Any]]:
    """The int8 tensors that layers read, in the network's order."""
    readers: dict[str, list[str]] = {}
    for op in program.ops:
        form = program.values[op.inputs[0]].format if op.kind in LAYERS else None
        if isinstance(form, Integer):
            readers.setdefault(op.inputs[0], []).append(op.name)
    found = []
    for name, layers in readers.items():
        histogram = seen.get(name.removesuffix(".int8"))
        value = program.values[name]
        if histogram is None or not histogram.total or value.params is None:
            continue
        codes = np.array([value.format.low, value.format.high], np.float32)  # type: ignore[union-attr]
        low, high = value.format.decode(codes, value.params)  # type: ignore[union-attr]
        told = {"name": name, "layers": layers, "range": [_short(low), _short(high)]}
        found.append({**told, **compact(histogram, float(low), float(high))})
    return found


def compact(histogram: Histogram, low: float, high: float) -> dict[str, Any]:
    """`BINS` bins from the least to the largest value seen, and the share beyond [low, high]."""
    centres, counts = histogram.centres, histogram.counts
    edges = np.linspace(histogram.low, histogram.high, BINS + 1)
    if edges[0] == edges[-1]:
        edges = np.linspace(edges[0] - 0.5, edges[0] + 0.5, BINS + 1)
    inside = np.clip(centres, edges[0], edges[-1])
    bins, _ = np.histogram(inside, edges, weights=counts)
    half = histogram.width / 2
    beyond = counts[(centres - half > high) | (centres + half < low)].sum()
    return {
        "seen": [_short(edges[0]), _short(edges[-1])],
        "bins": [int(count) for count in bins],
        "clipped": _short(beyond / histogram.total),
    }


def _short(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")
