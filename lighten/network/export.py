"""torch.export with the batch size left free, functional, and its errors in one sentence."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import operator
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from lighten.errors import NetworkError
from lighten.network import dropouts
from lighten.network.regions import without_regions
from lighten.network.walk import shares_memory
from lighten.network.written import fold_written

aten = torch.ops.aten


def export(net: nn.Module, examples: tuple[Tensor, ...]) -> fx.GraphModule:
    """The training IR of `net` as a graph module, batch size free; NetworkError where it cannot."""
    wide = tuple(
        _with_batch(value, max(2, len(value))) if value.ndim else value for value in examples
    )
    free = tuple({0: torch.export.Dim.AUTO} if value.ndim else None for value in examples)
    module = _exported(net, wide, free)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    if any(_is_static(node) for node in inputs if node.meta["val"].ndim):
        _free_batch(module, lambda batch: _exported(net, _batched(examples, batch), None))
    return module


def _is_static(node: fx.Node) -> bool:
    """Whether export fixed the batch size of this input (a guard can pin a symbol, too)."""
    batch = node.meta["val"].shape[0]
    return not isinstance(batch, torch.SymInt) or batch.node.maybe_as_int() is not None


def _with_batch(value: Tensor, batch: int) -> Tensor:
    """`value` with exactly `batch` samples, repeating its own."""
    rows = torch.arange(batch, device=value.device) % len(value)
    return value[rows]


def _batched(examples: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    return tuple(_with_batch(value, batch) if value.ndim else value for value in examples)


def _exported(net: nn.Module, examples: tuple[Tensor, ...], free: Any) -> fx.GraphModule:
    """One export; functionalised by torch only where names alone could not do it."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch logs what we say in one sentence
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.export.export(net, examples, dynamic_shapes=_for_signature(net, free))
            module: fx.GraphModule = program.module(check_guards=False)
            without_regions(module)
            fold_written(module)
            if _writes_through_views(module.graph):
                dropouts.hide_(program.graph)
                module = program.run_decompositions({}).module(check_guards=False)
                without_regions(module)
                dropouts.show_(module.graph)
            return module
    except NetworkError:
        raise
    except Exception as error:
        raise _explained(net, examples, error) from error
    finally:
        logging.disable(level)


def _for_signature(net: nn.Module, free: Any) -> Any:
    """`dynamic_shapes` in the structure of forward's parameters: what falls into *args is nested.

    `inspect` looks through decorators, as the export itself does.
    """
    if free is None:
        return None
    parameters = inspect.signature(net.forward).parameters.values()
    plain = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    varied = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return (*free[:plain], free[plain:]) if varied and len(free) > plain else free


def _explained(net: nn.Module, examples: tuple[Tensor, ...], error: Exception) -> NetworkError:
    """The export's error in one sentence: what, where in the user's code, what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[0].rstrip(".")
    shapes = ", ".join(str(tuple(value.shape)) for value in examples)
    return NetworkError(
        f"{type(net).__name__} cannot be exported with inputs of shape {shapes}"
        f"{_place(error)}: {reason}.",
        "Make that line independent of the data (no Python branch, .item() or numpy on tensor "
        "values), and check that the input has the shape the network expects.",
    )


def _place(error: BaseException) -> str:
    """ " at file:line (code)" of the innermost frame outside torch and this file."""
    torch_folder = str(Path(torch.__file__).parent)
    chain: BaseException | None = error
    while chain is not None:
        for frame in reversed(traceback.extract_tb(chain.__traceback__)):
            ours = frame.filename == __file__ or frame.filename.startswith(torch_folder)
            if not ours and not frame.filename.startswith("<"):
                return f" at {frame.filename}:{frame.lineno} ({frame.line})"
        chain = chain.__cause__ or chain.__context__
    return ""


# ── a batch size that export fixed ────────────────────────────────────────────────────────────


def _free_batch(module: fx.GraphModule, export: Any) -> None:
    """Replace the literals that follow the batch size, found by exporting at 2 and at 3."""
    two, three = export(2), export(3)
    ours, others = list(two.graph.nodes), list(three.graph.nodes)
    if [n.target for n in ours] != [n.target for n in others]:
        raise NetworkError(
            "The network runs different operations at different batch sizes.",
            "Make forward independent of the batch size.",
        )
    for name, buffer in two.named_buffers():
        if buffer.shape != three.get_buffer(name).shape:
            raise NetworkError(
                "The network writes into a new tensor whose size follows the batch size.",
                "Make it from the input (zeros_like, new_zeros with x.shape[0]) by one expression.",
            )
    module.graph = two.graph
    for name, value in two.__dict__.items():
        if name in ("_parameters", "_buffers", "_modules"):
            module.__dict__[name] = value
    first = next(node for node in ours if node.op == "placeholder" and node.meta["val"].ndim)
    with module.graph.inserting_after(next(n for n in reversed(ours) if n.op == "placeholder")):
        batch = module.graph.call_function(aten.sym_size.int, (first, 0))
    batch.meta["val"] = 2
    for node, other in zip(ours, others, strict=True):
        if node.op == "call_function":
            node.args = _merged(node, node.args, other.args, batch)
            node.kwargs = _merged(node, node.kwargs, other.kwargs, batch)


def _merged(node: fx.Node, two: Any, three: Any, batch: fx.Node) -> Any:
    """Arguments at batch 2 and 3 as one that holds at every batch size."""
    if isinstance(two, (list, tuple)):
        return type(two)(_merged(node, a, b, batch) for a, b in zip(two, three, strict=True))
    if isinstance(two, dict):
        return {key: _merged(node, value, three[key], batch) for key, value in two.items()}
    if not isinstance(two, int) or isinstance(two, bool) or two == three:
        return two
    if two * 3 != three * 2:
        raise NetworkError(
            f"A size in {node.target} depends on the batch size in a way that cannot be followed."
        )
    if two == 2:
        return batch
    with node.graph.inserting_before(node):
        return node.graph.call_function(operator.mul, (batch, two // 2))


# ── writes in place ───────────────────────────────────────────────────────────────────────────


def _written(node: fx.Node) -> fx.Node | None:
    """The tensor (not a parameter or buffer) that this node writes in place, if it does."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable or not node.args:
        return None
    first = node.args[0]
    return first if isinstance(first, fx.Node) and first.op != "get_attr" else None


def _writes_through_views(graph: fx.Graph) -> bool:
    """Whether a write in place is seen through another name of the same memory."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    memory: dict[fx.Node, fx.Node] = {}
    value: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        target, first = _written(node), node.args[0] if node.args else None
        value[node] = value[target] if target is not None else node
        shares = isinstance(first, fx.Node) and (target is not None or shares_memory(node))
        memory[node] = memory[first] if shares else node  # type: ignore[index]
        if target is None:
            continue
        for other, place in memory.items():
            if place is memory[node] and value[other] is not value[node]:
                if any(order[user] > order[node] for user in other.users):
                    return True
    return False


def without_writes(graph: fx.Graph) -> None:
    """Each in-place op as its functional form; later readers read the new value."""
    latest: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for old in list(node.all_input_nodes):
            node.replace_input_with(old, latest.get(old, old))
        target = _written(node)
        if target is None:
            continue
        name = node.target._schema.name.removeprefix("aten::").removesuffix("_")
        node.target = getattr(getattr(aten, name), node.target._overloadname)
        for old, new in list(latest.items()):
            latest[old] = node if new is target else new
        latest[target] = node
