"""Lowering rules that compute: functions, arithmetic, pooling, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.network.lower_layers import spread
from lighten.network.lower_step import Constant, Flow, Step, Unsupported, numpy

Rule = Callable[[Step], Any]
POWERS = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


def argument(step: Step) -> Flow:
    """The first argument, whatever its name."""
    return step.flow(next(iter(step.arguments)))


def function(name: str, **parameters: str) -> Rule:
    """A function on every number; `parameters` maps the program's names to aten's."""

    def rule(step: Step) -> Flow:
        values = {ours: float(step[theirs]) for ours, theirs in parameters.items()}
        return step.unary(argument(step), name, **values)

    return rule


def clip(step: Step) -> Flow:
    """clamp, hardtanh and their kin; [0, 6] is relu6 and [0, ∞) is relu."""
    x = argument(step)
    low = step.arguments.get("min", step.arguments.get("min_val"))
    high = step.arguments.get("max", step.arguments.get("max_val"))
    if any(isinstance(bound, (Flow, Constant)) for bound in (low, high)):
        raise Unsupported("bounds that are tensors are not supported")
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    named = {(0.0, 6.0): "relu6", (0.0, math.inf): "relu"}.get((low, high))
    return step.unary(x, named) if named else step.unary(x, "clip", low=low, high=high)


def gelu(step: Step) -> Flow:
    """Exact, or with tanh."""
    return step.unary(argument(step), "gelu_tanh" if step["approximate"] == "tanh" else "gelu")


def elu(step: Step) -> Flow:
    """elu; selu is another."""
    if step["scale"] != 1 or step["input_scale"] != 1:
        raise Unsupported("only elu with scale 1 is supported")
    return step.unary(argument(step), "elu", slope=float(step["alpha"]))


def softplus(step: Step) -> Flow:
    """log(1 + eˣ)."""
    if step["beta"] != 1:
        raise Unsupported("only beta 1 is supported")
    return step.unary(argument(step), "softplus")


def prelu(step: Step) -> Flow:
    """max(x, 0) + w · min(x, 0)."""
    x = step.flow("self", leading=True)
    weight = step.constant("weight")
    assert weight is not None
    slope = numpy(weight).reshape(-1, *[1] * (len(x.shape) - 1))
    positive = step.unary(x, "relu")
    negative = step.unary(step.unary(step.unary(x, "neg"), "relu"), "neg")
    scaled = step.binary(negative, step.store("weight", slope), "mul", x.shape)
    return step.binary(positive, scaled, "add", x.shape)


def arithmetic(name: str) -> Rule:
    """Two operands, tensors or numbers, broadcast as torch does."""

    def rule(step: Step) -> Flow:
        other = step["other"] if "other" in step.arguments else step["exponent"]
        if step.arguments.get("rounding_mode"):
            raise Unsupported("a rounding division is not supported")
        if step.arguments.get("alpha", 1) != 1:
            if isinstance(other, Flow):
                other = step.binary(
                    other, step.store("alpha", np.float32(step["alpha"])), "mul", other.shape
                )
            else:
                other = number(other) * step["alpha"]
        names = [operand(step, x, side) for x, side in ((step["self"], "a"), (other, "b"))]
        return step.binary(names[0], names[1], name, step.shape)

    return rule


def number(constant: Any) -> Any:
    """A constant operand as NumPy or a plain number."""
    return numpy(constant.tensor) if isinstance(constant, Constant) else constant


def operand(step: Step, x: Any, side: str) -> str:
    """The name of one operand, its axes lined up with the per-sample result."""
    rank = step.rank
    if isinstance(x, Flow):
        ahead = rank - x.rank
        if x.layout.axis + ahead != step.layout.axis or x.layout.merged != step.layout.merged:
            raise Unsupported("its operands have their batch on different dimensions")
        return x.name
    if not isinstance(x, Constant):
        return step.store(side, np.asarray(x, np.float32))
    if x.batch is None and x.tensor.ndim <= rank - 1 - step.layout.axis:
        return step.draft.constant(x)
    return step.draft.store(x.name, x.sample(rank, step.layout))


def reversed_arithmetic(name: str) -> Rule:
    """rsub: other − self."""

    def rule(step: Step) -> Any:
        swapped = {**step.arguments, "self": step["other"], "other": step["self"]}
        if step.arguments.get("alpha", 1) != 1:
            raise Unsupported("a factor is not supported")
        return arithmetic(name)(replace(step, arguments=swapped))

    return rule


def power(step: Step) -> Flow:
    """Squares and square roots by name, other powers as pow."""
    x, exponent = step["self"], step["exponent"]
    if not isinstance(x, Flow):
        return step.binary(operand(step, x, "a"), operand(step, exponent, "b"), "pow", step.shape)
    named = POWERS.get(exponent) if isinstance(exponent, (int, float)) else None
    if named:
        return step.unary(x, named)
    return step.binary(x, operand(step, exponent, "b"), "pow", step.shape)


def reduction(name: str) -> Rule:
    """Mean, sum or max over some dimensions (all of them where none are named)."""

    def rule(step: Step) -> Flow:
        x = step.flow("self")
        dims = step.arguments.get("dim")
        dims = [dims] if isinstance(dims, int) else list(dims or range(x.rank))
        axes = [x.axis(dim) for dim in dims]
        return step.reduce(x, name, axes, bool(step.arguments.get("keepdim", False)))

    return rule


def lowest(step: Step) -> Flow:
    """amin: the largest of the negated, negated."""
    x = step.flow("self")
    dims = step.arguments.get("dim")
    axes = [x.axis(dim) for dim in (range(x.rank) if dims is None else spread(dims, 1))]
    keep = bool(step.arguments.get("keepdim", False))
    return step.unary(step.reduce(step.unary(x, "neg"), "max", axes, keep), "neg")


def extreme(name: str) -> Rule:
    """torch.max and torch.min: of two tensors, or along one dimension without the places."""

    def rule(step: Step) -> Flow | list[Flow | None]:
        if "other" in step.arguments:
            return arithmetic(name)(step)  # type: ignore[no-any-return]
        found: Flow = (reduction("max") if name == "max" else lowest)(step)
        return [found, None] if "dim" in step.arguments else found

    return rule


def deviation(step: Step) -> Flow:
    """The square root of the variance."""
    return step.unary(variance(step), "sqrt")


def variance(step: Step) -> Flow:
    """The mean squared distance from the mean."""
    x = step.flow("self")
    axes = [x.axis(dim) for dim in spread(step["dim"], 1)]
    count = math.prod(x.shape[axis] for axis in axes)
    correction = step.arguments.get("correction")
    free = count - (1 if correction is None else correction)
    centred = step.binary(x, step.reduce(x, "mean", axes, keepdims=True), "sub", x.shape)
    squares = step.unary(centred, "square")
    mean = step.reduce(squares, "mean", axes, bool(step["keepdim"]))
    if free == count:
        return mean
    factor = step.store("factor", np.float32(count / free))
    return step.binary(step.measured(squares, mean), factor, "mul", mean.shape)


def norm(step: Step) -> Flow:
    """The Euclidean norm, or the sum of magnitudes."""
    x, order = step.flow("self"), step["ord"]
    dims: Sequence[int] = range(x.rank) if step["dim"] is None else spread(step["dim"], 1)
    axes, keep = [x.axis(dim) for dim in dims], bool(step["keepdim"])
    if order == 2:
        return step.unary(step.reduce(step.unary(x, "square"), "sum", axes, keep), "sqrt")
    if order == 1:
        return step.reduce(step.unary(x, "abs"), "sum", axes, keep)
    raise Unsupported(f"the {order}-norm is not supported")


def softmax(step: Step) -> Flow:
    """Exponentials that sum to one along one dimension."""
    x = step.flow("self")
    return step.emit("softmax", [x.name], x.shape, axis=x.axis(step["dim"]))


def log_softmax(step: Step) -> Flow:
    """x − max − log Σ exp(x − max): exact where a softmax would have been zero."""
    x = step.flow("self")
    axes = [x.axis(step["dim"])]
    centred = step.binary(x, step.reduce(x, "max", axes, keepdims=True), "sub", x.shape)
    total = step.reduce(step.unary(centred, "exp"), "sum", axes, keepdims=True)
    return step.binary(centred, step.unary(total, "log"), "sub", x.shape)
