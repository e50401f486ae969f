"""The network that can learn, as a value: traced, grouped, cut, and checked.

lift        any exportable network → an fx.GraphModule of real modules and plain functions
trace       → Graph: layers with their costs, groups of slices, residual blocks
lower       → Program: the one door to the half that runs
cut         → a physically smaller network; `masked` is what it must equal, `check_exact` proves it
share       how much of the MACs lies in groups
"""

from lighten.network.cost import table
from lighten.network.exact import check_exact
from lighten.network.graph import Block, Graph, Group, Layer, Member
from lighten.network.lift import lift
from lighten.network.lower import lower
from lighten.network.surgery import check_keep, cut, masked
from lighten.network.trace import share, trace

__all__ = [
    "Block",
    "Graph",
    "Group",
    "Layer",
    "Member",
    "check_exact",
    "check_keep",
    "cut",
    "lift",
    "lower",
    "masked",
    "share",
    "table",
    "trace",
]
