"""Reading features out of a network without touching it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from lighten.errors import RecipeError
from lighten.train.losses import classes_first
from lighten.train.outputs import logits_of, widened
from lighten.train.signals import View


def _last_node(graph: fx.Graph, path: str) -> fx.Node | None:
    """The last node that an exported network computed inside the module at `path`."""
    found = None
    for node in graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        if any(entry[0] == path for entry in stack.values()):
            found = node
    return found


class Speaker:
    """A network that is asked for its answer and for the features at some paths.

    Submodules are read through forward hooks. In an exported network, where a block is no longer
    a call, its last operation is read instead: the same graph with one more output, sharing every
    parameter. `close` takes the hooks away.
    """

    def __init__(self, module: nn.Module, paths: Sequence[str] = ()) -> None:
        self.module = module
        self._features: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        self._nodes: dict[str, str] = {}
        self._call: nn.Module = module
        called = self._called()
        for path in dict.fromkeys(paths):
            if called is None or path in called:
                self._listen(path)
            else:
                self._read_node(path)
        if self._nodes:
            self._call = self._with_outputs()

    def _called(self) -> set[str] | None:
        if not isinstance(self.module, fx.GraphModule):
            return None
        return {str(n.target) for n in self.module.graph.nodes if n.op == "call_module"}

    def _listen(self, path: str) -> None:
        try:
            part = self.module.get_submodule(path)
        except AttributeError as error:
            names = [name for name, _ in self.module.named_modules() if name]
            raise RecipeError(
                f"The network has no module {path!r} to read features from.",
                f"Its modules are {', '.join(names[:12])}{' …' if len(names) > 12 else ''}.",
            ) from error

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._features[path] = logits_of(output)

        self._hooks.append(part.register_forward_hook(keep))

    def _read_node(self, path: str) -> None:
        node = _last_node(self.module.graph, path)  # type: ignore[arg-type]
        if node is None:
            raise RecipeError(
                f"The network computes nothing at {path!r} to read features from.",
                "Name a module that its forward pass calls.",
            )
        self._nodes[path] = node.name

    def _with_outputs(self) -> nn.Module:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        answer = graph.graph_copy(self.module.graph, copies)  # type: ignore[arg-type]
        by_name = {old.name: new for old, new in copies.items()}
        graph.output((answer, {path: by_name[name] for path, name in self._nodes.items()}))
        return fx.GraphModule(self.module, graph)

    def __call__(self, inputs: Sequence[Tensor], target: Any = None) -> View:
        """The network's view of a batch; classes are put on axis 1 where the target says so."""
        self._features.clear()
        outputs = self._call(*inputs)
        if self._nodes:
            outputs, read = outputs
            self._features.update(read)
        features = {path: tensor.float() for path, tensor in self._features.items()}
        outputs = widened(outputs)
        answer = logits_of(outputs)
        if torch.is_tensor(target):
            answer = classes_first(answer, target)
        return View(answer, outputs, features)

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()
