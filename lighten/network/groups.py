"""From labels to groups: which slices of which parameters can only be cut together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lighten.network.graph import Group, Member
from lighten.network.labels import along, compressed, varying
from lighten.network.propagate import Labelling

# (parameter, dim) → why its slices cannot be cut; empty where they can
Reasons = Mapping[tuple[str, int], tuple[str, ...]]


@dataclass(frozen=True)
class Axis:
    """How a tensor is cut: `classes[i]` is the class of slice i along `dim` (batch dim counts)."""

    dim: int
    classes: Tensor
    size: tuple[int, ...]

    def keeps(self, gone: Tensor) -> Tensor:
        """Which slices stay when the classes `gone` are cut. Shape [len(classes)], bool."""
        return ~torch.isin(self.classes, gone)


@dataclass(frozen=True)
class Coupling:
    """What the groups mean for every tensor of the network.

    `tensors` maps a node's name to its axis (None: cannot be cut anywhere; a tuple for ops with
    several results), `parameters` maps a name to its axes. `atoms[group][i]` is slice i's class.
    """

    tensors: Mapping[str, Axis | tuple[Axis | None, ...] | None]
    parameters: Mapping[str, tuple[Axis, ...]]
    atoms: Mapping[str, tuple[int, ...]]

    def gone(self, keep: Mapping[str, Sequence[int]]) -> Tensor:
        """The classes that are cut when of each named group only these slices are kept."""
        lost: list[int] = []
        for name, kept in keep.items():
            stay = set(kept)
            lost += [atom for i, atom in enumerate(self.atoms[name]) if i not in stay]
        return torch.tensor(lost, dtype=torch.long)


def couple(state: Labelling) -> tuple[tuple[Group, ...], Coupling, Reasons]:
    """The groups, what they mean for every tensor, and per parameter side why it cannot be cut."""
    frozen = state.atoms.frozen()
    sides = _sides(state)
    tensors = {node.name: _axes(state, value) for node, value in state.values.items()}
    first = _firsts(sides)
    made: dict[frozenset[object], list[int]] = defaultdict(list)
    for label, signature in _signatures(sides, tensors, _single(state)).items():
        if label not in frozen and label in first:
            made[signature].append(label)
    groups: list[Group] = []
    atoms: dict[str, tuple[int, ...]] = {}
    used: Counter[str] = Counter()
    for labels in sorted(made.values(), key=lambda labels: min(first[label] for label in labels)):
        ordered = sorted(labels, key=first.__getitem__)
        group = _group(sides, ordered, used)
        groups.append(group)
        atoms[group.name] = tuple(ordered)
    reasons = {
        (side.name, side.dim): tuple(dict.fromkeys(frozen[c] for c in side.slices if c in frozen))
        for side in sides
    }
    return tuple(groups), Coupling(tensors, _parameter_axes(sides), atoms), reasons


@dataclass(frozen=True)
class _Side:
    """One side of one parameter: its role, the class of each slice, and class → its slices.

    Sides stand in the order in which the network meets them.
    """

    name: str
    dim: int
    role: str
    classes: Tensor
    shape: tuple[int, ...]
    slices: Mapping[int, tuple[int, ...]]


def _side(state: Labelling, name: str, dim: int, role: str, classes: Tensor) -> _Side:
    where: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(classes.tolist()):
        where[label].append(index)
    slices = {label: tuple(found) for label, found in where.items()}
    return _Side(name, dim, role, classes, tuple(state.tensors[name].shape), slices)


def _sides(state: Labelling) -> list[_Side]:
    found = [
        _side(state, name, dim, state.roles[name, dim], state.atoms.find(labels))
        for (name, dim), labels in state.slots.items()
    ]
    taken = set(state.slots)
    for name, labels in state.free.items():
        axis = _axis(state, labels)
        if axis is not None and (name, axis.dim) not in taken:
            found.append(_side(state, name, axis.dim, "follower", axis.classes))
    return found


def _axis(state: Labelling, labels: Tensor) -> Axis | None:
    settled = compressed(state.atoms.find(labels))
    dims = varying(settled)
    if not dims:
        return None
    return Axis(dims[0], along(settled, dims[0]), tuple(settled.shape))


def _axes(state: Labelling, value: object) -> Axis | tuple[Axis | None, ...] | None:
    if isinstance(value, (list, tuple)):
        return tuple(_axis(state, item) for item in value if isinstance(item, Tensor))
    return _axis(state, value) if isinstance(value, Tensor) else None


def _single(state: Labelling) -> dict[str, list[int]]:
    """Node → the classes of its results that are one slice as a whole: they cannot lose it."""
    found: dict[str, list[int]] = {}
    for node, value in state.values.items():
        items = value if isinstance(value, (list, tuple)) else [value]
        labels = [state.atoms.find(v) for v in items if isinstance(v, Tensor) and v.numel()]
        found[node.name] = [int(x.flatten()[0]) for x in labels if not varying(compressed(x))]
    return found


def _signatures(
    sides: Sequence[_Side], tensors: Mapping[str, object], single: Mapping[str, Sequence[int]]
) -> dict[int, frozenset[object]]:
    """Class → all places it occurs in, with multiplicity; only classes that lie in a parameter."""
    places: dict[int, list[object]] = defaultdict(list)
    for side in sides:
        for label, slices in side.slices.items():
            places[label].append((side.name, side.dim, len(slices)))
    for name, value in tensors.items():
        for index, axis in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(axis, Axis):
                for label, count in Counter(axis.classes.tolist()).items():
                    if label in places:
                        places[label].append((name, index, count))
    for name, labels in single.items():
        for label in labels:
            if label in places:
                places[label].append((name, "whole"))
    return {label: frozenset(found) for label, found in places.items()}


def _firsts(sides: Sequence[_Side]) -> dict[int, tuple[int, int]]:
    """Class → where it is made first: (order of the producer, slice)."""
    first: dict[int, tuple[int, int]] = {}
    for order, side in enumerate(sides):
        if side.role == "producer":
            for label, slices in side.slices.items():
                first.setdefault(label, (order, slices[0]))
    return first


def _group(sides: Sequence[_Side], labels: Sequence[int], used: Counter[str]) -> Group:
    """The group of these classes, which all lie in the same places."""
    parts: dict[str, list[Member]] = {"producer": [], "follower": [], "consumer": []}
    for side in sides:
        if labels[0] in side.slices:
            slices = tuple(side.slices[label] for label in labels)
            parts[side.role].append(Member(side.name, side.dim, slices))
    first = parts["producer"][0].parameter.removesuffix(".weight")
    used[first] += 1
    name = first if used[first] == 1 else f"{first}#{used[first]}"
    return Group(name, len(labels), *(tuple(parts[role]) for role in parts))


def _parameter_axes(sides: Sequence[_Side]) -> dict[str, tuple[Axis, ...]]:
    axes: dict[str, tuple[Axis, ...]] = defaultdict(tuple)
    for side in sides:
        axes[side.name] += (Axis(side.dim, side.classes, side.shape),)
    return dict(axes)
