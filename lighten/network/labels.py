"""Labels: every element of every tensor names the atom that it would go with.

A label tensor has its tensor's shape at batch 1 and stays expanded (stride 0) along the dimensions
on which it does not depend, so a 224 x 224 feature map costs as much as its channels. `Atoms` is a
union-find over the labels; a class with a frozen atom cannot be cut, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


class Atoms:
    """Atoms, joined into classes; the only mutable thing while a network is labelled.

    >>> atoms = Atoms()
    >>> a = atoms.fresh(3)
    >>> atoms.join(a[:1], a[2:])
    >>> atoms.find(a).tolist()
    [0, 1, 0]
    """

    def __init__(self) -> None:
        self._parent = torch.arange(1024)
        self._count = 0
        self.reasons: dict[int, str] = {}

    def fresh(self, count: int, reason: str = "") -> Tensor:
        """New atoms, frozen where a reason is given. Shape [count]."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._parent):
            more = torch.arange(len(self._parent), 2 * self._count)
            self._parent = torch.cat([self._parent, more])
        made = torch.arange(start, self._count)
        if reason:
            self.freeze(made, reason)
        return made

    def find(self, labels: Tensor) -> Tensor:
        """Each label's class (its smallest member's number), expanded as `labels` is."""
        core = narrowed(labels)
        found = self._parent[core]
        while True:
            further = self._parent[found]
            if torch.equal(further, found):
                return found.expand(labels.shape)
            found = further

    def join(self, left: Tensor, right: Tensor) -> None:
        """Put each element of `left` in one class with the same element of `right`."""
        shape = torch.broadcast_shapes(left.shape, right.shape)  # type: ignore[no-untyped-call]
        left, right = left.expand(shape), right.expand(shape)
        for dim in range(left.ndim):
            if left.stride(dim) == right.stride(dim) == 0 and left.shape[dim] > 1:
                left, right = left.narrow(dim, 0, 1), right.narrow(dim, 0, 1)
        pairs = self.find(torch.stack([left.flatten(), right.flatten()]))
        pairs = torch.unique(pairs[:, pairs[0] != pairs[1]], dim=1)
        parent = self._parent.numpy()
        for a, b in pairs.T.tolist():
            first, second = _root(parent, a), _root(parent, b)
            parent[max(first, second)] = min(first, second)

    def freeze(self, labels: Tensor, reason: str) -> None:
        """No class that meets `labels` can be cut, for this reason (the first one given stays)."""
        for label in torch.unique(narrowed(labels)).tolist():
            self.reasons.setdefault(label, reason)

    def classes(self) -> int:
        """How many classes there are."""
        return len(torch.unique(self.find(torch.arange(self._count))))

    def frozen(self) -> dict[int, str]:
        """Class → reason, for every class that cannot be cut."""
        known: dict[int, str] = {}
        classes = self.find(torch.tensor(list(self.reasons), dtype=torch.long)).tolist()
        for label, reason in zip(classes, self.reasons.values(), strict=True):
            known.setdefault(label, reason)
        return known


def _root(parent: Any, label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = int(parent[label])
    return label


def narrowed(labels: Tensor) -> Tensor:
    """`labels` with size 1 along every expanded dimension."""
    for dim in range(labels.ndim):
        if labels.stride(dim) == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels


def compressed(labels: Tensor) -> Tensor:
    """The same labels, expanded along every dimension on which they are constant."""
    core = narrowed(labels)
    for dim in reversed(range(core.ndim)):
        if core.shape[dim] > 1 and bool((core == core.narrow(dim, 0, 1)).all()):
            core = core.narrow(dim, 0, 1)
    return core.expand(labels.shape)


def varying(labels: Tensor) -> list[int]:
    """The dimensions along which compressed labels are not constant."""
    return [d for d in range(labels.ndim) if labels.shape[d] > 1 and labels.stride(d) != 0]


def along(labels: Tensor, dim: int) -> Tensor:
    """The labels along one dimension, at index 0 of all others. Shape [labels.shape[dim]]."""
    for other in range(labels.ndim):
        labels = labels if other == dim % labels.ndim else labels.narrow(other, 0, 1)
    return labels.flatten()


def spread(vector: Tensor, shape: Sequence[int], dim: int) -> Tensor:
    """Labels of `shape` that follow `vector` along `dim` and are constant elsewhere."""
    view = [1] * len(shape)
    view[dim] = len(vector)
    return vector.view(view).expand(tuple(shape))


def together(atoms: Atoms, labels: Tensor, dims: Iterable[int]) -> Tensor:
    """Join the labels along each of `dims`, so that none of them can be cut by itself.

    Returns the labels, which then vary along other dimensions only.
    """
    for dim in dims:
        if labels.shape[dim] > 1:
            first = labels.narrow(dim, 0, 1)
            atoms.join(first.expand(labels.shape), labels)
            labels = atoms.find(first).expand(labels.shape)
    return compressed(labels)


def rectangular(atoms: Atoms, labels: Tensor) -> Tensor:
    """Join atoms until every class is a set of whole slices along one dimension.

    The dimension is the one that leaves the most classes that can be cut. Returns the labels, which
    then vary along that dimension at most.
    """
    labels = compressed(atoms.find(labels))
    dims = varying(labels)
    if len(dims) <= 1:
        return labels
    frozen = torch.tensor(sorted(atoms.frozen()), dtype=torch.long)
    core = narrowed(labels)
    best = max(dims, key=lambda dim: _classes(core, dim, frozen))
    slices = core.movedim(best, 0).flatten(1)
    atoms.join(slices[:, :1].expand(slices.shape), slices)
    return compressed(atoms.find(labels))


def _classes(core: Tensor, dim: int, frozen: Tensor) -> tuple[int, int]:
    """How many classes stay if whole slices along `dim` are joined: (that can be cut, all)."""
    slices = core.movedim(dim, 0).flatten(1)
    names, index = torch.unique(slices, return_inverse=True)
    count = len(names)
    first = index[:, :1].expand(index.shape).flatten().numpy()
    ones = np.ones(index.numel(), np.int8)
    edges = coo_matrix((ones, (first, index.flatten().numpy())), shape=(count, count))
    number, component = connected_components(edges, directed=False)
    held = np.unique(component[torch.isin(names, frozen).numpy()])
    return number - len(held), number
