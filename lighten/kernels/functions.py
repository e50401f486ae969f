"""Functions of one number, a register at a time, and how far each is from the truth.

The exponential is 2^k · p(r), |r| ≤ ln 2 / 2, with ln 2 in two parts (Cody & Waite 1980); what is
built on it inherits its error. Bounds stand in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from lighten.emit import Function, Value, lanes

Unary = Callable[[Function, Value], Value]
LARGEST, SMALLEST = 89.0, -104.0  # beyond them e^x is infinite, or zero
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
# e^r for |r| ≤ ln 2 / 2 to 1.9e-9, 2^r for |r| ≤ 1/2 to 7.5e-8 (Lawson's iteration)
EXP = (1.0, 1.00000004, 0.499999921, 0.166664202, 0.0416682257, 8.37481602e-3, 1.38368423e-3)
EXP2 = (1.00000007, 0.693146967, 0.240221197, 0.0555071329, 9.67554168e-3, 1.32764672e-3)
LEAST = -87.0  # below it e^x is under the smallest normal number
# erf(x) = x · P(x²) / Q(x²) for |x| ≤ 3.92, ±1 beyond: fitted with Lawson's iteration, to 1.9e-8
ERF_END = 3.92
ERF_P = (1.12837915, 0.190388542, 0.0527459729, 3.76474387e-3, 2.84845397e-4, 2.04999243e-6)
ERF_Q = (1.0, 0.502060199, 0.114101357, 0.0149674833, 1.16229079e-3, 3.80887831e-5)


def polynomial(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """Σ cᵢ xⁱ by Horner's rule."""
    total = f.constant(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        total = f.fma(total, x, f.constant(coefficient, x.type))
    return total


def _clipped(f: Function, x: Value, low: float, high: float) -> Value:
    return f.at_most(f.at_least(x, low), high)


def _parts(f: Function, x: Value) -> tuple[Value, Value]:
    """k, a whole number, and p with e^x = 2^k · p."""
    k = f.call("nearest", x * f.constant(1 / math.log(2), x.type))
    r = f.fma(k, f.constant(-LN2_HIGH, x.type), x)
    r = f.fma(k, f.constant(-LN2_LOW, x.type), r)
    return k, polynomial(f, r, EXP)


def _exp(f: Function, x: Value) -> Value:
    k, p = _parts(f, _clipped(f, x, SMALLEST, LARGEST))
    half = f.call("floor", k * f.constant(0.5, x.type))  # in two steps: 2^128 is no float
    return p * f.power_of_two(half) * f.power_of_two(k - half)


def _sigmoid(f: Function, x: Value) -> Value:
    """1 / (1 + 2^t), t = −x / ln 2."""
    t = _clipped(f, x * f.constant(-1 / math.log(2), x.type), -126.0, 126.0)
    k = f.call("nearest", t)
    one = f.constant(1.0, x.type)
    return lanes.reciprocal(f, f.fma(polynomial(f, t - k, EXP2), f.power_of_two(k), one))


def _tanh(f: Function, x: Value) -> Value:
    """2 · sigmoid(2x) − 1"""
    two, one = f.constant(2.0, x.type), f.constant(1.0, x.type)
    return f.fma(two, _sigmoid(f, x + x), f.zero(x.type) - one)


def _erf(f: Function, x: Value) -> Value:
    square = x * x
    inside = x * polynomial(f, square, ERF_P) / polynomial(f, square, ERF_Q)
    beyond = lanes.compare(f, "ogt", f.call("absolute", x), f.constant(ERF_END, x.type))
    return f.select(beyond, f.call("copysign", f.constant(1.0, x.type), x), inside)


def decay(f: Function, x: Value) -> Value:
    """e^x for x ≤ 0; what is under the smallest normal number is 0."""
    k, p = _parts(f, f.at_least(x, LEAST))
    below = lanes.compare(f, "olt", x, f.constant(LEAST, x.type))
    return f.select(below, f.zero(x.type), p * f.power_of_two(k))


def decay2(f: Function, x: Value) -> Value:
    """2^x for x ≤ 0, to 8e-8, never less than 2^−126."""
    inside = f.at_least(x, -126.0)
    k = f.call("nearest", inside)
    return polynomial(f, inside - k, EXP2) * f.power_of_two(k)


def _gelu(f: Function, x: Value) -> Value:
    half = f.constant(0.5, x.type)
    grown = _erf(f, x * f.constant(math.sqrt(0.5), x.type)) + f.constant(1.0, x.type)
    return x * half * grown


def _gelu_tanh(f: Function, x: Value) -> Value:
    inner = f.fma(x * x * x, f.constant(0.044715, x.type), x)
    grown = _tanh(f, inner * f.constant(math.sqrt(2 / math.pi), x.type))
    return x * f.constant(0.5, x.type) * (grown + f.constant(1.0, x.type))


def _hardsigmoid(f: Function, x: Value) -> Value:
    moved = f.fma(x, f.constant(1 / 6, x.type), f.constant(0.5, x.type))
    return _clipped(f, moved, 0.0, 1.0)


def _softplus(f: Function, x: Value) -> Value:
    """max(x, 0) + log(1 + e^−|x|): no overflow at either end."""
    small = _exp(f, f.zero(x.type) - f.call("absolute", x))
    return f.at_least(x, 0.0) + f.call("log", small + f.constant(1.0, x.type))


def _mish(f: Function, x: Value) -> Value:
    """x · tanh(softplus(x)) is x · q / (q + 2) with q = e^x (e^x + 2)."""
    two, grown = f.constant(2.0, x.type), _exp(f, f.at_most(x, 30.0))
    q = grown * (grown + two)
    return x * q / (q + two)


def _sign(f: Function, x: Value) -> Value:
    zero, one = f.zero(x.type), f.constant(1.0, x.type)
    return f.select(lanes.compare(f, "oeq", x, zero), zero, f.call("copysign", one, x))


def _leaky(f: Function, x: Value, slope: float) -> Value:
    below = lanes.compare(f, "olt", x, f.zero(x.type))
    return f.select(below, x * f.constant(slope, x.type), x)


def _elu(f: Function, x: Value, slope: float) -> Value:
    below = lanes.compare(f, "olt", x, f.zero(x.type))
    falling = _exp(f, f.at_most(x, 0.0)) - f.constant(1.0, x.type)
    return f.select(below, falling * f.constant(slope, x.type), x)


def _truth(how: str) -> Callable[[Function, Value, Value], Value]:
    """1 where it holds, else 0."""

    def judged(f: Function, a: Value, b: Value) -> Value:
        yes, no = f.constant(1.0, a.type), f.zero(a.type)
        return f.select(lanes.compare(f, how, a, b), yes, no)

    return judged


FUNCTIONS: Mapping[str, Unary] = {
    "": lambda f, x: x,
    "relu": lambda f, x: f.at_least(x, 0.0),
    "relu6": lambda f, x: _clipped(f, x, 0.0, 6.0),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda f, x: x * _hardsigmoid(f, x),
    "exp": _exp,
    "sigmoid": _sigmoid,
    # where the sigmoid is the smallest normal number instead of 0, x is no longer followed
    "silu": lambda f, x: f.at_least(x, -128.0) * _sigmoid(f, x),
    "tanh": _tanh,
    "erf": _erf,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "neg": lambda f, x: f.zero(x.type) - x,
    "abs": lambda f, x: f.call("absolute", x),
    "square": lambda f, x: x * x,
    "sqrt": lambda f, x: f.call("sqrt", x),
    "rsqrt": lambda f, x: f.constant(1.0, x.type) / f.call("sqrt", x),
    "reciprocal": lambda f, x: f.constant(1.0, x.type) / x,
    "floor": lambda f, x: f.call("floor", x),
    "round": lambda f, x: f.call("nearest", x),
    "sign": _sign,
    "softplus": _softplus,
    "mish": _mish,
    "log": lambda f, x: f.call("log", x),
    "sin": lambda f, x: f.call("sin", x),
    "cos": lambda f, x: f.call("cos", x),
}
# with numbers of their own, in the order in which the op names them
PARAMETRIC: Mapping[str, tuple[tuple[str, ...], Callable[..., Value]]] = {
    "leaky_relu": (("slope",), _leaky),
    "elu": (("slope",), _elu),
    "clip": (("low", "high"), _clipped),
}
CHEAP = ("", "relu", "relu6", "neg", "abs", "square")  # a few instructions: written out anywhere
# of two numbers
BINARY: Mapping[str, Callable[[Function, Value, Value], Value]] = {
    "add": lambda f, a, b: a + b,
    "sub": lambda f, a, b: a - b,
    "mul": lambda f, a, b: a * b,
    "div": lambda f, a, b: a / b,
    "max": lambda f, a, b: f.call("maximum", a, b),
    "min": lambda f, a, b: f.call("minimum", a, b),
    "pow": lambda f, a, b: f.call("pow", a, b),
    "equal": _truth("oeq"),
    "less": _truth("olt"),
}
# of three numbers
TERNARY: Mapping[str, Callable[[Function, Value, Value, Value], Value]] = {
    "where": lambda f, c, a, b: f.select(lanes.compare(f, "une", c, f.zero(c.type)), a, b),
    "affine": lambda f, x, scale, shift: f.fma(x, scale, shift),
}
