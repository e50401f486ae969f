"""Timing convolutions over tiles: where zeros are too few to win is measured, per shape (G27).

A kernel's time grows by the same with each entry of its stream, so two of them tell all others:

    ms  │          ╱ few entries, many entries: what is timed
        │    ●╱  ● the dense kernel, timed by `tuning`
        │  ╱─ ─ ─ ─ ─ ─ ─ ─
        └───────┴──────── entries
              crossover
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from lighten.emit import Isa, build
from lighten.engine import tuning
from lighten.engine.memory import aligned
from lighten.engine.steps import Plan
from lighten.engine.tile_records import Point, keep, plainly, recall
from lighten.engine.tiles import Choice
from lighten.kernels import quads, share
from lighten.kernels.tile_schedule import TiledConv

Array = np.ndarray[Any, Any]
DENSITIES = (0.1, 0.5)


def tune(made: Plan, seconds: float) -> int:
    """Time the convolutions that could run over tiles and were not timed before, until the time is
    up; how many were.
    """
    end, timed = time.monotonic() + seconds, 0
    for choice in unknown(made):
        if time.monotonic() > end:
            break
        points = [measure(choice, made.isa, density) for density in DENSITIES]
        keep(choice.conv, made.isa, points)
        timed += 1
    return timed


def unknown(made: Plan) -> Iterator[Choice]:
    """Those that this machine has not timed, as they lie where all of them run over tiles."""
    seen: set[TiledConv] = set()
    for choice in made.tiling.judged:
        conv = plainly(choice.conv)
        if conv not in seen and recall(conv, made.isa) is None:
            seen.add(conv)
            yield choice


def measure(choice: Choice, isa: Isa, density: float) -> Point:
    """A kernel on noise of that density, timed: its entries, milliseconds."""
    conv, kernel = plainly(choice.conv), choice.kernel
    rng, (source, target) = np.random.default_rng(0), (conv.source, conv.target)
    codes = source.together == quads.CODES
    kind, most = (np.int8, 127) if codes else (np.float32, 1)
    kept = rng.random((target.channels, source.groups, 1, *conv.window.kernel)) < density
    kept = np.repeat(kept, source.together, 2).reshape(target.channels, -1, *conv.window.kernel)
    weight = (rng.uniform(1, most, kept.shape) * kept)[:, : source.channels].astype(kind)
    entries = kernel.entries(weight)
    how = kernel.schedule(conv, isa, entries)
    numbers = target.groups * target.together
    held = [
        aligned(source.sample),
        _on_line(kernel.pack(weight, conv, how)),
        *(aligned(size) for size in (12 * numbers + 64, 64, target.sample)),
    ]
    if kernel.workspace(conv, how):
        held.append(aligned(kernel.workspace(conv, how)))
    kinds = [ctypes.c_void_p] * len(held)
    call = build([kernel.emit("kernel", conv, how, isa)]).function("kernel", *kinds, *share.KINDS)
    places = [array.ctypes.data for array in held]
    return entries, tuning.best(call, places, [places[1]], 1)


def _on_line(x: Array) -> Array:
    held = aligned(x.nbytes)
    held[...] = x.view(np.uint8)
    return held
