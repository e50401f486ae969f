"""Search on measured time: predict, solve, verify, correct, finish.

space          what may be chosen              problem, milp   the budgeted choice and its solution
shapes, dependence, latency_model, predict     time            sensitivity     loss
solver, uniform, random                        searchers, one table
compress       the whole road

Add a searcher: a file with `name` and `propose`, and a line in `TABLE`.
"""

from __future__ import annotations

from lighten.core.protocols import Searcher
from lighten.errors import InputError
from lighten.search import random, solver, uniform
from lighten.search.space import Place, Space, space

TABLE: dict[str, Searcher] = {
    "solver": solver,
    "uniform": uniform,
    "random": random,
}

__all__ = ["TABLE", "Place", "Space", "searcher", "space"]


def searcher(name: str) -> Searcher:
    """The searcher of that name."""
    if name not in TABLE:
        raise InputError(f"The searcher must be one of {', '.join(TABLE)}, but got {name!r}.")
    return TABLE[name]
