"""Cutting: slices and blocks leave a network physically, and a proof that nothing else changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from lighten.errors import RecipeError
from lighten.network.blocks import shortcut_of
from lighten.network.calls import as_call, aten
from lighten.network.graph import Graph
from lighten.network.groups import Axis
from lighten.network.lift import annotate
from lighten.network.resize import Kept, describe_, resize_
from lighten.network.trace import coupling_of

Keep = Mapping[str, Sequence[int]]


def cut(graph: Graph, keep: Keep, drop: Sequence[str] = ()) -> fx.GraphModule:
    """A smaller copy of the network: of each group named in `keep` only those slices, and without
    the residual branches named in `drop`.

    It keeps the original's `state_dict` names and can be trained, traced, exported and cut again.
    RecipeError for a name or slice that does not exist, or a group left with nothing.
    """
    check_keep(graph, keep, drop)
    coupling = coupling_of(graph)
    gone = coupling.gone(keep)
    module: fx.GraphModule = copy.deepcopy(graph.module)
    kept = Kept(coupling, gone)
    resize_(module.graph, kept)
    widths = _widths(module, kept)
    _slice_(module, coupling.parameters, gone)
    for name, channels in widths.items():
        describe_(module.get_submodule(name), channels)
    drop_(module, graph, drop)
    module.recompile()
    annotate(module, _examples(graph))
    return module


def masked(graph: Graph, keep: Keep, drop: Sequence[str] = ()) -> fx.GraphModule:
    """The network at its original size, with the cut slices multiplied by zero right before every
    weight that reads them: what `cut` must equal.
    """
    check_keep(graph, keep, drop)
    coupling = coupling_of(graph)
    module: fx.GraphModule = copy.deepcopy(graph.module)
    kept = Kept(coupling, coupling.gone(keep))
    modules = dict(module.named_modules(remove_duplicate=False))
    for node in list(module.graph.nodes):
        for source, summed in _contracted(node, modules):
            found = kept.of(source)
            if found is not None and summed in (None, found[0] - source.meta["val"].ndim):
                _mask_(module, node, source, found)
    drop_(module, graph, drop)
    module.recompile()
    return module


def check_keep(graph: Graph, keep: Keep, drop: Sequence[str] = ()) -> None:
    """RecipeError unless every group, slice and block exists and every group keeps something."""
    sizes = {group.name: group.size for group in graph.groups}
    for name, kept in keep.items():
        if name not in sizes:
            raise RecipeError(f"There is no group {name}.", f"The groups are: {', '.join(sizes)}.")
        if not kept or not set(kept) <= set(range(sizes[name])):
            raise RecipeError(
                f"Group {name} must keep at least one of its slices 0…{sizes[name] - 1}, "
                f"but got {list(kept)}."
            )
    blocks = [block.name for block in graph.blocks]
    for name in drop:
        if name not in blocks:
            raise RecipeError(f"There is no block {name}.", f"The blocks are: {', '.join(blocks)}.")


# ── cutting ───────────────────────────────────────────────────────────────────────────────────


def _examples(graph: Graph) -> tuple[Tensor, ...]:
    """Empty inputs with the right shapes and types, at batch 1."""
    nodes = [node for node in graph.module.graph.nodes if node.op == "placeholder"]
    return tuple(torch.zeros(n.meta["val"].shape, dtype=n.meta["val"].dtype) for n in nodes)


def _widths(module: fx.GraphModule, kept: Kept) -> dict[str, tuple[int, int]]:
    """Module path → (channels it read before, after), for every module that a cut touches."""
    widths: dict[str, tuple[int, int]] = {}
    for node in module.graph.nodes:
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            continue
        source, result = kept.of(node.args[0]), kept.of(node)
        if source is not None:
            widths[str(node.target)] = (len(source[1]), int(source[1].sum()))
        elif result is not None:
            shape = node.args[0].meta["val"].shape
            channels = int(shape[1]) if len(shape) > 1 else 0
            widths[str(node.target)] = (channels, channels)
    return widths


def _slice_(module: nn.Module, axes: Mapping[str, tuple[Axis, ...]], gone: Tensor) -> None:
    """Replace every parameter and buffer by its kept slices, at all its names."""
    made: dict[int, Tensor] = {}
    known = {id(value): name for name, value in _tensors(module) if name in axes}
    for name, value in list(_tensors(module)):
        first = known.get(id(value))
        if first is None:
            continue
        if id(value) not in made:
            made[id(value)] = small = sliced(value.detach(), axes[first], gone)
            if isinstance(value, nn.Parameter):
                made[id(value)] = nn.Parameter(small, value.requires_grad)
        owner, _, leaf = name.rpartition(".")
        part = module.get_submodule(owner)
        if isinstance(value, nn.Parameter):
            part._parameters[leaf] = made[id(value)]  # type: ignore[assignment]
        else:
            part._buffers[leaf] = made[id(value)]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def sliced(value: Tensor, axes: Sequence[Axis], gone: Tensor) -> Tensor:
    """The slices of a parameter (or its gradient) that stay."""
    for axis in axes:
        mask = axis.keeps(gone)
        if not bool(mask.all()):
            value = value.index_select(axis.dim, mask.nonzero().flatten().to(value.device))
    return value.clone()


def drop_(module: fx.GraphModule, graph: Graph, drop: Sequence[str]) -> None:
    """Remove residual branches: the add gives way to its shortcut, dead code and modules vanish."""
    chosen = [block for block in graph.blocks if block.name in drop]
    for block in chosen:
        add = next((node for node in module.graph.nodes if node.name == block.add), None)
        if add is None:  # it went with a block around it, or nothing read it
            continue
        shortcut = shortcut_of(add)
        assert shortcut is not None, "a block's add has a shortcut"
        add.replace_all_uses_with(shortcut)
        _erase_dead_(module.graph)
    for layer in dict.fromkeys(layer for block in chosen for layer in block.layers):
        _delete_(module, layer)


def _erase_dead_(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _delete_(module: nn.Module, path: str) -> None:
    """Delete a submodule and the containers that it leaves empty."""
    while path:
        owner, _, leaf = path.rpartition(".")
        parent = module.get_submodule(owner)
        parent._modules.pop(leaf, None)
        if parent._modules or parent._parameters or parent._buffers:
            return
        path = owner


# ── masking ───────────────────────────────────────────────────────────────────────────────────


def _contracted(
    node: fx.Node, modules: Mapping[str, nn.Module]
) -> list[tuple[fx.Node, int | None]]:
    """The values that the node sums over, each with the dimension where only one is meant: what a
    product has along its other dimensions (heads, say) stays apart.
    """
    if node.target is aten.scaled_dot_product_attention.default:
        return [(source, -1) for source in node.all_input_nodes[:2]]
    call = as_call(node, modules)
    if call is None and node.target in (aten.matmul.default, aten.bmm.default, aten.mm.default):
        left, right = node.args[:2]
        assert isinstance(left, fx.Node) and isinstance(right, fx.Node)
        return [(left, -1), (right, -min(2, right.meta["val"].ndim))]
    contracting = ("conv", "conv_transpose", "linear", "projection")
    return [(call.input, None)] if call and call.kind in contracting else []


def _mask_(
    module: fx.GraphModule, node: fx.Node, source: fx.Node, found: tuple[int, Tensor]
) -> None:
    dim, mask = found
    shape = [1] * source.meta["val"].ndim
    shape[dim] = len(mask)
    name = f"mask_of_{source.name}"
    module.register_buffer(name, mask.float().view(shape), persistent=False)
    with module.graph.inserting_before(node):
        get = module.graph.create_node("get_attr", name)
        product = module.graph.call_function(aten.mul.Tensor, (source, get))
    node.replace_input_with(source, product)
