"""Running a lifted network on labels instead of numbers: which slices move where.

`rules` says what each op does to labels; an op it does not know freezes what it touches, with
that reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from lighten.network import contract
from lighten.network.calls import as_call
from lighten.network.labels import Atoms, compressed, rectangular, together, varying
from lighten.network.rules import MOVEMENT, OPEN, rule_of, shape_of

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


class Labelling:
    """Labels of every node of a lifted network, found in one pass over it.

    `labels` maps node names to label tensors; `slots` maps (parameter, dim) to the atoms of that
    parameter's slices and `roles` says what they are there: producer, follower or consumer.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.atoms = Atoms()
        self.modules: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
        self.tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
        self.tensors |= dict(module.named_buffers(remove_duplicate=False))
        self._first = _first_names(self.tensors)
        self.slots: dict[tuple[str, int], Tensor] = {}
        self.roles: dict[tuple[str, int], str] = {}
        self.free: dict[str, Tensor] = {}
        self.values: dict[fx.Node, Any] = {}
        self.loose: set[fx.Node] = set()
        self._known: dict[fx.Node, Any] = {}
        for node in module.graph.nodes:
            self.values[node] = self._label(node)
        self._settle()

    # ── what rules use ────────────────────────────────────────────────────────────────────

    def read(self, node: fx.Node) -> Tensor:
        """A node's labels as they are now: classes, expanded wherever constant."""
        value = self.values[node]
        if value is None:
            value = self.values[node] = self._elements(str(node.target))
        return compressed(self.atoms.find(value))

    def slot(self, name: str, dim: int, role: str) -> Tensor:
        """The atoms of a parameter's slices along `dim`, the same at every use."""
        key = (self._first[name], dim)
        if key not in self.slots:
            self.slots[key] = self.atoms.fresh(self.tensors[name].shape[dim])
            self.roles[key] = role
        return self.slots[key]

    def constant(self, node: Any) -> Any:
        """The value of something that no input reaches; None where one does."""
        if not isinstance(node, fx.Node):
            return node
        if node not in self._known:
            self._known[node] = self._computed(node)
        return self._known[node]

    def _computed(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return self.tensors[str(node.target)]
        if node.target is torch.ops.aten.sym_size.int:
            return int(node.args[0].meta["val"].shape[node.args[1]])  # type: ignore[union-attr]
        sources = {source: self.constant(source) for source in node.all_input_nodes}
        if node.op != "call_function" or any(value is None for value in sources.values()):
            return None
        args, kwargs = fx.map_arg((node.args, node.kwargs), sources.__getitem__)
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def fresh(self, shape: Sequence[int], reason: str = "") -> Tensor:
        """Labels of something without channels: one atom everywhere."""
        return self.atoms.fresh(1, reason).view([1] * len(shape)).expand(tuple(shape))

    def freeze_along(self, labels: Tensor, dims: Iterable[int], reason: str) -> None:
        """Freeze the labels if they depend on one of `dims`."""
        wanted = {dim % labels.ndim for dim in dims} if labels.ndim else set()
        if wanted & set(varying(labels)):
            self.atoms.freeze(labels, reason)

    def whole(self, labels: Tensor, dims: Iterable[int], reason: str) -> Tensor:
        """Labels that may not be cut along `dims`: joined there where they also vary along another
        dimension (a head goes as a whole), frozen where they do not.
        """
        fixed = {dim % labels.ndim for dim in dims}
        found = set(varying(labels))
        if found - fixed:
            return together(self.atoms, labels, found & fixed)
        self.freeze_along(labels, fixed, reason)
        return labels

    def unhandled(self, reason: str, nodes: Iterable[fx.Node], shape: Sequence[int]) -> Tensor:
        """Freeze what goes in and what comes out."""
        for node in nodes:
            self._freeze_all(node, reason)
        return self.fresh(shape, reason)

    # ── one node ──────────────────────────────────────────────────────────────────────────

    def _label(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.fresh(shape_of(node), "is the network's input")
        if node.op == "get_attr":
            self.loose.add(node)
            return None
        if node.op == "output":
            for source in node.all_input_nodes:
                self._freeze_all(source, "reaches the output")
            return None
        call = as_call(node, self.modules)
        if call is not None:
            if call.kind not in ("layer_norm", "elementwise"):
                self._close(call.input)
            return self._closed(node, contract.contract(self, call, shape_of(node)))
        if isinstance(node.target, str) or not isinstance(node.target, torch._ops.OpOverload):
            return self._plain(node)
        return self._function(node)

    def _plain(self, node: fx.Node) -> Any:
        """Python between ops: picking from a list, arithmetic on sizes."""
        values = fx.map_arg(node.args, lambda n: self.values[n])
        if any(isinstance(n, Tensor) for n in values) or not callable(node.target):
            return self._unknown(node)
        return node.target(*values, **node.kwargs)

    def _function(self, node: fx.Node) -> Any:
        name = node.target._schema.name.split("::")[-1]  # type: ignore[union-attr]
        inputs = [n for n in node.all_input_nodes if self.is_tensor(n)]
        if name == "sym_size":
            return int(node.args[0].meta["val"].shape[node.args[1]])  # type: ignore[union-attr]
        if inputs and all(n in self.loose for n in inputs) and name in MOVEMENT:
            self.loose.add(node)
        rule = rule_of(node, name)
        if rule is None:
            return self._unknown(node)
        if rule in OPEN:
            return rule(self, node, name)
        for source in inputs:
            self._close(source)
        return self._closed(node, rule(self, node, name))

    def _unknown(self, node: fx.Node) -> Any:
        name = str(node.target).removesuffix(".default")
        short = name.removeprefix("aten.").removesuffix(".input")
        if short in RECURRENT:
            reason = f"a recurrent layer ({short}) reads or makes it"
        else:
            reason = f"{name} is not handled"
        inputs = [n for n in node.all_input_nodes if self.is_tensor(n)]
        value = node.meta.get("val")
        if isinstance(value, (list, tuple)):
            self.unhandled(reason, inputs, ())
            return [self.fresh(v.shape, reason) for v in value if isinstance(v, Tensor)]
        if not isinstance(value, Tensor):
            self.unhandled(reason, inputs, ())
            return value
        return self.unhandled(reason, inputs, value.shape)

    def is_tensor(self, node: fx.Node) -> bool:
        value = self.values[node]
        listed = isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value)
        return node.op == "get_attr" or isinstance(value, Tensor) or listed

    def _close(self, node: fx.Node) -> None:
        """Make the node's labels vary along one dimension at most."""
        if node not in self.loose:
            self.values[node] = self._closed(node, self.values[node])

    def _closed(self, node: fx.Node, value: Any) -> Any:
        if node in self.loose:
            return value
        if isinstance(value, (list, tuple)):
            return [rectangular(self.atoms, labels) for labels in value]
        return rectangular(self.atoms, value)

    def _freeze_all(self, node: fx.Node, reason: str) -> None:
        value = self.values[node]
        for labels in value if isinstance(value, (list, tuple)) else [self.read(node)]:
            self.atoms.freeze(labels, reason)

    def _elements(self, name: str) -> Tensor:
        """A free parameter or constant: one atom per element, the same at every use."""
        first = self._first[name]
        if first not in self.free:
            shape = self.tensors[name].shape
            self.free[first] = self.atoms.fresh(self.tensors[name].numel()).view(shape)
        return self.free[first]

    # ── until nothing changes ─────────────────────────────────────────────────────────────

    def _settle(self) -> None:
        """Make every tensor rectangular: joining on one can undo another, so repeat."""
        both = {name for name, _ in self.slots} & set(self.free)
        for name in both:
            self.atoms.freeze(self.free[name], f"{name} is used in two ways")
            for (other, _), labels in self.slots.items():
                if other == name:
                    self.atoms.freeze(labels, f"{name} is used in two ways")
        before = -1
        while before != (now := self.atoms.classes()):
            before = now
            for tensor in [*self.free.values(), *self._all()]:
                rectangular(self.atoms, tensor)

    def _all(self) -> list[Tensor]:
        found: list[Tensor] = []
        for value in self.values.values():
            items = value if isinstance(value, (list, tuple)) else [value]
            found += [v for v in items if isinstance(v, Tensor)]
        return found


def _first_names(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Each name → the first name of the same tensor (tied weights)."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}
