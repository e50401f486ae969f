"""`lower`: the one door from torch to `program`.

The trace is run twice on shapes alone, with batches of two and of three samples. What differs
between the two runs is where the batch lies, which no rule then has to guess; the rules in
`lower_ops` see per-sample values. What no input reaches is computed once and stored.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

from lighten.core.task import Preprocess
from lighten.errors import UnsupportedOps
from lighten.network.lift import Lifted, as_examples, lift
from lighten.network.lower_batch import (
    BATCHES,
    LOST,
    PerBatch,
    constant,
    located,
    plain,
    settled,
    supposed,
)
from lighten.network.lower_ops import bound, function_rule, module_rule
from lighten.network.lower_shapes import reshape
from lighten.network.lower_step import Constant, Draft, Flow, Layout, Step, Unsupported
from lighten.network.projected import as_shipped
from lighten.program.fuse import drop_unused, fuse
from lighten.program.ir import Program, Value

FILLS = {
    getattr(torch.ops.aten, name).default
    for name in ("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
}
KEEPS_SHAPE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True, eq=False)
class Traced:
    """One node: its result at each batch size, and what stands for it in the program.

    `symbol` is a Flow, a Constant, a list of them, a plain value, or LOST.
    """

    runs: tuple[Any, Any]
    symbol: Any


def lower(
    module: nn.Module,
    example: Any,
    *,
    preprocess: Preprocess = Preprocess(),  # noqa: B008 (frozen)
    labels: Sequence[str] = (),
    origin: str = "",
    fused: bool = True,
) -> Program:
    """The network as a `Program` that computes what it computes in eval mode.

    `module` is any network or what `lift` made of it, and is not touched; `example` is a tensor
    or a tuple of them with the batch first, of which shapes and types are read. Ops are named by
    module path. `fused` folds BatchNorm and activations into the ops before them.

    UnsupportedOps names every op that has no counterpart; NetworkError where it cannot be exported.

    >>> program = lower(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(1, 4))
    >>> [(op.kind, op.name, op["activation"]) for op in program.ops]
    [('linear', '0', 'relu')]
    """
    examples = as_examples(example)
    lifted = module if isinstance(module, Lifted) else lift(module, examples)
    with evaluating(lifted), torch.no_grad():
        trace = Trace(lifted, examples)
        for node in lifted.graph.nodes:
            trace.visit(node)
    if trace.unsupported:
        hint = "Write those lines of the network with other operations."
        raise UnsupportedOps("lighten", trace.unsupported, hint)
    draft = trace.draft
    program = Program(
        trace.inputs,
        trace.outputs,
        tuple(draft.ops),
        draft.values,
        {**draft.arrays, **as_shipped(lifted, draft.arrays)},
        preprocess,
        tuple(labels),
        origin,
        trace.integers,
        tuple(draft.measured),
    )
    return fuse(program) if fused else drop_unused(program)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every part's own mode after it."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class Trace:
    """The walk over a lifted graph that drafts the program."""

    def __init__(self, module: fx.GraphModule, examples: Sequence[Tensor]) -> None:
        self.module = module
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.examples = iter(examples)
        self.draft = Draft()
        self.traced: dict[fx.Node, Traced] = {}
        self.unsupported: list[str] = []
        self.inputs: tuple[str, ...] = ()
        self.integers: tuple[str, ...] = ()
        self.outputs: tuple[str, ...] = ()

    def visit(self, node: fx.Node) -> None:
        """Trace one node and draft its ops; what cannot be lowered is listed."""
        try:
            if node.op == "placeholder":
                self.traced[node] = self.placeholder(node)
            elif node.op == "get_attr":
                tensor = operator.attrgetter(str(node.target))(self.module)
                self.traced[node] = Traced((tensor, tensor), Constant(tensor, str(node.target)))
            elif node.op == "output":
                self.output(node)
            else:
                runs = (self.run(node, 0), self.run(node, 1))
                self.traced[node] = Traced(runs, LOST)
                self.traced[node] = Traced(runs, self.symbol(node, runs))
        except Unsupported as reason:
            what = "the output" if node.op == "output" else self.target(node)
            path = module_path(node)
            self.unsupported.append(f"{what}{f' in {path}' if path else ''} ({reason})")
            if node in self.traced:
                runs = self.traced[node].runs
                self.traced[node] = Traced(runs, supposed(node.name, runs))

    def target(self, node: fx.Node) -> str:
        """What the node calls, as an error names it."""
        if node.op != "call_module":
            return str(node.target)
        return type(self.module.get_submodule(str(node.target))).__name__

    def placeholder(self, node: fx.Node) -> Traced:
        """An input: the batch first, the rest as in the example."""
        example = next(self.examples)
        with self.mode:
            runs = tuple(
                torch.empty((batch, *example.shape[1:]), dtype=example.dtype) for batch in BATCHES
            )
        shape = tuple(example.shape[1:])
        self.draft.values[node.name] = Value(shape)
        self.inputs += (node.name,)
        if not example.is_floating_point():
            self.integers += (node.name,)
        return Traced((runs[0], runs[1]), Flow(node.name, shape, dtype=example.dtype))

    def output(self, node: fx.Node) -> None:
        """The outputs, in order; each is a value of its own that some op makes."""
        for leaf in pytree.tree_leaves(node.args[0]):
            symbol = self.traced[leaf].symbol if isinstance(leaf, fx.Node) else None
            if symbol is LOST or leaf is None:
                continue
            if not isinstance(symbol, Flow):
                raise Unsupported("it does not depend on the input")
            if symbol.layout != Layout():
                raise Unsupported("its batch is not the first dimension")
            if symbol.name in (*self.inputs, *self.outputs):
                step = Step(self.draft, "output", {}, symbol.shape, symbol.layout)
                symbol = step.emit("cast", [symbol.name], symbol.shape)
            self.outputs += (symbol.name,)

    def run(self, node: fx.Node, which: int) -> Any:
        """The node's result at one of the two batch sizes: real where no input reaches it."""
        arguments, named = fx.map_arg(
            (node.args, node.kwargs), lambda n: self.traced[n].runs[which]
        )
        call: Any = node.target
        if node.op == "call_module":
            call = self.module.get_submodule(str(node.target))
            if isinstance(call, KEEPS_SHAPE):  # much slower to trace than to know
                return arguments[0]
        tensors = [x for x in pytree.tree_leaves((arguments, named)) if isinstance(x, Tensor)]
        if node.target in FILLS:  # only the shape and the type of what it is given are read
            arguments = tuple(
                torch.empty(x.shape, dtype=x.dtype) if isinstance(x, Tensor) else x
                for x in arguments
            )
            return call(*arguments, **named)
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return call(*arguments, **named)
        with self.mode:
            return call(*arguments, **named)

    def symbol(self, node: fx.Node, runs: tuple[Any, Any]) -> Any:
        """What stands for the node's result in the program."""
        symbols = [self.traced[source].symbol for source in node.all_input_nodes]
        if node.target is operator.getitem:
            return self.item(node)
        leaves = pytree.tree_leaves(runs[0])
        if not any(isinstance(leaf, Tensor) for leaf in leaves):
            return plain(*runs)
        if not any(isinstance(leaf, FakeTensor) for leaf in leaves):
            return constant(node.name, runs)
        if any(symbol is LOST for symbol in symbols):
            return LOST
        return self.lowered(node, runs)

    def item(self, node: fx.Node) -> Any:
        """One of several results."""
        several = self.traced[node.args[0]].symbol  # type: ignore[index]
        if several is LOST:
            return LOST
        chosen = several[node.args[1]]
        if chosen is None:
            raise Unsupported("a further result of it is used")
        return chosen

    def lowered(self, node: fx.Node, runs: tuple[Any, Any]) -> Any:
        """Draft the node's ops by its rule."""
        rule, arguments, name = self.rule(node)
        flows = [value for value in pytree.tree_leaves(arguments) if isinstance(value, Flow)]
        several = isinstance(runs[0], (tuple, list))
        firsts = (runs[0][0], runs[1][0]) if several else runs
        around = self.source_shapes(node) if rule is reshape else None
        layout, shape = located(firsts, flows, around)
        step = Step(self.draft, name, arguments, shape, layout, stated(node))
        result = rule(step)
        if not several:
            return settled(result, (layout, shape), runs[0].dtype)
        places = [located(pair, flows, None) for pair in zip(*runs, strict=True)]
        return [
            None if flow is None else settled(flow, place, run.dtype)
            for flow, place, run in zip(result, places, runs[0], strict=True)
        ]

    def source_shapes(self, node: fx.Node) -> tuple[int, ...]:
        """The torch shape of the node's first argument, with a batch of one."""
        two, three = self.traced[node.args[0]].runs  # type: ignore[index]
        return tuple(a - (b - a) for a, b in zip(two.shape, three.shape, strict=True))

    def rule(self, node: fx.Node) -> tuple[Any, dict[str, Any], str]:
        """The rule for a node, its arguments by name, and what to call its ops."""
        arguments, named = fx.map_arg((node.args, node.kwargs), lambda n: self.traced[n].symbol)
        if node.op == "call_module":
            path = str(node.target)
            found = module_rule(self.module.get_submodule(path))
            if found is None:
                raise Unsupported("lighten has no rule for it")
            rule, first, settings = found
            tensors = {
                key: Constant(value, f"{path}.{key}") if isinstance(value, Tensor) else value
                for key, value in settings.items()
            }
            if tensors.get("mode", "zeros") != "zeros":
                raise Unsupported(f"padding with mode {tensors['mode']!r} is not supported")
            return rule, {first: arguments[0], **tensors}, path
        function = function_rule(node.target)
        if function is None:
            raise Unsupported("lighten has no rule for it")
        by_name = bound(node.target, arguments, named)
        if any(isinstance(value, PerBatch) for value in by_name.values()):
            raise Unsupported("it depends on the batch size")
        return function, by_name, function_name(node)


def module_path(node: fx.Node) -> str:
    """The path of the module that a node belongs to."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    return next(reversed(stack.values()))[0] if stack else ""


def stated(node: fx.Node) -> bool:
    """Whether the node is a call of a module of torch's own, which states its numbers."""
    stack = node.meta.get("nn_module_stack") or {}
    kind = next(reversed(stack.values()))[1] if stack else ""
    path = kind if isinstance(kind, str) else kind.__module__
    return node.op == "call_module" or path.startswith("torch.nn.modules.")


def function_name(node: fx.Node) -> str:
    """What to call a function's ops: its module's path and its own name."""
    own = str(node.target).split(".")[1].strip("_")
    path = module_path(node)
    return f"{path}.{own}" if path else own
