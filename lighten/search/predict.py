"""The latency model of one network on this device: draw variants, measure, fit, find the steps.

About `VARIANTS` networks (fewer where compiling takes long) are compiled and timed: uniform keep
ratios, random ones, float, int8 and mixed. Each measurement is remembered before it is used, and
kept on this device for the next run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
from torch import nn

from lighten import techniques
from lighten.backends.native import Native, code_digest
from lighten.core.protocols import Backend
from lighten.core.recipe import Edit, Recipe
from lighten.formats.calibrate import Histogram
from lighten.measure import cache, installed, latency
from lighten.measure.probe import probe
from lighten.network.graph import Graph, Group
from lighten.program.ir import Program
from lighten.program.quantize import quantizable, quantize
from lighten.search.costs import price
from lighten.search.dependence import Build, Use, first_slices, observe
from lighten.search.latency_model import LatencyModel, Observation, fit
from lighten.search.options import Options
from lighten.search.problem import Problem
from lighten.search.shapes import Shape, shapes
from lighten.search.space import Space

Array = np.ndarray[Any, Any]
VARIANTS = 48
LEAST, SHARE = 24, 0.25  # after so many, no more than this share of the time that there is
PROFILED = 3  # every third variant is also timed op by op
SECONDS = 0.2  # of timing per variant,
ROUNDS = 10  # in so many bursts
RATIOS = (0.2, 1.0)  # keep ratios drawn between
CHOICES = 9  # kept counts per group, at most
SLOW = 1.05  # times what the others explain: such a measurement was disturbed, perhaps
TRUSTED = 0.1  # a fit worse than this was disturbed: its measurements are not kept for other runs


class Bench(Protocol):
    """What measuring needs of the workbench."""

    @property
    def graph(self) -> Graph: ...
    @property
    def options(self) -> Options: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def inputs(self) -> tuple[Array, ...]: ...
    @property
    def original_bytes(self) -> bytes: ...
    @property
    def remember(self) -> Callable[[str, Callable[[], Any]], Any]: ...
    @property
    def progress(self) -> Callable[[str, float, float], None]: ...
    def lowered(self, module: nn.Module) -> Program: ...


def measure(bench: Bench, variants: int = VARIANTS) -> LatencyModel:
    """The latency model of the network on this device, backend, threads and batch.

    What took longer than the others explain is timed once more, and the quicker time counts.
    """
    build, int8 = builder(bench), eight(bench)
    recipes = draw(bench.graph, bench.options.seed, variants, int8)
    with _Kept(bench) as kept:

        def timed(i: int, again: str = "") -> Observation:
            profiled = i % PROFILED == 0
            what = ("ops" if profiled else "whole") + again
            key = f"{kept.subject}/{recipes[i].digest}/{what}"
            compute = _kept_or(kept, key, _timing(bench, build, (recipes[i], profiled)))
            kept.values[key] = bench.remember(key, compute)
            return _observation(kept.values[key])

        counted = _in_time(bench, timed, variants)
        recipes = recipes[: bench.remember(f"{kept.subject}/variants", counted)]
        found = [timed(i) for i in range(len(recipes))]
        first = fit(found)
        for i, seen in enumerate(found):
            if seen.total > SLOW * first.of(seen.shapes):
                bench.progress("latency model, again", i, len(recipes))
                found[i] = min(seen, timed(i, " again"), key=lambda each: each.total)
        model = fit(found)
        kept.trusted = model.residual <= TRUSTED
    bench.progress("latency model", len(recipes), len(recipes))
    uses = observe(bench.graph, build, int8)
    steps = {group.name: staircase(model, uses, group) for group in bench.graph.groups}
    return replace(model, steps=steps, uses=uses)


def _in_time(bench: Bench, timed: Callable[[int], Any], count: int) -> Callable[[], int]:
    """Times one variant after the other while there is time; how many."""

    def counted() -> int:
        began = time.monotonic()
        for i in range(count):
            if i >= LEAST and time.monotonic() - began > SHARE * bench.options.time:
                return i
            bench.progress("latency model", i, count)
            timed(i)
        return count

    return counted


def problem(bench: Bench, space: Space, model: LatencyModel) -> Problem:
    """The budgeted choice in numbers: what each choice of the space costs; no losses yet."""
    return price(space, model, model.uses, len(bench.original_bytes))


def builder(bench: Bench) -> Build:
    """Makes the Program of a recipe for timing: cut, lowered, and int8 with made-up ranges."""
    made_up = Histogram.of(np.array([0.0, 1.0, 6.0]))

    def build(recipe: Recipe) -> Program:
        program = bench.lowered(techniques.apply(bench.graph, recipe))
        there = set(quantizable(program))
        layers = [edit.place for edit in recipe.by("quantize") if edit.place in there]
        ranges = dict.fromkeys(program.values, made_up)
        joins = bench.backend.joins
        return quantize(program, ranges, layers, "max", joins) if layers else program

    return build


def eight(bench: Bench) -> tuple[Edit, ...]:
    """What makes all layers int8; nothing where the backend runs the network in float alone."""
    build, int8 = builder(bench), techniques.everywhere("quantize", bench.graph)
    missing = bench.backend.missing
    if int8 and set(missing(build(Recipe(int8)))) - set(missing(build(Recipe()))):
        return ()
    return int8


def draw(graph: Graph, seed: int, count: int, eight: Sequence[Edit]) -> list[Recipe]:
    """Recipes over all keep ratios and formats; first the whole network, in float and in int8
    (`eight` are the edits that make it so, if it can be).

    A third keep one ratio everywhere, the others draw one per group. Half of these rounded to a
    multiple of four, as the search will; each is float, int8, or (a quarter) mixed by layer. A
    third also drop blocks: so the time of a call is told from that of its ops.
    """
    rng = np.random.default_rng(seed)
    found = [Recipe(), Recipe(tuple(eight))] if eight else [Recipe()]
    while len(found) < count:
        same, rounded = rng.random() < 1 / 3, rng.random() < 1 / 2
        ratios = np.full(len(graph.groups), rng.uniform(*RATIOS))
        if not same:
            ratios = rng.uniform(*RATIOS, len(graph.groups))
        edits = [
            first_slices(group, kept)
            for group, ratio in zip(graph.groups, ratios, strict=True)
            if (kept := _count(group.size, ratio, 4 if rounded else 1)) < group.size
        ]
        dropped = _dropped(graph, rng)
        gone = {place for name in dropped for place in graph.inside(name)}
        there = [edit for edit in (*edits, *_formats(eight, rng)) if edit.place not in gone]
        found.append(Recipe((*there, *(Edit.of("blocks", name) for name in dropped))))
    return [recipe.without_training() for recipe in found[:count]]


def _count(size: int, ratio: float, multiple: int) -> int:
    exact = size * ratio
    kept = round(exact / multiple) * multiple if size >= 2 * multiple else round(exact)
    return int(min(size, max(1, kept)))


def _dropped(graph: Graph, rng: np.random.Generator) -> list[str]:
    """Names of blocks to drop: in a third of the variants, any share of them."""
    share = rng.random() if rng.random() < 1 / 3 else 0.0
    return [block.name for block in graph.blocks if rng.random() < share]


def _formats(eight: Sequence[Edit], rng: np.random.Generator) -> list[Edit]:
    kind = rng.random()
    share = 1.0 if kind < 0.45 else 0.0 if kind < 0.75 else rng.random()
    return [edit for edit in eight if rng.random() < share]


def _timing(bench: Bench, build: Build, what: tuple[Recipe, bool]) -> Callable[[], dict[str, Any]]:
    recipe, profiled = what

    def measured() -> dict[str, Any]:
        program = build(recipe)
        executable = bench.backend.compile(program, bench.options.threads)
        timings = latency.interleave({"": executable}, bench.inputs, SECONDS, ROUNDS)
        ops = dict(executable.profile(bench.inputs)) if profiled else {}
        found = {name: list(asdict(shape).values()) for name, shape in shapes(program).items()}
        return {"total": timings.undisturbed(""), "ops": ops, "shapes": found}

    return measured


def _observation(value: Mapping[str, Any]) -> Observation:
    found = {name: Shape(*fields) for name, fields in value["shapes"].items()}
    return Observation(found, value["total"], value["ops"])


def staircase(model: LatencyModel, uses: Mapping[str, Use], group: Group) -> tuple[int, ...]:
    """Kept counts worth considering: walking down from the full width, each that saves a share.

    So of a step of the staircase only the widest count is taken, but none is less than half of
    the one before. In int8 where there is int8.
    """
    touched = [use for use in uses.values() if group.name in {**use.read, **use.written}]
    times = [_time(model, touched, group, kept) for kept in range(group.size + 1)]
    least = max(1, int(np.ceil(0.125 * group.size)))
    worth = max(times[group.size] - times[least], 1e-9) / (CHOICES - 1)
    multiple = 4 if group.size >= 32 else 2 if group.size >= 8 else 1
    found = [group.size]
    for kept in range(group.size - 1, least - 1, -1):
        saves = times[found[-1]] - times[kept] >= 0.9 * worth
        if kept % multiple == 0 and (saves or 2 * (kept - multiple) < found[-1]):
            found.append(kept)
    lowest = -(-least // multiple) * multiple
    return tuple(found if found[-1] == lowest or len(found) >= CHOICES else [*found, lowest])


def _time(model: LatencyModel, touched: Sequence[Use], group: Group, kept: int) -> float:
    total, gone = 0.0, group.size - kept
    for use in touched:
        shape = use.int8 or use.shape
        read = max(0.0, shape.read - gone * use.read.get(group.name, 0.0))
        written = max(0.0, shape.written - gone * use.written.get(group.name, 0.0))
        total += model.op_ms(shape.at(read, written))
    return total


class _Kept:
    """What was measured on this device before, for the same architecture, backend and use."""

    def __init__(self, bench: Bench) -> None:
        options = bench.options
        layers = [(a.name, a.kind, a.input, a.output, str(a.settings)) for a in bench.graph.layers]
        runtime = installed.versions().get(bench.backend.name, "")
        if bench.backend.name == Native.name:
            runtime = code_digest(bench.lowered(bench.graph.module))
        told = json.dumps([layers, str(bench.graph.module.code), runtime])
        what = hashlib.sha256(told.encode()).hexdigest()[:12]
        use = f"{options.threads}t{options.batch}b"
        self.subject = f"latency/{bench.backend.name}/{use}/{what}"
        self.device = probe()
        self.values: dict[str, Any] = cache.load(self.device, self._file) or {}
        self.trusted = False

    @property
    def _file(self) -> str:
        return self.subject.replace("/", "-")

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        if self.trusted:
            cache.save(self.device, self._file, self.values)


def _kept_or(kept: _Kept, key: str, compute: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: kept.values[key] if key in kept.values else compute()
