"""Which slices of a group matter: a table of criteria, higher matters more.

A criterion is a function of (group, weights as NumPy arrays, statistics) that gives one score per
slice. Add one: a file here and a line in `TABLE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighten.criteria.activation import activation
from lighten.criteria.batch_norm import batch_norm
from lighten.criteria.magnitude import l1, l2
from lighten.criteria.random import random
from lighten.criteria.statistics import Statistics, gather
from lighten.criteria.taylor import taylor
from lighten.errors import InputError
from lighten.network.graph import Graph, Group

Array = np.ndarray[Any, Any]
Score = Callable[[Group, Mapping[str, Array], Statistics], Array]

TABLE: dict[str, Score] = {
    "l1": l1,
    "l2": l2,
    "batch_norm": batch_norm,
    "taylor": taylor,
    "activation": activation,
    "random": random,
}
DEFAULT = "taylor"

__all__ = ["DEFAULT", "TABLE", "Statistics", "gather", "order", "score", "weights_of"]


def weights_of(graph: Graph) -> dict[str, Array]:
    """Every parameter and buffer of the traced network, as arrays."""
    return {name: t.detach().cpu().numpy() for name, t in graph.module.state_dict().items()}


def score(graph: Graph, group: Group, stats: Statistics, criterion: str = DEFAULT) -> Array:
    """One score per slice of the group, `[size]`: higher matters more."""
    if criterion not in TABLE:
        raise InputError(f"The criterion must be one of {', '.join(TABLE)}, but got {criterion!r}.")
    return TABLE[criterion](group, weights_of(graph), stats)


def order(scores: Array) -> tuple[int, ...]:
    """Slices from the most to the least important; ties by index, so that it is the same always.

    >>> order(np.array([0.5, 2.0, 0.5]))
    (1, 0, 2)
    """
    return tuple(int(i) for i in np.argsort(-np.asarray(scores), kind="stable"))
