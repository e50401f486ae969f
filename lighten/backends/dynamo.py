"""torch.compile(net, backend="lighten"): the graphs that dynamo captures, run in our engine.

torch finds `compile` by the entry point `torch_dynamo_backends` in pyproject.toml; nothing needs to
be imported. Each graph is lowered at its first call, whose answer comes from torch and is what the
engine's is compared with. A graph stays in torch, with one warning that says why, where an op has
no counterpart, gradients are asked for, the engine's answer is another, or it writes into its
inputs (BatchNorm in training does).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from lighten.backends.native import Native
from lighten.backends.torch_fast_paths import write_out_
from lighten.errors import LightenError
from lighten.network import lower

LOG = logging.getLogger("lighten")
PART = re.compile(r"\._(?:modules|parameters|buffers)\['([^']+)'\]")
CALLER = re.compile(r"^L\['\w+'\]\.?")  # what dynamo calls the network in a module's path
RESIZES = ("view", "reshape", "expand")  # methods that are given whole shapes
CLOSE = 1e-3  # of the largest number of torch's answer: an engine that is wrong is further off
SHAPES = 32  # of a sample, that a graph is compiled for at the same time
Held = tuple[int, int]  # where a weight lies, and how often it was written
Key = tuple[tuple[Held, ...], tuple[tuple[int, ...], ...]]  # weights, shapes of a sample


class StaysInTorch(Exception):
    """Why a graph is not run in the engine."""


def compile(graph: fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
    """What dynamo calls for one captured graph; the inputs of the first call decide the rest."""
    return torch.compiler.disable(Captured(graph))  # type: ignore[no-any-return,no-untyped-call]


class Captured:
    """One captured graph: in the engine once per shape of a sample, or in torch.

    Weights are inputs like others to dynamo; here those that modules hold are packed, and packed
    anew when they were written to (through `.data` torch itself does not see it, nor do we).
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        holes = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self.weights = [i for i, node in enumerate(holes) if is_weight(node)]
        sizes = [i for i, node in enumerate(holes) if isinstance(value(node), torch.SymInt)]
        self.flowing = [i for i in range(len(holes)) if i not in self.weights and i not in sizes]
        self.reason = ""
        self._runs: dict[Key, tuple[Any, list[Tensor]]] = {}
        self._lock = threading.Lock()

    def __call__(self, *given: Any) -> Any:
        """The graph's outputs, in torch's types."""
        if torch.is_grad_enabled() and any(_learns(x) for x in given):
            self._stays("gradients are asked for: call it under torch.inference_mode()")
        if self.reason:
            return self.graph(*given)
        tensors = [given[i] for i in self.flowing if isinstance(given[i], Tensor)]
        weights = tuple(_held(given[i]) for i in self.weights)
        key = weights, tuple(x.shape[1:] for x in tensors)
        found = self._runs.get(key)
        return self._first(key, given) if found is None else self._run(found[0], given)

    def _run(self, run: Any, given: Sequence[Any]) -> list[Tensor]:
        found = run(*(given[i].detach().numpy() for i in self.flowing))
        return [torch.from_numpy(y).to(kind) for y, kind in zip(found, self.kinds, strict=True)]

    def _first(self, key: tuple[Any, ...], given: Sequence[Any]) -> Any:
        """The answer of torch; after it the engine's is known to be the same, or not used."""
        before = [_held(x) for x in given if isinstance(x, Tensor)]
        wanted = self.graph(*given)
        with self._lock:
            try:
                if before != [_held(x) for x in given if isinstance(x, Tensor)]:
                    raise StaysInTorch("it writes into its inputs, as in training")
                self._keep(key, self._compiled(given, wanted), given)
            except StaysInTorch as why:
                self._stays(str(why))
            except LightenError as problem:
                self._stays(problem.message.rstrip("."))
        return wanted

    def _keep(self, key: Key, run: Any, given: Sequence[Any]) -> None:
        """Keep a run, and the memory of the weights it was made from, that no other take its place;
        runs of former weights go, and of many shapes the oldest.
        """
        kept = [(other, found) for other, found in self._runs.items() if other[0] == key[0]]
        packed = [given[i].detach() for i in self.weights]
        self._runs = dict([*kept[1 - SHAPES :], (key, (run, packed))])

    def _compiled(self, given: Sequence[Any], wanted: Sequence[Any]) -> Any:
        inputs = tuple(given[i] for i in self.flowing)
        _check(inputs, wanted)
        self.kinds = [y.dtype for y in wanted]
        with torch.no_grad():
            program = lower(bound(self.graph, given), inputs)
        if len(program.outputs) != len(wanted):
            raise StaysInTorch("one of its outputs does not follow from its inputs")
        run = Native().compile(program, torch.get_num_threads())
        _compare(self._run(run, given), wanted)
        if run.plan.interpreted:
            names = ", ".join(run.plan.interpreted)
            LOG.warning("lighten runs these ops of a graph without a kernel, slowly: %s", names)
        return run

    def _stays(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            LOG.warning("lighten leaves a graph to torch: %s", reason)


def bound(graph: fx.GraphModule, given: Sequence[Any]) -> fx.GraphModule:
    """The graph as a network: weights at the paths they had, and the batch size left free."""
    tree, copied = nn.Module(), fx.Graph()
    seen: dict[fx.Node, fx.Node] = {}
    copied.output(copied.graph_copy(graph.graph, seen))
    holes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    inputs = [node for node in holes if not is_weight(node) and isinstance(value(node), Tensor)]
    for node, x in zip(holes, given, strict=True):
        if node in inputs:
            continue
        with copied.inserting_before(_after_holes(copied)):
            if is_weight(node):
                new = copied.get_attr(_hang(tree, _path(node), x))
            else:
                new = _size(copied, node, inputs, seen)
        seen[node].replace_all_uses_with(new)
        copied.erase_node(seen[node])
    for node in list(graph.graph.nodes):
        if node.op == "call_method" and node.target in RESIZES:
            _free_batch(copied, node, inputs, seen)
    write_out_(copied)
    for node in copied.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        node.meta["nn_module_stack"] = {
            key: (CALLER.sub("", path), kind) for key, (path, kind) in stack.items()
        }
    return fx.GraphModule(tree, copied)


def is_weight(node: fx.Node) -> bool:
    """Whether a placeholder is a parameter or buffer of a module, not what a call gives."""
    return "_dynamo_static_input_type" in node.meta.get("tensor_dict", {})


def value(node: fx.Node) -> Any:
    """What stood for a node's result while it was captured."""
    return node.meta.get("example_value")


def _path(node: fx.Node) -> str:
    """Where a weight lies among the modules: `layer1.0.weight`."""
    source = getattr(getattr(node, "_dynamo_source", None), "name", "")
    return ".".join(PART.findall(source if isinstance(source, str) else source())) or node.name


def _hang(tree: nn.Module, path: str, tensor: Tensor) -> str:
    """Put a weight into the tree at its path, which may end in a number where it was taken."""
    *parents, leaf = path.split(".")
    for name in parents:
        if not isinstance(getattr(tree, name, None), nn.Module):
            tree.add_module(name, nn.Module())
        tree = getattr(tree, name)
    while hasattr(tree, leaf):
        leaf += "_"
    tree.register_buffer(leaf, tensor.detach())
    return ".".join((*parents, leaf))


def _after_holes(graph: fx.Graph) -> fx.Node:
    nodes: list[fx.Node] = list(graph.nodes)
    return next(node for node in nodes if node.op != "placeholder")


def _size(graph: fx.Graph, node: fx.Node, inputs: Sequence[fx.Node], seen: Any) -> fx.Node:
    """A size that may change, asked of the input whose size it is."""
    for source in inputs:
        for axis, size in enumerate(value(source).shape):
            if str(size) == str(value(node)):
                found: fx.Node = graph.call_method("size", (seen[source], axis))
                return found
    raise StaysInTorch(f"the number {node.name} may change and is the size of no input")


def _free_batch(graph: fx.Graph, node: fx.Node, inputs: Sequence[fx.Node], seen: Any) -> None:
    """A shape that begins with the batch size of the capture begins with the input's own."""
    copy, shape = seen[node], value(node).shape
    nested = isinstance(copy.args[1], (tuple, list))
    sizes = list(copy.args[1] if nested else copy.args[1:])
    batch = value(inputs[0]).shape[0] if inputs else None
    if not sizes or not isinstance(sizes[0], int) or not shape[0] == sizes[0] == batch:
        return
    with graph.inserting_before(copy):
        sizes[0] = graph.call_method("size", (seen[inputs[0]], 0))
    copy.args = (copy.args[0], tuple(sizes)) if nested else (copy.args[0], *sizes)


def _check(inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Refuse what a program cannot be given or cannot give."""
    if not inputs or not all(isinstance(x, Tensor) and x.ndim for x in inputs):
        raise StaysInTorch("it is not a function of tensors with a batch")
    if len({len(x) for x in inputs}) > 1:
        raise StaysInTorch("its inputs have no common batch")
    if not all(isinstance(y, Tensor) for y in outputs):
        raise StaysInTorch("one of its outputs is not a tensor")
    for x in (*inputs, *outputs):
        if x.device.type != "cpu":
            raise StaysInTorch(f"it works on {x.device.type}; the engine runs on CPUs")
        if x.is_complex() or (x.is_floating_point() and x.dtype != torch.float32):
            raise StaysInTorch(f"it works in {str(x.dtype).removeprefix('torch.')}")


def _compare(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for y, right in zip(found, wanted, strict=True):
        a, b = (x.detach().numpy().astype(np.float64) for x in (y, right))
        off = np.abs(a - b).max(initial=0.0) if a.shape == b.shape else np.inf
        if not off <= CLOSE * max(np.abs(b).max(initial=0.0), 1e-6):
            raise StaysInTorch(f"the engine's answer is another (by {off:.1e})")


def _learns(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _held(x: Tensor) -> Held:
    """Which memory, and how often it was written; tensors of inference mode are not counted."""
    return x.data_ptr(), 0 if x.is_inference() else x._version
