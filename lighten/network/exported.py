"""A `.pt2` file as a network that can learn again: real modules where layers were.

An exported program has lost its modules; its weights still lie at the layers' paths. A layer whose
parameters are all read by one op gets its module back at that path, with settings from the op.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_unflatten

from lighten.errors import NetworkError
from lighten.network.lower_ops import bound

aten = torch.ops.aten
CODE = ("opaque_obj", "custom_obj")  # entries that torch would unpickle into any object
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
TRANSPOSED = ("output_padding",)
Settings = Mapping[str, Any]
Row = tuple[str, Callable[[Settings, Tensor], nn.Module]]


def read_exported(path: Path) -> nn.Module:
    """The network in a file that `torch.export.save` wrote, in eval mode until told otherwise.

    NetworkError where it cannot be read, or would run code while it is read.
    """
    _refuse_code(path)
    try:
        with _quiet(), _weights_only():
            program = torch.export.load(path)
            module: fx.GraphModule = program.module(check_guards=False)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NetworkError(
            f"{path} cannot be read as a torch.export file: {reason}.",
            "Write it again with torch.export.save, with the torch that is installed here.",
        ) from error
    return rebuilt(module)


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise NetworkError(f"{path} is not a whole torch.export file: {error}.") from error
    objects = [name for name in names if Path(name).name.startswith(CODE)]
    if objects:
        raise NetworkError(
            f"{path} was refused: it holds {Path(objects[0]).name}, an object that would run code "
            "when read.",
            "Give the network's source as FILE.py:FACTORY instead.",
        )


@contextmanager
def _weights_only() -> Iterator[None]:
    """Inside, torch.load makes tensors and nothing else, whoever calls it and however."""
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WEIGHTS_ONLY]
        else:
            os.environ[WEIGHTS_ONLY] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch logs what we say in one sentence."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def rebuilt(module: fx.GraphModule) -> nn.Module:
    """An exported graph module with layers as modules and the batch size free."""
    tree = _tree(module)
    graph = module.graph
    _free_batch(graph)
    for node in list(graph.nodes):
        if node.op == "call_module":  # torch's own checks of the example's shape
            graph.erase_node(node)
        elif node.target in LAYERS:
            _restore(node, tree)
    for node in reversed(list(graph.nodes)):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    _plain_output(graph)
    return fx.GraphModule(tree, graph).eval()


def _tree(module: nn.Module) -> nn.Module:
    """The module's parameters, buffers and children as plain modules."""
    plain = nn.Module()
    for part in ("_parameters", "_buffers", "_non_persistent_buffers_set"):
        plain.__dict__[part] = module.__dict__[part]
    for name, child in module._modules.items():
        if child is not None and name != "_guards_fn":
            plain.add_module(name, _tree(child))
    return plain


def _free_batch(graph: fx.Graph) -> None:
    """Views that name the example's batch size take it from their input instead."""
    for node in graph.nodes:
        if node.target not in (aten.view.default, aten.reshape.default, aten.expand.default):
            continue
        source, sizes = node.args[0], list(node.args[1])
        batches = [n.meta["val"].shape[:1] for n in (source, node) if "val" in n.meta]
        fixed = sizes and isinstance(sizes[0], int) and sizes[0] > 0
        if fixed and len(batches) == 2 and batches[0] == batches[1] == (sizes[0],):
            with graph.inserting_before(node):
                size = graph.call_function(aten.sym_size.int, (source, 0))
            node.args = (source, [size, *sizes[1:]], *node.args[2:])


def _plain_output(graph: fx.Graph) -> None:
    """The output's own structure instead of a flat list with the recipe to undo it."""
    codegen = graph._codegen
    if not isinstance(codegen, fx.graph._PyTreeCodeGen):
        return
    specification = codegen.pytree_info.out_spec
    output = next(node for node in graph.nodes if node.op == "output")
    leaves = list(output.args[0])
    output.args = (leaves[0] if specification is None else tree_unflatten(leaves, specification),)
    graph.set_codegen(fx.graph.CodeGen())


def _restore(node: fx.Node, tree: nn.Module) -> None:
    """Replace the op by a call of the module it came from, where that is certain."""
    first, build = LAYERS[node.target]
    settings = bound(node.target, node.args, node.kwargs)
    reads = [value for value in settings.values() if isinstance(value, fx.Node)]
    held = [read for read in reads if read is not settings[first]]
    weight = settings["weight"]
    if weight is None or any(n.op != "get_attr" or len(n.users) != 1 for n in held):
        return
    path, _, leaf = str(weight.target).rpartition(".")
    if not path or leaf != "weight" or any(str(n.target).rpartition(".")[0] != path for n in held):
        return
    owner = tree.get_submodule(path)
    if owner._modules or not isinstance(settings[first], fx.Node):
        return
    layer = build(settings, owner.weight)  # type: ignore[arg-type]
    if set(layer.state_dict()) != set(owner.state_dict()):
        return
    layer._parameters.update(owner._parameters)
    layer._buffers.update(owner._buffers)
    parent, _, name = path.rpartition(".")
    tree.get_submodule(parent)._modules[name] = layer
    with node.graph.inserting_before(node):
        call = node.graph.call_module(path, (settings[first],))
    call.meta.update(node.meta)
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _convolution(kind: Callable[..., nn.Module], extra: tuple[str, ...] = ()) -> Row:
    """A convolution; its transpose has the channels of its weight the other way round."""

    def build(settings: Settings, weight: Tensor) -> nn.Module:
        channels = [weight.shape[1] * settings["groups"], weight.shape[0]]
        sizes = ("stride", "padding", "dilation", *extra)
        return kind(
            *(reversed(channels) if extra else channels),
            tuple(weight.shape[2:]),
            **{name: _whole(settings[name], weight) for name in sizes},
            groups=settings["groups"],
            bias=settings["bias"] is not None,
            device="meta",
        )

    return "input", build


def _whole(sizes: Any, weight: Tensor) -> Any:
    """One size per spatial dimension; "same" and "valid" stay."""
    if isinstance(sizes, str):
        return sizes
    return tuple(sizes) if len(sizes) == weight.ndim - 2 else tuple(sizes) * (weight.ndim - 2)


def _linear(settings: Settings, weight: Tensor) -> nn.Module:
    return nn.Linear(
        weight.shape[1], weight.shape[0], bias=settings["bias"] is not None, device="meta"
    )


def _batch_norm(settings: Settings, weight: Tensor) -> nn.Module:
    """The class follows the input's rank; all three normalise alike."""
    rank = len(settings["input"].meta["val"].shape)
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(rank, nn.BatchNorm1d)
    return kind(len(weight), eps=settings["eps"], momentum=settings["momentum"], device="meta")


def _layer_norm(settings: Settings, weight: Tensor) -> nn.Module:
    bias = settings["bias"] is not None
    return nn.LayerNorm(list(weight.shape), eps=settings["eps"], bias=bias, device="meta")


def _group_norm(settings: Settings, weight: Tensor) -> nn.Module:
    return nn.GroupNorm(settings["num_groups"], len(weight), eps=settings["eps"], device="meta")


def _embedding(settings: Settings, weight: Tensor) -> nn.Module:
    return nn.Embedding(weight.shape[0], weight.shape[1], device="meta")


# The op a layer became → the name of its argument, and how to build the layer again.
LAYERS: dict[Any, Row] = {
    aten.conv1d.default: _convolution(nn.Conv1d),
    aten.conv2d.default: _convolution(nn.Conv2d),
    aten.conv3d.default: _convolution(nn.Conv3d),
    aten.conv2d.padding: _convolution(nn.Conv2d),
    aten.conv_transpose1d.default: _convolution(nn.ConvTranspose1d, TRANSPOSED),
    aten.conv_transpose2d.input: _convolution(nn.ConvTranspose2d, TRANSPOSED),
    aten.conv_transpose3d.input: _convolution(nn.ConvTranspose3d, TRANSPOSED),
    aten.linear.default: ("input", _linear),
    aten.batch_norm.default: ("input", _batch_norm),
    aten.layer_norm.default: ("input", _layer_norm),
    aten.group_norm.default: ("input", _group_norm),
    aten.embedding.default: ("indices", _embedding),
}
