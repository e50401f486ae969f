"""The budgeted choice as numbers: nodes that choose, terms that cost, limits that hold.

    node   one choice to make (a group's kept count, a block kept or dropped, a layer's bits),
           with the loss each choice is predicted to cost; the total is the sum over the nodes
    total  a node that does not choose: its value is a weighted sum of other nodes' widths, e.g.
           the width of a residual stream that three groups share
    term   what one op costs, as a table over the choices of the (at most three) nodes it depends
           on; `gates` are choices that remove the op, e.g. the block it lies in being dropped

`Problem.cost` is exact; `milp.solve` minimises the loss under limits on the costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Choice = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One choice: `widths[c]` and `loss[c]` of each, the mildest (loss 0) first."""

    name: str
    widths: tuple[float, ...]
    loss: tuple[float, ...]


@dataclass(frozen=True)
class Total:
    """The sum `base + Σ parts[node] · width(node)`, on the `grid` of values it is looked up at.

    A sum between two grid points counts as the next one above: times are never under-estimated.
    """

    base: float
    parts: tuple[tuple[int, float], ...]
    grid: tuple[float, ...]

    def index(self, widths: Sequence[float]) -> int:
        """Where the sum of these node widths lies on the grid."""
        value = self.base + sum(weight * widths[node] for node, weight in self.parts)
        return min(int(np.searchsorted(self.grid, value - 1e-6)), len(self.grid) - 1)


@dataclass(frozen=True, eq=False)
class Term:
    """The cost of one op: `tables[quantity]` over the choices of `nodes`.

    `nodes` index the problem's nodes, then its totals. `gates` are (node, choice) pairs; where one
    of them is chosen the op is gone.
    """

    name: str
    nodes: tuple[int, ...]
    tables: Mapping[str, Array]
    gates: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Problem:
    """All of it. `constants[quantity]` is what no choice changes."""

    nodes: tuple[Node, ...]
    terms: tuple[Term, ...]
    totals: tuple[Total, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)

    def complete(self, choice: Choice) -> Choice:
        """The choice with the index of every total behind it."""
        widths = [node.widths[c] for node, c in zip(self.nodes, choice, strict=True)]
        return (*choice, *(total.index(widths) for total in self.totals))

    def loss(self, choice: Choice) -> float:
        """The predicted loss of one choice per node."""
        return float(sum(n.loss[c] for n, c in zip(self.nodes, choice, strict=True)))

    def cost(self, choice: Choice, quantity: str) -> float:
        """What one choice per node costs of one quantity."""
        full = self.complete(choice)
        there = (t for t in self.terms if not any(choice[n] == c for n, c in t.gates))
        tables = ((t, t.tables[quantity]) for t in there if quantity in t.tables)
        spent = sum(float(table[tuple(full[n] for n in t.nodes)]) for t, table in tables)
        return self.constants.get(quantity, 0.0) + spent

    def meets(self, choice: Choice, limits: Mapping[str, float]) -> bool:
        """Whether the predicted costs lie within the limits (to one part in a million)."""
        return all(self.cost(choice, q) <= limit * (1 + 1e-6) for q, limit in limits.items())

    @property
    def mildest(self) -> Choice:
        """Nothing done anywhere."""
        return (0,) * len(self.nodes)
