"""From a network and a recipe to what learns in its compressed form: layers, values, hooks.

The other techniques are done before training (`apply`); sparse weights and quantization-aware
training are done by it, and meet in one network here, with whatever signals it is taught by.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx

from lighten.core.protocols import Hook
from lighten.core.recipe import Edit
from lighten.network.lift import Lifted, as_examples, lift
from lighten.network.rounding import compress_, quantization_aware
from lighten.program.ir import Program
from lighten.techniques.weights import thinning
from lighten.train.freeze import FreezeNorms
from lighten.train.sparsify import Sparsify

FROZEN_NORMS = 0.8  # share of the run after which BatchNorm keeps its statistics


def learning(
    module: Any,
    example: Any,
    edits: Sequence[Edit],
    steps: int,
    quantized: Program | None = None,
    bits: Mapping[str, int] | None = None,
) -> tuple[fx.GraphModule, tuple[Hook, ...]]:
    """A copy of `module` to be trained for `steps`, and the hooks to train it with.

    `edits` are those of technique `weights`. `quantized` is the module's Program in integers;
    with it the copy learns rounded, its weights in `bits` (by layer, 8 where not said). Lower
    what was trained: the Program has the codes, steps and zeros that were learned.

    >>> net, hooks = learning(net, x, edits, steps)  # doctest: +SKIP
    >>> fit(net, task, training, teacher, Session(hooks))  # doctest: +SKIP
    """
    examples = as_examples(example)
    lifted = copy.deepcopy(module) if isinstance(module, Lifted) else lift(module, examples)
    hooks: list[Hook] = []
    if quantized is not None:
        lifted = quantization_aware(lifted, quantized, examples, bits)
        hooks.append(FreezeNorms(lifted, steps, FROZEN_NORMS))
    if edits:
        layers = {edit.place: (compress_(lifted, edit.place), thinning(edit)) for edit in edits}
        hooks.append(Sparsify(layers, steps))
    return lifted, tuple(hooks)
