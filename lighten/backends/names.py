"""Whose time is it: runtimes fuse and rename nodes, and a profile must name the network's ops."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lighten.errors import MissingExtra, ProgramError

REST = "(layout)"  # time in nodes that the runtime added or fused anew: reorders, skip norms
ADDED = re.compile(r"(_kernel_time|_token_\d+|_nchwc|/WithoutBiases)$")
SEPARATORS = "./:_#"


def input_names(data: bytes) -> list[str]:
    """The inputs of the ONNX model `data` that a caller gives, in order; none where the package
    that could say so is not installed.
    """
    try:
        import onnx
    except ImportError:
        return []
    graph = onnx.load_model_from_string(data).graph
    stored = {array.name for array in graph.initializer}
    return [value.name for value in graph.input if value.name not in stored]


class Names:
    """Maps a runtime's node names back to the ops of the ONNX model `data`.

    `ops` are the names to map to: the Program's, or by default every node of the model.
    """

    def __init__(self, data: bytes, ops: Iterable[str] = ()) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtra("onnx", "onnx") from error
        nodes = onnx.load_model_from_string(data).graph.node
        self.nodes = {node.name: node for node in nodes}
        self.makers = {output: node for node in nodes for output in node.output}
        self.ops = frozenset(ops) or frozenset(self.nodes)

    def owner(self, candidates: Sequence[str], kind: str = "") -> str:
        """The op that the first known candidate (a node's or tensor's name) belongs to.

        `kind` is the node type the runtime reports: a fused node is named after its last tensor,
        and is walked back from there to the node it is made of. `REST` where nothing is known.
        """
        for candidate in candidates:
            name = candidate
            while ADDED.search(name):
                name = ADDED.sub("", name)
            node = self.nodes.get(name) or self._maker(name, kind)
            if node is not None:
                return self._op(node.name)
        return REST

    def _maker(self, tensor: str, kind: str) -> Any:
        """The node that makes `tensor`, or the node of type `kind` at most four steps above it."""
        first = node = self.makers.get(tensor)
        for _ in range(4):
            if node is None or not kind or node.op_type in kind:
                break
            node = next((self.makers[i] for i in node.input if i in self.makers), None)
        return first if node is None else node

    def _op(self, node: str) -> str:
        """The longest op name that `node` is or begins with."""
        if node in self.ops:
            return node
        cuts = [i for i, letter in enumerate(node) if letter in SEPARATORS and node[:i] in self.ops]
        return node[: cuts[-1]] if cuts else node


def total(parts: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    """Milliseconds summed by op name, in the order of first appearance."""
    sums: dict[str, float] = defaultdict(float)
    for name, milliseconds in parts:
        sums[name] += milliseconds
    return dict(sums)


def owners(program: Any) -> tuple[str, ...]:
    """What a profile of the Program may name: its ops, and its inputs where they are rounded."""
    return (*program.inputs, *(op.name for op in program.ops))


def unwritable(program: Any) -> tuple[str, ...]:
    """Ops of the Program that have no ONNX form, by name: what file-running backends miss."""
    from lighten.program.onnx_ops import WRITERS
    from lighten.program.onnx_out import Writer

    writer = Writer(program, tensors={name: name for name in program.values})
    found = []
    for op in program.ops:
        writer.current = op.name
        try:
            WRITERS[op.kind](writer, op)
        except (KeyError, ProgramError):
            found.append(op.name)
    return tuple(found)
