"""From a space and a latency model to the numbers of the integer program.

Every op becomes a term over the places it depends on. Sums of groups (a zero-padded or concatenated
stream) become totals of the problem, which are exact; only a sum with more than `GRID` possible
values is rounded up to a grid. Number formats are looked at all float and all int8; where one layer
is float and the next int8, a cast at full width is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lighten.search.dependence import Use
from lighten.search.latency_model import LatencyModel
from lighten.search.problem import Node, Problem, Term, Total
from lighten.search.space import Space

Array = np.ndarray[Any, Any]
GRID = 20
FLOAT_BYTES, INT8_BYTES, SCALE_BYTES = 4.0, 1.0, 5.0  # per weight, per weight, per channel


def price(
    space: Space, model: LatencyModel, uses: Mapping[str, Use], file_bytes: int | None = None
) -> Problem:
    """What every choice costs: "latency" in ms, "macs", "size" in bytes; no losses yet.

    `file_bytes` is the size of the file of the network with nothing done: what it holds beside
    weights is taken to stay.
    """
    nodes = tuple(Node(p.key, p.widths, (0.0,) * len(p.edits)) for p in space.places)
    book = _Book({place.key: i for i, place in enumerate(space.places)}, space)
    terms = [_term(name, use, (book, model)) for name, use in uses.items()]
    terms += [t for name in uses if (t := _boundary(name, uses, (book, model)))]
    problem = Problem(nodes, tuple(terms), tuple(book.totals))
    stored = problem.cost(problem.mildest, "size")
    rest = max(0.0, file_bytes - stored) if file_bytes is not None else 0.0
    return replace(problem, constants={"latency": model.constant, "size": rest})


@dataclass
class _Book:
    """Positions of the places, and the totals made so far."""

    at: Mapping[str, int]
    space: Space
    totals: list[Total] = field(default_factory=list)

    def side(self, full: float, slopes: Mapping[str, float]) -> tuple[int | None, Array]:
        """The node a width goes with (None: fixed) and the width at each of its choices."""
        known = [(self.at.get(f"channels:{name}"), slope) for name, slope in slopes.items()]
        parts = tuple(sorted((at, slope) for at, slope in known if at is not None))
        places = self.space.places
        base = full - sum(slope * places[at].widths[0] for at, slope in parts)
        if not parts:
            return None, np.array([full])
        if len(parts) == 1:
            (at, slope) = parts[0]
            return at, base + slope * np.array(places[at].widths)
        total = Total(base, parts, self._grid(base, parts))
        if total not in self.totals:
            self.totals.append(total)
        return len(places) + self.totals.index(total), np.array(total.grid)

    def _grid(self, base: float, parts: Sequence[tuple[int, float]]) -> tuple[float, ...]:
        """Every value the sum can take, or `GRID` of them spread evenly, with the largest."""
        sums = {base}
        for at, slope in parts:
            widths = self.space.places[at].widths
            sums = {round(s + slope * width, 6) for s in sums for width in widths}
            if len(sums) > 50 * GRID:
                sums = set(np.linspace(min(sums), max(sums), 50 * GRID).round(6).tolist())
        values = np.array(sorted(sums))
        if len(values) > GRID:
            values = values[np.unique(np.linspace(0, len(values) - 1, GRID).round().astype(int))]
        return tuple(map(float, values))


def _term(name: str, use: Use, known: tuple[_Book, LatencyModel]) -> Term:
    """An op's tables over (what it reads, what it writes, its bits), as far as they may change."""
    book, model = known
    inner, read = book.side(use.shape.read, use.read)
    outer, written = book.side(use.shape.written, use.written)
    bits = book.at.get(f"quantize:{use.layer}")
    forms = len(book.space.places[bits].edits) if bits is not None else 1
    if inner is not None and inner == outer:  # one group on both sides: depthwise, residual
        widths = [(r, w) for r, w in zip(read, written, strict=True)]
        nodes = [inner]
    else:
        widths = [(r, w) for r in read for w in written]
        nodes = [node for node in (inner, outer) if node is not None]
    sizes = {inner: len(read), outer: len(written)}
    shape = [sizes[node] for node in nodes] + [forms] * (bits is not None)
    tables = _tables(use, widths, (model, forms))
    nodes = [*nodes, bits] if bits is not None else nodes
    gates = tuple((book.at[f"blocks:{b}"], 1) for b in use.blocks if f"blocks:{b}" in book.at)
    shaped = {quantity: table.reshape(shape) for quantity, table in tables.items()}
    return Term(name, tuple(nodes), shaped, gates)


def _boundary(name: str, uses: Mapping[str, Use], known: tuple[_Book, LatencyModel]) -> Term | None:
    """What it costs that a layer and the next one compute in different formats: while both are."""
    book, model = known
    use = uses[name]
    here, there = book.at.get(f"quantize:{name}"), book.at.get(f"quantize:{use.then}")
    if here is None or there is None:
        return None
    cost = model.cast_ms(use.shape)
    gone = dict.fromkeys((*use.blocks, *uses[use.then].blocks))
    gates = tuple((book.at[f"blocks:{b}"], 1) for b in gone if f"blocks:{b}" in book.at)
    rounded = [np.arange(len(book.space.places[at].edits)) > 0 for at in (here, there)]
    tables = {"latency": cost * (rounded[0][:, None] != rounded[1][None, :])}
    return Term(f"{name} to {use.then}", (here, there), tables, gates)


def _tables(
    use: Use, widths: Sequence[tuple[float, float]], known: tuple[LatencyModel, int]
) -> dict[str, Array]:
    """Latency, MACs and bytes for each (read, written), in each of so many forms, float first."""
    model, forms = known
    columns = [use.at(form) for form in range(forms)]
    tables = {q: np.zeros((len(widths), len(columns))) for q in ("latency", "macs", "size")}
    for bits, shape in enumerate(columns):
        if shape is None:
            continue
        for row, (read, written) in enumerate(widths):
            there = shape.at(float(read), float(written))
            tables["latency"][row, bits] = model.op_ms(there)
            tables["macs"][row, bits] = there.macs
            if there.weights:
                each, channel = (INT8_BYTES, SCALE_BYTES) if bits else (FLOAT_BYTES, 0.0)
                stored = there.weights * each + written * (channel + FLOAT_BYTES)
                tables["size"][row, bits] = stored
    return tables
