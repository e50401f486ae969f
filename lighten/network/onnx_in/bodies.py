"""ONNX's `If` and `Loop`: decided and unrolled while the network is traced.

Their conditions and numbers of rounds must follow from sizes and constants, as those do that
exporters write for shapes; what depends on the data is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lighten.network.onnx_in.arguments import Arguments, Body, NotKnown, Value, as_tensor

# runs a body on its inputs
Run = Callable[[Body, Sequence[Value | None]], list[Value]]
MOST_ROUNDS = 10_000


def branch(a: Arguments, run: Run) -> list[Value]:
    """`If`: the one of its two bodies that its condition chooses."""
    return run(a.node.bodies["then_branch" if _true(a, 0) else "else_branch"], ())


def loop(a: Arguments, run: Run) -> list[Value]:
    """`Loop`: its states after the last round, then what each round gave, stacked."""
    body = a.node.bodies["body"]
    states, goes_on = list(a.values[2:]), not a.has(1) or _true(a, 1)
    given: list[list[Value]] = []
    rounds = 0
    while goes_on and (not a.has(0) or rounds < int(a.known(0).item())):
        condition, *results = run(body, [np.array(rounds), np.array(True), *states])
        if isinstance(condition, Tensor):
            raise NotKnown("when it ends depends on the data")
        goes_on, rounds = bool(condition.item()), rounds + 1
        if rounds > MOST_ROUNDS:
            raise NotKnown(f"it runs more than {MOST_ROUNDS:,} rounds")
        states = list(results[: len(states)])
        given.append(results[len(states) :])
    if not given and len(body.outputs) > 1 + len(states):
        raise NotKnown("it runs no round, so that its results have no shape")
    return [*(s for s in states if s is not None), *map(_stacked, zip(*given, strict=True))]


def _true(a: Arguments, index: int) -> bool:
    return bool(a.known(index).item())


def _stacked(rounds: Sequence[Value]) -> Value:
    if any(isinstance(value, Tensor) for value in rounds):
        return torch.stack([v if isinstance(v, Tensor) else as_tensor(v) for v in rounds])
    return np.stack(rounds)


BODIES: dict[str, Callable[[Arguments, Run], list[Value]]] = {"If": branch, "Loop": loop}
