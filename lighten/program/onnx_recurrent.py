"""Recurrent layers in ONNX: time first, gates in ONNX's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lighten.program.ir import Op
from lighten.program.onnx_out import Writer
from lighten.program.spec import weights

Array = np.ndarray[Any, Any]
# function → node type, where ONNX's gates lie among torch's, and what else to say
FORMS: Mapping[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # ONNX: input, output, forget, cell
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # ONNX: update, reset, new
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
}


def recurrent(w: Writer, op: Op) -> str:
    """`[n, t, f]` turned to ONNX's `[t, n, f]`, and its `[t, 1, n, h]` back to `[n, t, h]`."""
    kind, order, more = FORMS[op["function"]]

    def stored(name: str) -> Array:
        gates = np.split(w.program.arrays[name].decode().astype(np.float32), len(order))
        return np.concatenate([gates[place] for place in order])

    weight, state, *biases = weights(op)
    hidden = w.shape(state)[1]
    held = [stored(name) if name else np.zeros(len(order) * hidden, np.float32) for name in biases]
    inputs = [stored(weight)[None], stored(state)[None], np.concatenate(held)[None]]
    x = w.node("Transpose", w.real(op.inputs[0]), perm=[1, 0, 2])
    way = "reverse" if op["reverse"] else "forward"
    given = [w.constant(array) for array in inputs]
    y = w.node(kind, x, *given, hidden_size=hidden, direction=way, **more)
    return w.node("Transpose", w.node("Squeeze", y, w.numbers(1)), perm=[1, 0, 2])
