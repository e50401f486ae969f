"""A lifted network on disk without its class: `weights.safetensors`, and beside it how the layers
are connected, as JSON, with the constants of the code. Reading it runs no code of the file's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_unflatten

from lighten.core.files import write_bytes
from lighten.errors import NetworkError, WeightsError
from lighten.network.lift import Lifted, assemble
from lighten.network.weights import said, save_weights
from lighten.network.written_form import (
    called,
    check_keywords,
    dotted,
    identifier,
    named,
    read,
    written,
)

WEIGHTS, STRUCTURE = "weights.safetensors", "structure.safetensors"
VERSION = 1
Json = Mapping[str, Any]
# what a structure that makes no sense ends in, somewhere between its text and a graph
MALFORMED = (
    *(LookupError, TypeError, ValueError, AttributeError),
    *(RuntimeError, ArithmeticError, AssertionError),
)

CONV = "in_channels out_channels kernel_size stride padding dilation groups padding_mode".split()
BATCH_NORM = "num_features eps momentum affine track_running_stats".split()
# class → the settings it is built from; `bias` is whether there is one
SETTINGS: dict[str, list[str]] = {
    **{f"Conv{n}d": CONV for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": [*CONV, "output_padding"] for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": BATCH_NORM for n in (1, 2, 3)},
    "Linear": ["in_features", "out_features"],
    "LayerNorm": ["normalized_shape", "eps", "elementwise_affine"],
    "GroupNorm": ["num_groups", "num_channels", "eps", "affine"],
    "Embedding": ["num_embeddings", "embedding_dim", "padding_idx"],
    "Dropout": ["p"],
    **{f"Dropout{n}d": ["p"] for n in (1, 2, 3)},
}
BIASED = ("Conv", "Linear", "LayerNorm")  # classes that take `bias`, by how they begin


def save_network(module: nn.Module, folder: Path) -> None:
    """Write `weights.safetensors` and `structure.safetensors` into `folder`.

    The weights keep their names. NetworkError where an operation has no written form.
    """
    if not isinstance(module, fx.GraphModule):
        raise NetworkError(f"A {type(module).__name__} must be traced before it can be stored.")
    constants = _constants(module)
    try:
        text = json.dumps(_described(module, constants))
    except MALFORMED as error:
        raise NetworkError(f"The network has no written form: {said(error)}.") from error
    data = save(
        {n: v.detach().contiguous().clone() for n, v in constants.items()}, {"lighten": text}
    )
    save_weights(module, folder / WEIGHTS)
    write_bytes(folder / STRUCTURE, data)


def read_network(folder: Path) -> Lifted:
    """The network that `save_network` wrote, in eval mode: layers at their paths, ready to learn.

    NetworkError where the structure, WeightsError where the weights cannot be read.
    """
    path = folder / STRUCTURE
    if not path.is_file():
        raise NetworkError(
            f"{folder} holds no {STRUCTURE}, so there is no network to open.",
            "Give the folder of a finished run (--out of lighten compress).",
        )
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})["lighten"])
        constants = load_file(path)
        if told["version"] != VERSION:
            raise NetworkError(
                f"{path} has version {told['version']}; this lighten reads {VERSION}."
            )
        return _built(told, constants, _weights(folder / WEIGHTS)).eval()
    except (SafetensorError, OSError) as error:
        raise NetworkError(f"{path} is not a whole safetensors file: {said(error)}.") from error
    except MALFORMED as error:
        raise NetworkError(f"{path} does not hold a network: {said(error)}.") from error


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        # a file's bytes lie anywhere; kernels round alike only on aligned memory
        return {name: value.clone() for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {said(error)}.") from error


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def _described(module: fx.GraphModule, constants: Mapping[str, Tensor]) -> dict[str, Any]:
    modules = _modules(module)
    inside = tuple(f"{path}." for path, told in modules.items() if "kind" in told)
    loose = {name for name in module.state_dict() if not name.startswith(inside)}
    parameters = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    buffers = [name for name, _ in module.named_buffers(remove_duplicate=False)]
    return {
        "version": VERSION,
        "modules": modules,
        "parameters": [name for name in parameters if name in loose],
        "buffers": [name for name in buffers if name in loose],
        "constants": list(constants),
        "frozen": [name for name, value in module.named_parameters() if not value.requires_grad],
        "tied": _tied(module),
        "nodes": [_node(node) for node in module.graph.nodes if node.op != "output"],
        "output": _output(module.graph),
    }


def _modules(module: nn.Module) -> dict[str, Json]:
    """Every module by path, in order: a layer's settings, a container's nothing, or where it is."""
    first = {id(part): path for path, part in reversed(list(module.named_modules()))}
    told: dict[str, Json] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        again = first[id(part)] != path
        told[path] = {"same": first[id(part)]} if again else _layer(part) if _kind(part) else {}
    del told[""]
    return told


def _kind(module: nn.Module) -> str:
    """The name of the stock class that the module is, or "" for a container."""
    if module._modules:
        return ""  # a parametrised layer, whose weight the graph computes
    return next((kind.__name__ for kind in type(module).__mro__ if kind.__name__ in SETTINGS), "")


def _layer(module: nn.Module) -> dict[str, Any]:
    kind = _kind(module)
    settings = {name: _setting(getattr(module, name)) for name in SETTINGS[kind]}
    if kind.startswith(BIASED):
        settings["bias"] = getattr(module, "bias", None) is not None
    layer = {"kind": kind, **settings}
    if set(_part(layer).state_dict()) != set(module.state_dict()):
        raise NetworkError(f"A {type(module).__name__} holds more than a {kind} does.")
    return layer


def _setting(value: Any) -> Any:
    """A layer's setting as JSON; sizes become lists, text stays text."""
    if isinstance(value, tuple):
        return [_setting(item) for item in value]
    return value if isinstance(value, str) else written(value)


def _constants(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that the state dict leaves out."""
    kept = module.state_dict()
    return {n: v for n, v in module.named_buffers(remove_duplicate=False) if n not in kept}


def _tied(module: nn.Module) -> list[list[str]]:
    """Names of one and the same parameter or module: the first, then the others."""
    names: dict[int, list[str]] = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return [same for same in names.values() if len(same) > 1]


def _node(node: fx.Node) -> dict[str, Any]:
    target = named(node.target) if node.op == "call_function" else str(node.target)
    kwargs = {name: written(value) for name, value in node.kwargs.items()}
    return {
        "name": node.name,
        "op": node.op,
        "target": target,
        "args": [written(a) for a in node.args],
        "kwargs": kwargs,
    }


def _output(graph: fx.Graph) -> Any:
    """The output in its structure; mappings and dataclasses become mappings."""
    output = next(node for node in graph.nodes if node.op == "output")
    codegen = graph._codegen
    if not isinstance(codegen, fx.graph._PyTreeCodeGen):
        return written(output.args[0])
    structure, leaves = codegen.pytree_info.out_spec, list(output.args[0])
    return written(leaves[0] if structure is None else tree_unflatten(leaves, structure))


# ── reading ───────────────────────────────────────────────────────────────────────────────────


def _built(told: Json, constants: Json, weights: dict[str, Tensor]) -> Lifted:
    tree = nn.Module()
    for place, layer in told["modules"].items():
        part = tree.get_submodule(dotted(layer["same"])) if "same" in layer else _part(layer)
        _owner(tree, place).add_module(place.rpartition(".")[2], part)
    for kind, source in (("parameters", weights), ("buffers", weights), ("constants", constants)):
        for name in told[kind]:
            _hold(_owner(tree, name), name.rpartition(".")[2], source[name], kind)
    _fill(tree, weights)
    for first, *others in told["tied"]:
        for other in others:
            leaf = other.rpartition(".")[2]
            setattr(_owner(tree, other), leaf, tree.get_parameter(first))
    for name in told["frozen"]:
        tree.get_parameter(name).requires_grad_(False)
    return assemble(tree, _graph(told, tree), training=False)


def _part(layer: Json) -> nn.Module:
    """A container, or a layer without memory, to which the weights bring theirs."""
    if not layer:
        return nn.Module()
    if layer["kind"] not in SETTINGS:
        raise NetworkError(f"{layer['kind']!r} is not a kind of layer that can be opened.")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in layer.items() if k != "kind"}
    if not layer["kind"].startswith("Dropout"):
        settings["device"] = "meta"
    return getattr(nn, layer["kind"])(**settings)  # type: ignore[no-any-return]


def _owner(tree: nn.Module, path: str) -> nn.Module:
    """The module that holds what lies at `path`."""
    return tree.get_submodule(dotted(path).rpartition(".")[0])


def _hold(owner: nn.Module, leaf: str, value: Tensor, kind: str) -> None:
    if kind == "parameters":
        owner.register_parameter(leaf, nn.Parameter(value))
    else:
        owner.register_buffer(leaf, value, persistent=kind == "buffers")


def _fill(tree: nn.Module, weights: dict[str, Tensor]) -> None:
    own = tree.state_dict()
    wrong = [n for n in {*own, *weights} if n not in own or n not in weights]
    wrong += [n for n in own if n in weights and own[n].shape != weights[n].shape]
    if wrong:
        raise WeightsError(f"{WEIGHTS} does not fit {STRUCTURE}: {', '.join(sorted(wrong)[:5])}.")
    tree.load_state_dict(weights, assign=True)


def _graph(told: Json, tree: nn.Module) -> fx.Graph:
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    layers = {place for place, layer in tree.named_modules(remove_duplicate=False) if _kind(layer)}
    tensors = {name for name, _ in tree.named_parameters(remove_duplicate=False)}
    tensors |= {name for name, _ in tree.named_buffers(remove_duplicate=False)}
    for form in told["nodes"]:
        name, args = identifier(form["name"]), tuple(read(item, nodes) for item in form["args"])
        kwargs = {key: read(item, nodes) for key, item in form["kwargs"].items()}
        op, target = form["op"], form["target"]
        if op == "call_function":
            target = called(target)
            check_keywords(target, kwargs)
        elif op == "placeholder":
            target = identifier(target)
        elif target not in {"call_module": layers, "get_attr": tensors}.get(op, ()):
            raise NetworkError(f"A stored network has no {op!r} of {str(target)[:40]!r}.")
        if (kwargs and op != "call_function") or (args and op in ("placeholder", "get_attr")):
            raise NetworkError(f"A {op!r} takes no such arguments.")
        nodes[name] = graph.create_node(op, target, args, kwargs, name)
    graph.output(read(told["output"], nodes))
    graph.lint()
    return graph
