"""A network whose layers are signs: weights projected, and where wanted the values they read."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

from torch import fx, nn

from lighten.network.compressed import at
from lighten.network.lift import Lifted, as_examples, lift
from lighten.network.projected import Projected, Signed


def binarized(
    module: nn.Module,
    example: Any,
    layers: Sequence[str],
    onto: str = "signs",
    signed: Collection[str] = (),
    estimator: str = "clip",
) -> fx.GraphModule:
    """A copy of the network with `layers` projected onto a row of `formats.binary.SUMS`.

    The layers in `signed` also read signs instead of numbers (XNOR, BNN); `estimator` is how a
    gradient comes through these. `example` is a tensor or a tuple of them, batch first. Raises
    `NetworkError` for a layer that is not there, or is no convolution or linear layer.
    """
    examples = as_examples(example)
    lifted = copy.deepcopy(module) if isinstance(module, Lifted) else lift(module, examples)
    for path in layers:
        owner, leaf, layer = at(lifted, path)
        setattr(owner, leaf, Projected(layer, onto))
    if signed:
        lifted.add_module("signed", Signed(estimator))
        for node in list(lifted.graph.nodes):
            if node.op == "call_module" and node.target in signed:
                with lifted.graph.inserting_before(node):
                    call = lifted.graph.create_node("call_module", "signed", node.args[:1])
                call.meta.update(node.args[0].meta)
                node.replace_input_with(node.args[0], call)
    lifted.recompile()
    return lifted
