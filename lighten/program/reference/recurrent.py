"""Recurrent layers: one direction of one layer, time on axis 1, states zero at the start.

LSTM: Hochreiter & Schmidhuber 1997 with the forget gate of Gers 2000; GRU: Cho 2014, with the reset
gate applied after the recurrent product, as torch and cuDNN do. Gates are stacked in torch's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lighten.program.ir import Op

Array = np.ndarray[Any, Any]
State = tuple[Array, Array]  # what it says, and an LSTM's cell


def recurrent(
    op: Op, x: Array, w: Array, r: Array, b: Array | None = None, rb: Array | None = None
) -> Array:
    """`x [n, t, f]` gives the states `[n, t, h]`, from the last step to the first if `reverse`."""
    hidden, step = r.shape[1], STEPS[op["function"]]
    told = x @ w.T + (0 if b is None else b)
    bias = np.zeros(len(r), x.dtype) if rb is None else rb
    state: State = (np.zeros((len(x), hidden), x.dtype), np.zeros((len(x), hidden), x.dtype))
    states = np.empty((*x.shape[:2], hidden), x.dtype)
    times = range(x.shape[1])
    for time in reversed(times) if op["reverse"] else times:
        state = step(told[:, time], state[0] @ r.T + bias, state)
        states[:, time] = state[0]
    return states


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _lstm(told: Array, kept: Array, state: State) -> State:
    """Gates: input, forget, cell, output."""
    i, f, g, o = np.split(told + kept, 4, axis=1)
    cell = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def _gru(told: Array, kept: Array, state: State) -> State:
    """Gates: reset, update, new."""
    (r, z, n), (kr, kz, kn) = np.split(told, 3, axis=1), np.split(kept, 3, axis=1)
    update = _sigmoid(z + kz)
    new = np.tanh(n + _sigmoid(r + kr) * kn)
    return (1 - update) * new + update * state[0], state[1]


def _tanh(told: Array, kept: Array, state: State) -> State:
    return np.tanh(told + kept), state[1]


def _relu(told: Array, kept: Array, state: State) -> State:
    return np.maximum(told + kept, 0), state[1]


STEPS: Mapping[str, Callable[[Array, Array, State], State]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _tanh,
    "rnn_relu": _relu,
}
