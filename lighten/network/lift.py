"""From any exportable network to one we can rewrite: real modules, plain functions between them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from lighten.errors import NetworkError, WeightsError
from lighten.network.einsum import without_einsum
from lighten.network.export import export, without_writes
from lighten.network.synonyms import without_synonyms

aten = torch.ops.aten

# The ops that a stock module's forward becomes, one op per call.
STOCK: dict[Any, tuple[type[nn.Module], ...]] = {
    aten.conv1d.default: (nn.Conv1d,),
    aten.conv2d.default: (nn.Conv2d,),
    aten.conv3d.default: (nn.Conv3d,),
    aten.conv1d.padding: (nn.Conv1d,),
    aten.conv2d.padding: (nn.Conv2d,),
    aten.conv3d.padding: (nn.Conv3d,),
    aten.conv_transpose1d.default: (nn.ConvTranspose1d,),
    aten.conv_transpose2d.input: (nn.ConvTranspose2d,),
    aten.conv_transpose3d.input: (nn.ConvTranspose3d,),
    aten.linear.default: (nn.Linear,),
    aten.batch_norm.default: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    aten.layer_norm.default: (nn.LayerNorm,),
    aten.group_norm.default: (nn.GroupNorm,),
    aten.embedding.default: (nn.Embedding,),
    aten.dropout.default: (nn.Dropout,),
    aten.feature_dropout.default: (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
}
DROPOUT = "dropout_at_"  # how the dropouts are called that were functions
DROPOUTS = {aten.dropout.default: nn.Dropout, aten.feature_dropout.default: nn.Dropout2d}


class Lifted(fx.GraphModule):
    """A graph module whose deep copies keep every name, order and buffer of the original."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Lifted:
        tree = nn.Module()
        for part in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            tree.__dict__[part] = copy.deepcopy(self.__dict__[part], memo)
        return assemble(tree, copy_graph(self.graph), self.training)


def lift(net: nn.Module, example: Any) -> fx.GraphModule:
    """The network as an `fx.GraphModule`; `net` itself is not touched.

    Modules with parameters, and dropout, are called at their original paths; everything between
    them is `torch.ops.aten` functions without in-place writes. The batch size stays free and
    `node.meta["val"]` has the shapes at the example's batch. `example` is a tensor or a tuple of
    them. Equal to `net` to 1e-6 in eval and train mode, with the same `state_dict` names; but
    dropout between the layers of a recurrent module is lost, as torch drops it while tracing.

    NetworkError where it cannot be exported; WeightsError where a parameter is NaN or infinite.

    >>> lifted = lift(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(1, 4))
    >>> [node.op for node in lifted.graph.nodes]
    ['placeholder', 'call_module', 'call_function', 'output']
    """
    check_weights(net)
    examples = as_examples(example)
    source = copy.deepcopy(net).eval()
    exported = export(source, examples)
    lifted = _lift_graph(exported, copy.deepcopy(net))
    lifted.train(net.training)
    annotate(lifted, examples)
    return lifted


def as_examples(example: Any) -> tuple[Tensor, ...]:
    """A tensor or array, or a sequence of them, as a tuple of tensors."""
    given = (example,) if isinstance(example, (Tensor, np.ndarray)) else tuple(example)
    examples = tuple(torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in given)
    for value in examples:
        if not isinstance(value, Tensor):
            raise NetworkError(
                f"The example input must be a tensor or a tuple of tensors, but got "
                f"{type(value).__name__}."
            )
    return examples


def check_weights(net: nn.Module) -> None:
    """WeightsError at the first parameter or buffer that is not finite."""
    for name, value in net.state_dict().items():
        if not value.is_floating_point() or bool(torch.isfinite(value).all()):
            continue
        kind = "NaN" if bool(value.isnan().any()) else "infinite"
        raise WeightsError(f"{name} holds {kind} values.", "Train again or load other weights.")


def annotate(module: fx.GraphModule, examples: Sequence[Tensor]) -> None:
    """Write `node.meta["val"]`: the shapes at the examples' batch size, nothing computed."""
    mode = torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True)
    was_training = {name for name, part in module.named_modules() if part.training}
    module.eval()
    FakeTensorProp(module, mode).propagate(*examples)
    for name, part in module.named_modules():
        part.training = name in was_training


def assemble(tree: nn.Module, graph: fx.Graph, training: bool) -> Lifted:
    """A graph module over the modules, parameters and buffers of `tree`, all kept, in order."""
    module = Lifted(nn.Module(), fx.Graph())
    for part in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
        module.__dict__[part] = tree.__dict__[part]
    module.graph = graph
    module.training = training
    return module


def copy_graph(graph: fx.Graph) -> fx.Graph:
    """A copy with its own nodes, the same names, and the same input and output structure."""
    copied = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    result = copied.graph_copy(graph, values)
    copied.output(result)
    copied.set_codegen(graph._codegen)
    return copied


# ── modules ───────────────────────────────────────────────────────────────────────────────────


def _call_key(node: fx.Node) -> tuple[str, str]:
    """Which call of which module the node came from: (unique key, module path)."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    key = next(reversed(stack))
    return key, stack[key][0]


def _lift_graph(exported: fx.GraphModule, net: nn.Module) -> Lifted:
    graph = exported.graph
    without_writes(graph)
    without_einsum(graph)
    without_synonyms(graph)
    _drop_whole_slices(graph)
    modules = dict(net.named_modules(remove_duplicate=False))
    first_path = {id(module): path for path, module in net.named_modules()}
    calls = Counter(_call_key(node)[0] for node in graph.nodes if node.op == "call_function")
    tree = _skeleton(net)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        key, path = _call_key(node)
        owner = modules.get(path)
        if path and calls[key] == 1 and owner is not None and _is_stock(node, owner, exported, net):
            _call_module(node, first_path[id(owner)])
        elif node.target in DROPOUTS:
            name = f"{DROPOUT}{node.name}"
            tree.add_module(name, DROPOUTS[node.target](node.args[1]))
            _call_module(node, name)
    _tidy(graph)
    _keep_constants(exported, tree, graph)
    return assemble(tree, graph, net.training)


def _is_stock(node: fx.Node, owner: nn.Module, exported: fx.GraphModule, net: nn.Module) -> bool:
    """Whether calling `owner` on the node's first argument is exactly this node."""
    kinds = STOCK.get(node.target, ())
    kind = next((kind for kind in kinds if isinstance(owner, kind)), None)
    if kind is None or type(owner).forward is not kind.forward:
        return False
    own = [*owner._parameters.values(), *owner._buffers.values()]
    for argument in node.all_input_nodes:
        if argument is _input(node):
            continue
        source = _resolve(net, str(argument.target)) if argument.op == "get_attr" else None
        if source is None or not any(source is value for value in own):
            return False
    if isinstance(owner, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        padding = node.args[5] if len(node.args) > 5 else [0] * len(owner.stride)
        return tuple(padding) == tuple(owner.output_padding)  # type: ignore[arg-type]
    return True


def _input(node: fx.Node) -> Any:
    """The tensor a stock module would be called on."""
    return node.args[1] if node.target is aten.embedding.default else node.args[0]


def _call_module(node: fx.Node, path: str) -> None:
    with node.graph.inserting_before(node):
        call = node.graph.create_node("call_module", path, (_input(node),))
    call.meta.update(node.meta)
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _drop_whole_slices(graph: fx.Graph) -> None:
    """Remove slices that take everything (what `x[:, …]` makes of the batch)."""
    for node in list(graph.nodes):
        if node.target is not aten.slice.Tensor:
            continue
        given: tuple[Any, ...] = tuple(node.args[2:])
        start, end, step = given + (None, 2**63 - 1, 1)[len(given) :]
        if start in (None, 0) and end in (None, 2**63 - 1) and step == 1:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _tidy(graph: fx.Graph) -> None:
    """Drop copies of constants, and values nobody reads (inputs stay)."""
    for node in graph.nodes:
        constant = node.args and isinstance(node.args[0], fx.Node) and node.args[0].op == "get_attr"
        if constant and node.target in (aten.lift_fresh_copy.default, aten.detach.default):
            node.replace_all_uses_with(node.args[0])
    for node in reversed(list(graph.nodes)):
        if node.op in ("get_attr", "call_function") and not node.users:
            schema = getattr(node.target, "_schema", None)
            if schema is None or not schema.is_mutable:
                graph.erase_node(node)


def _skeleton(net: nn.Module) -> nn.Module:
    """The network's module tree in its order: leaves as they are, containers as plain modules."""
    known = {kind for kinds in STOCK.values() for kind in kinds}
    made: dict[int, nn.Module] = {}

    def build(module: nn.Module) -> nn.Module:
        if id(module) not in made:
            if any(
                isinstance(module, kind) and type(module).forward is kind.forward for kind in known
            ):
                made[id(module)] = module
                return module
            made[id(module)] = plain = nn.Module()
            for part in ("_parameters", "_buffers", "_non_persistent_buffers_set"):
                plain.__dict__[part] = module.__dict__[part]
            for name, child in module._modules.items():
                plain.add_module(name, None if child is None else build(child))
        return made[id(module)]

    return build(net)


def _keep_constants(exported: fx.GraphModule, tree: nn.Module, graph: fx.Graph) -> None:
    """Constants that the export lifted out of the code become non-persistent buffers."""
    for node in graph.nodes:
        if node.op != "get_attr" or _resolve(tree, str(node.target)) is not None:
            continue
        name = str(node.target).replace(".", "_")
        tree.register_buffer(name, _resolve(exported, str(node.target)), persistent=False)
        node.target = name


def _resolve(module: nn.Module, path: str) -> Any:
    """The attribute at a dotted path, or None."""
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
        if value is None:
            return None
    return value
