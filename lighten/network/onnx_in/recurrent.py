"""ONNX's LSTM, GRU and RNN as torch's: time first, gates in torch's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lighten.network.onnx_in.arguments import Arguments, Known, Node

# node type → torch's module, where torch's gates lie among ONNX's, and ONNX's usual activations
KINDS: Mapping[str, tuple[Any, tuple[int, ...], tuple[str, ...]]] = {
    "LSTM": (nn.LSTM, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (nn.GRU, (1, 0, 2), ("Sigmoid", "Tanh")),
    "RNN": (nn.RNN, (0,), ("Tanh",)),
}
LENGTHS, PEEPHOLES = 4, 7  # inputs that torch's layers have no counterpart for


def recurrent(
    node: Node, weights: Sequence[Known | None], ranks: Mapping[str, int]
) -> nn.Module | None:
    """One layer, one way or both, with stored weights; None where it does what torch's cannot."""
    kind, order, usual = KINDS[node.kind]
    ways = 2 if node.get("direction") == "bidirectional" else 1
    functions = node.get("activations") or usual * ways
    told = tuple(name.decode() if isinstance(name, bytes) else name for name in functions)
    w, r, b = (weights[i] if i < len(weights) else None for i in (1, 2, 3))
    given = [i for i in (LENGTHS, PEEPHOLES) if i < len(node.inputs) and node.inputs[i]]
    odd = given or node.get("layout") or node.get("clip") or node.get("input_forget")
    odd = odd or (node.kind == "GRU" and not node.get("linear_before_reset"))
    relu = node.kind == "RNN" and set(told) == {"Relu"}
    if w is None or r is None or odd or not (relu or told == usual * ways):
        return None
    more = {"nonlinearity": "relu"} if relu else {}
    module = kind(w.shape[2], r.shape[2], bias=b is not None, bidirectional=ways == 2, **more)
    held = [w, r] if b is None else [w, r, *np.split(b, 2, axis=1)]
    with torch.no_grad():
        for parameter, array in zip(module.all_weights[0], (a[0] for a in held), strict=True):
            parameter.copy_(_turned(array, order))
        for parameter, array in zip(module.all_weights[-1], (a[-1] for a in held), strict=True):
            parameter.copy_(_turned(array, order))
    return module  # type: ignore[no-any-return]


def _turned(array: Known, order: tuple[int, ...]) -> Tensor:
    """The gates along the first axis in torch's order."""
    gates = np.split(array.astype(np.float32), len(order))
    return torch.from_numpy(np.concatenate([gates[place] for place in order]))


def call_recurrent(a: Arguments) -> list[Tensor]:
    """The states `[time, ways, n, hidden]`, the last state, and an LSTM's last cell."""
    layer: Any = a.layer
    x, back = a.tensor(0), a.get("direction") == "reverse"
    y, last = layer(
        x.flip(0) if back else x, _started(a, x, 2 if isinstance(layer, nn.LSTM) else 1)
    )
    y = y.flip(0) if back else y
    ways = 1 + layer.bidirectional
    y = y.reshape(y.shape[0], y.shape[1], ways, layer.hidden_size).permute(0, 2, 1, 3)
    return [y, *(last if isinstance(last, tuple) else (last,))]


def _started(a: Arguments, x: Tensor, states: int) -> Any:
    """The first state and an LSTM's first cell, zeros for the one that is absent; None for none."""
    layer: Any = a.layer
    given = [a.tensor(i) if a.has(i) and not _is_zero(a.values[i]) else None for i in (5, 6)]
    if all(state is None for state in given[:states]):
        return None
    zeros = x.new_zeros(1 + layer.bidirectional, x.shape[1], layer.hidden_size)
    found = [zeros if state is None else state for state in given[:states]]
    return tuple(found) if states > 1 else found[0]


def _is_zero(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.any()
