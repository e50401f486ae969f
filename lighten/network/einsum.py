"""einsum of two tensors as permutations and one matrix product, which everything else knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten


def without_einsum(graph: fx.Graph) -> None:
    """Every einsum of two operands whose letters each stand for one dimension, written out.

    What is left (traces, sums over one operand, three operands) is handled as an unknown op.
    """
    for node in list(graph.nodes):
        if node.target is not aten.einsum.default or node.kwargs.get("path") is not None:
            continue
        terms = str(node.args[0]).replace(" ", "").split("->")
        letters = terms[0].split(",")
        if len(terms) == 2 and len(letters) == 2 and _is_plain(letters, terms[1]):
            with graph.inserting_before(node):
                _Product(node, letters[0], letters[1], terms[1]).write()
            graph.erase_node(node)


def _is_plain(letters: list[str], result: str) -> bool:
    """No ellipsis, no diagonal, and no letter of one operand alone that is summed away."""
    words = [*letters, result]
    distinct = all(word.isalpha() and len(set(word)) == len(word) for word in words)
    lost = {x for x in set(letters[0]) ^ set(letters[1]) if x not in result}
    return distinct and not lost and set(result) <= set("".join(letters))


class _Product:
    """One einsum: [shared…, rows…, summed…] @ [shared…, summed…, columns…]."""

    def __init__(self, node: fx.Node, left: str, right: str, result: str) -> None:
        self.node, self.result = node, result
        self.operands: list[Any] = list(node.args[1])  # type: ignore[arg-type]
        self.left, self.right = left, right
        self.shared = [x for x in result if x in left and x in right]
        self.rows = [x for x in result if x in left and x not in right]
        self.columns = [x for x in result if x in right and x not in left]
        self.summed = [x for x in left if x in right and x not in result]
        self.sizes = {
            letter: size
            for word, operand in zip((left, right), self.operands, strict=True)
            for letter, size in zip(word, operand.meta["val"].shape, strict=True)
        }

    def write(self) -> None:
        """Insert the ops and hand the result to the einsum's readers."""
        made = "".join([*self.shared, *self.rows, *self.columns])
        product = self.layer() if self.is_layer() else self.product()
        result = self.ordered(product, made, list(self.result))
        result.meta["val"] = self.node.meta["val"]  # another einsum may read its shape
        self.node.replace_all_uses_with(result)

    def is_layer(self) -> bool:
        """Whether a stored matrix takes one dimension to another: a linear layer."""
        stored = self.operands[1].op == "get_attr" and not self.shared
        return stored and len(self.columns) == len(self.summed) == 1

    def layer(self) -> fx.Node:
        """x · wᵀ or x · w over the last dimension, the others as they are."""
        x = self.ordered(self.operands[0], self.left, [*self.rows, *self.summed])
        turned = self.right == self.columns[0] + self.summed[0]
        target = aten.linear.default if turned else aten.matmul.default
        return self.call(target, x, self.operands[1])

    def product(self) -> fx.Node:
        """One matrix product for each choice of the shared letters."""
        at = len(self.shared)
        a = self.ordered(self.operands[0], self.left, [*self.shared, *self.rows, *self.summed])
        b = self.ordered(self.operands[1], self.right, [*self.shared, *self.summed, *self.columns])
        a = self.joined(self.joined(a, at + len(self.rows), len(self.summed)), at, len(self.rows))
        b = self.joined(
            self.joined(b, at + len(self.summed), len(self.columns)), at, len(self.summed)
        )
        product = self.call(aten.matmul.default, a, b)
        product = self.parted(product, at + 1, self.columns)
        return self.parted(product, at, self.rows)

    def ordered(self, value: fx.Node, word: str, wanted: list[str]) -> fx.Node:
        """The dimensions in the wanted order."""
        order = [word.index(letter) for letter in wanted]
        if order == list(range(len(order))):
            return value
        return self.call(aten.permute.default, value, order)

    def joined(self, value: fx.Node, at: int, count: int) -> fx.Node:
        """`count` dimensions from `at` on as one; a new one of size 1 for none."""
        if count == 0:
            return self.call(aten.unsqueeze.default, value, at)
        if count == 1:
            return value
        return self.call(aten.flatten.using_ints, value, at, at + count - 1)

    def parted(self, value: fx.Node, at: int, letters: list[str]) -> fx.Node:
        """The reverse of `joined`."""
        if not letters:
            return self.call(aten.squeeze.dim, value, at)
        if len(letters) == 1:
            return value
        sizes = [self.sizes[x] for x in letters]
        follows = [i for i, size in enumerate(sizes) if not isinstance(size, int)]  # the batch
        sizes[follows[0] if follows else 0] = -1
        return self.call(aten.unflatten.int, value, at, sizes)

    def call(self, target: Any, *arguments: Any) -> fx.Node:
        made = self.node.graph.call_function(target, arguments)
        made.meta.update({k: v for k, v in self.node.meta.items() if k != "val"})
        return made
