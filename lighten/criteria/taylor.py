"""First-order Taylor: how much the loss changes when a slice is zeroed (Molchanov et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.criteria.slices import magnitude, summed
from lighten.criteria.statistics import Statistics
from lighten.network.graph import Group, Member

Array = np.ndarray[Any, Any]


def taylor(group: Group, weights: Mapping[str, Array], stats: Statistics) -> Array:
    """The root mean square over batches of Σ w·∂loss/∂w on the reading side: `[size]`.

    For the weights that read a channel, Σ w·∂loss/∂w = Σ a·∂loss/∂a: exactly the first-order
    change of the loss when the channel's activation a is set to zero. The readers' shares are in
    one unit, so they are added with their signs. A group that nothing reads is judged by what
    produces it; without gradients, by its magnitude.
    """
    for members in (group.consumers, group.producers):
        changes = [c for m in members if (c := _change(m, stats)) is not None]
        if changes:
            total: Array = np.sum(changes, axis=0)
            return np.asarray(np.sqrt(np.mean(total**2, axis=0)))
    return magnitude(group, weights, 1)


def _change(member: Member, stats: Statistics) -> Array | None:
    products = stats.products.get((member.parameter, member.dim))
    return None if products is None else summed(products, member)
