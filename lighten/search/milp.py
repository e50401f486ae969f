"""The budgeted choice solved: an integer program with pairwise (and three-way) terms, by HiGHS.

A layer's time depends on the group it reads, the group it writes and its number format together.
So beside the one-hot choice `x[node, c]` every term has `y[c1, c2, …] ≥ 0`, at most one of which
is lit: `Σ y ≥ 1 − Σ gates` and, for each node, its marginal `Σ y[.., c, ..] ≤ x[node, c]` (the
local-marginal relaxation: tight where the terms form a tree, as along a chain of layers). A total
is a one-hot node of its own, tied to the sum it stands for. Given x, the y are decided, so only x
is integer.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from lighten.search.problem import Choice, Problem, Term

Array = np.ndarray[Any, Any]
PENALTY = 1e4  # losses a limit exceeded by all of itself counts for, where no choice meets it


@dataclass(frozen=True)
class Away:
    """Stay away from a choice: at least `distance` of these nodes must choose differently."""

    choice: Choice
    nodes: tuple[int, ...]
    distance: int = 1


@dataclass(frozen=True)
class Solution:
    """A choice with its loss and costs. `gap` is how far, relatively, the loss may lie above the
    best possible; `meets` says whether every limit is met. `choice` is the nearest where not.
    """

    choice: Choice
    loss: float
    costs: Mapping[str, float]
    gap: float
    meets: bool

    def __str__(self) -> str:
        spent = ", ".join(f"{quantity} {cost:.4g}" for quantity, cost in self.costs.items())
        state = f"gap {self.gap:.2%}" if self.meets else "limits not met; the nearest"
        return f"loss {self.loss:.4g}, {spent} ({state})"


@dataclass
class _Rows:
    """Sparse constraint rows being collected: low ≤ A·v ≤ high."""

    width: int
    entries: list[tuple[Array, Array]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, columns: Any, values: Any, low: float, high: float) -> None:
        """One row."""
        columns = np.asarray(columns, np.int64)
        self.entries.append((columns, np.broadcast_to(np.asarray(values, float), columns.shape)))
        self.low.append(low)
        self.high.append(high)

    def constraint(self) -> LinearConstraint:
        """All rows as scipy takes them."""
        rows = np.repeat(np.arange(len(self.entries)), [len(c) for c, _ in self.entries])
        columns = np.concatenate([c for c, _ in self.entries])
        values = np.concatenate([v for _, v in self.entries])
        matrix = sparse.csr_array((values, (rows, columns)), (len(self.entries), self.width))
        return LinearConstraint(matrix, np.array(self.low), np.array(self.high))


class _Layout:
    """Which column of the program is which choice or term entry."""

    def __init__(self, problem: Problem) -> None:
        sizes = [len(n.widths) for n in problem.nodes] + [len(t.grid) for t in problem.totals]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        self.sizes = sizes
        self.integers = int(self.starts[-1])
        self.joint = [t for t in problem.terms if len(t.nodes) > 1 or t.gates]
        self.terms: list[int] = []
        column = self.integers
        for term in self.joint:
            self.terms.append(column)
            column += int(np.prod([sizes[n] for n in term.nodes]))
        self.slack = column
        self.width = column + 1

    def x(self, node: int) -> Array:
        """Columns of a node's choices."""
        return np.arange(self.starts[node], self.starts[node] + self.sizes[node])

    def y(self, position: int) -> Array:
        """Columns of a term's entries, in the shape of its table."""
        shape = [self.sizes[n] for n in self.joint[position].nodes]
        return self.terms[position] + np.arange(int(np.prod(shape))).reshape(shape)


def solve(
    problem: Problem,
    limits: Mapping[str, float],
    seconds: float = 20.0,
    away: Sequence[Away] = (),
) -> Solution:
    """The choice of least predicted loss whose predicted costs meet the limits.

    Where no choice `away` from others meets the limits, the nearest is returned with `meets` False.
    """
    layout = _Layout(problem)
    rows = _Rows(layout.width)
    _choose_once(problem, layout, rows)
    _tie_terms(layout, rows)
    for quantity, limit in limits.items():
        _limit(problem, layout, rows, (quantity, limit))
    for known in away:
        columns = [layout.starts[n] + known.choice[n] for n in known.nodes]
        rows.add(columns, 1.0, -np.inf, len(known.nodes) - known.distance)
    result = _run(problem, layout, rows, seconds, 0.0)
    if result.x is None:
        result = _run(problem, layout, rows, seconds, np.inf)
    if result.x is None:
        return Solution(problem.mildest, 0.0, _costs(problem, problem.mildest), np.inf, False)
    choice = tuple(int(result.x[layout.x(n)].argmax()) for n in range(len(problem.nodes)))
    choice = _relaxed(problem, choice, limits) if not away else choice
    bound = float(result.mip_dual_bound) if result.mip_dual_bound is not None else 0.0
    loss = problem.loss(choice)
    gap = max(0.0, loss - bound) / max(abs(loss), 1e-9)
    return Solution(choice, loss, _costs(problem, choice), gap, problem.meets(choice, limits))


def _run(problem: Problem, layout: _Layout, rows: _Rows, seconds: float, excess: float) -> Any:
    cost = np.zeros(layout.width)
    for n, node in enumerate(problem.nodes):
        cost[layout.x(n)] = node.loss
    cost[layout.slack] = PENALTY
    integrality = np.zeros(layout.width)
    integrality[: layout.integers] = 1
    upper = np.ones(layout.width)
    upper[layout.slack] = excess
    with _hushed():
        return milp(
            cost,
            integrality=integrality,
            bounds=Bounds(np.zeros(layout.width), upper),
            constraints=rows.constraint(),
            options={"time_limit": seconds, "mip_rel_gap": 1e-3},
        )


@contextmanager
def _hushed() -> Iterator[None]:
    """Nothing on stdout: HiGHS prints a line there now and then, whatever it is told."""
    try:
        flush = ctypes.CDLL(None).fflush
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, TypeError, AttributeError, ValueError):  # no C library, or no stdout
        yield
        return
    try:
        flush(None)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _choose_once(problem: Problem, layout: _Layout, rows: _Rows) -> None:
    for n in range(len(layout.sizes)):
        rows.add(layout.x(n), 1.0, 1.0, 1.0)
    for t, total in enumerate(problem.totals):
        columns = [layout.x(len(problem.nodes) + t)]
        values = [np.asarray(total.grid, float)]
        for node, weight in total.parts:
            columns.append(layout.x(node))
            values.append(-weight * np.asarray(problem.nodes[node].widths, float))
        step = float(np.diff(total.grid).max(initial=0.0))  # to the grid point at or above it
        low, high = total.base - 0.01 * step, total.base + 0.99 * step
        rows.add(np.concatenate(columns), np.concatenate(values), low, high)


def _tie_terms(layout: _Layout, rows: _Rows) -> None:
    for position, term in enumerate(layout.joint):
        y = layout.y(position)
        gates = [layout.starts[n] + c for n, c in term.gates]
        rows.add([*y.ravel(), *gates], 1.0, 1.0, np.inf)
        for axis, node in enumerate(term.nodes):
            for c, x in enumerate(layout.x(node)):
                marginal = y.take(c, axis).ravel()
                rows.add([*marginal, x], [*np.ones(len(marginal)), -1.0], -np.inf, 0.0)


def _limit(problem: Problem, layout: _Layout, rows: _Rows, bound: tuple[str, float]) -> None:
    """Σ tables·y + Σ tables·x − limit·slack ≤ limit − constants, scaled to about one."""
    quantity, limit = bound
    values = np.zeros(layout.width)
    for position, term in enumerate(layout.joint):
        if quantity in term.tables:
            values[layout.y(position).ravel()] += term.tables[quantity].ravel()
    for term in _single(problem):
        if quantity in term.tables:
            values[layout.x(term.nodes[0])] += term.tables[quantity]
    scale = max(abs(limit), 1e-3 * problem.cost(problem.mildest, quantity), 1e-12)
    values /= scale
    values[layout.slack] = -1.0
    columns = np.flatnonzero(values)
    left = (limit - problem.constants.get(quantity, 0.0)) / scale
    rows.add(columns, values[columns], -np.inf, left)


def _single(problem: Problem) -> list[Term]:
    return [t for t in problem.terms if len(t.nodes) == 1 and not t.gates]


def _relaxed(problem: Problem, choice: Choice, limits: Mapping[str, float]) -> Choice:
    """The choice with every free node mildest: a time limit or ties may leave some cut in vain."""
    for n in range(len(choice)):
        for c in range(choice[n]):
            milder = (*choice[:n], c, *choice[n + 1 :])
            gains = problem.nodes[n].loss[c] <= problem.nodes[n].loss[choice[n]]
            if gains and problem.meets(milder, limits):
                choice = milder
                break
    return choice


def _costs(problem: Problem, choice: Choice) -> dict[str, float]:
    quantities = {q for t in problem.terms for q in t.tables} | set(problem.constants)
    return {q: problem.cost(choice, q) for q in sorted(quantities)}
