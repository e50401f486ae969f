"""A network that learns as it will run: rounded where its quantized Program rounds (row B10).

    lifted network ── lower, quantize ──► Program with formats ── quantization_aware ──► network
                                                                  with Rounded values and
                                                                  Compressed layers, to be trained

BatchNorm stays a layer while the network learns. Its factor is one number per output channel, and
so are the steps of the weight: folded, it changes the steps and no code. So lowering the trained
network gives the same function, and what was learned is what runs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from lighten.errors import NetworkError
from lighten.formats.integer import Integer
from lighten.network.compressed import Compressed, Rounded, at, weight_format
from lighten.network.lift import Lifted, as_examples, lift
from lighten.network.lower import Trace, evaluating
from lighten.network.lower_step import Flow
from lighten.program.flow import LAYERS, carries
from lighten.program.ir import Op, Program
from lighten.program.spec import operands


def quantization_aware(
    module: nn.Module,
    quantized: Program,
    example: Any,
    bits: Mapping[str, int] | None = None,
) -> fx.GraphModule:
    """A copy of the network that computes what `quantized` does, and learns its steps.

    `quantized` is the network lowered and quantized: it says where numbers are rounded and by
    which steps to begin with. Weights have 8 bits but where `bits` says otherwise, by layer.
    `example` is a tensor or a tuple of them, batch first. Raises `NetworkError` where a quantized
    layer is no module.
    """
    examples = as_examples(example)
    lifted = copy.deepcopy(module) if isinstance(module, Lifted) else lift(module, examples)
    places = _places(lifted, examples)
    for op in quantized.ops:
        stored = quantized.arrays.get(op.inputs[1]) if op.kind in LAYERS else None
        if stored is not None and isinstance(stored.format, Integer):
            width = (bits or {}).get(op.name, int(stored.format.bits))
            compress_(lifted, op.name, weight_format(width))
    _round_(lifted, quantized, places)
    lifted.recompile()
    return lifted


def compress_(module: nn.Module, path: str, form: Integer | None = None) -> Compressed:
    """Make the layer at `path` a compressed one, in place; one that already is stays."""
    owner, leaf, layer = at(module, path)
    made = layer if isinstance(layer, Compressed) else Compressed(layer, form)
    setattr(owner, leaf, made)
    return made


@dataclass(frozen=True)
class _Places:
    """Where the program's names lie in the lifted graph."""

    values: Mapping[str, str]  # value → the last node whose result it is
    ops: Mapping[str, str]  # op → the node it was drafted for


def _places(lifted: fx.GraphModule, examples: Sequence[Tensor]) -> _Places:
    values: dict[str, str] = {}
    ops: dict[str, str] = {}
    with evaluating(lifted), torch.no_grad():
        trace = Trace(lifted, examples)
        for node in lifted.graph.nodes:
            drafted = len(trace.draft.ops)
            trace.visit(node)
            ops.update({op.name: node.name for op in trace.draft.ops[drafted:]})
            symbol = trace.traced[node].symbol if node in trace.traced else None
            if isinstance(symbol, Flow):
                values[symbol.name] = node.name
    return _Places(values, ops)


def _round_(lifted: fx.GraphModule, quantized: Program, places: _Places) -> None:
    """Put a call after every value that is rounded where it is made; one module per shared step."""
    nodes = {node.name: node for node in lifted.graph.nodes}
    producers = quantized.producers()
    made: dict[int, str] = {}
    for name, value in quantized.values.items():
        if not isinstance(value.format, Integer) or value.params is None:
            continue
        maker = producers[name]
        if _carried(maker, quantized):
            continue
        source = operands(maker)[0] if maker.kind == "cast" else name
        if source not in places.values:
            raise NetworkError(f"The value {source!r} must be one that a module or function gives.")
        shared = id(value.params)
        if shared not in made:
            made[shared] = f"rounded_{len(made)}"
            lifted.add_module(made[shared], Rounded(value.format, value.params))
        readers = [op.name for op in quantized.consumers()[name]] if maker.kind == "cast" else None
        _insert_(nodes[places.values[source]], made[shared], places, readers)


def _carried(op: Op, program: Program) -> bool:
    """Whether the op only moves codes that were rounded before it."""
    return carries(op) and all(
        name in program.values and isinstance(program.values[name].format, Integer)
        for name in operands(op)
    )


def _insert_(node: fx.Node, path: str, places: _Places, readers: Sequence[str] | None) -> None:
    """A call of `path` on the node's result, for these ops (None: for all that read it)."""
    graph = node.graph
    with graph.inserting_after(node):
        call = graph.create_node("call_module", path, (node,))
    call.meta.update(node.meta)
    wanted = None if readers is None else {places.ops[name] for name in readers}
    node.replace_all_uses_with(
        call, lambda user: user is not call and (wanted is None or user.name in wanted)
    )
