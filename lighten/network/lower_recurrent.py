"""Lowering rules for recurrent layers: one op per layer and direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lighten.network.lower_step import Constant, Flow, Layout, Step, Unsupported


def recurrent(function: str, states: int = 1) -> Callable[[Step], Any]:
    """The rule of torch's `function`, which keeps so many states; they must begin at zero."""

    def rule(step: Step) -> list[Flow | None]:
        x = step.flow("input")
        if x.layout != Layout(axis=0 if step["batch_first"] else 1) or x.rank != 3:
            raise Unsupported(
                "its input must be [batch, time, features] or [time, batch, features]"
            )
        _check_states(step["hx"] if states > 1 else [step["hx"]])
        count, ways = 2 + 2 * bool(step["has_biases"]), 1 + bool(step["bidirectional"])
        held = step["params"]
        if len(held) != step["num_layers"] * ways * count:
            raise Unsupported("projections of its states are not supported")
        lasts: list[Flow] = []
        for start in range(0, len(held), ways * count):
            both = [
                _direction(step, x, held[start + way * count :][:count], function, bool(way))
                for way in range(ways)
            ]
            lasts += [_last(step, y, bool(way)) for way, y in enumerate(both)]
            x = both[0] if ways == 1 else _joined(step, both, axis=1)
        return [x, _joined(step, lasts, axis=0), *[None] * (states - 1)]

    return rule


def _check_states(states: list[object]) -> None:
    for state in states:
        if not isinstance(state, Constant) or bool(state.tensor.any()):
            raise Unsupported("its first state must be zero")


def _direction(step: Step, x: Flow, held: list[Constant], function: str, reverse: bool) -> Flow:
    names = [step.draft.constant(weight) for weight in held]
    shape = (x.shape[0], held[1].tensor.shape[1])
    return step.emit("recurrent", [x.name, *names], shape, function=function, reverse=reverse)


def _last(step: Step, y: Flow, reverse: bool) -> Flow:
    """The state after the last step taken, `[1, h]`."""
    at = 0 if reverse else y.shape[0] - 1
    shape = (1, y.shape[1])
    return step.emit("slice", [y.name], shape, axis=0, start=at, stop=at + 1, step=1)


def _joined(step: Step, flows: list[Flow], axis: int) -> Flow:
    if len(flows) == 1:
        return flows[0]
    shape = list(flows[0].shape)
    shape[axis] = sum(flow.shape[axis] for flow in flows)
    return step.emit("concat", [flow.name for flow in flows], shape, axis=axis)
