"""Lowering rules that pick numbers by their place: gather, index, roll, flip."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lighten.network.lower_shapes import cut
from lighten.network.lower_shapes import pad as padded
from lighten.network.lower_step import Constant, Flow, Step, Unsupported, numpy


def take(step: Step, x: Flow, axis: int, indices: np.ndarray[Any, Any]) -> Flow:
    """Listed indices of one per-sample axis, the same in every sample."""
    name = step.store("indices", indices.astype(np.int64) % x.shape[axis])
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return step.emit("gather", [x.name, name], shape, axis=axis)


def index_select(step: Step) -> Flow:
    """Listed indices of one dimension."""
    x, places = step.flow("self"), step.constant("index")
    if places is None:
        raise Unsupported("its index must be a constant")
    return take(step, x, x.axis(step["dim"]), numpy(places))


def flip(step: Step) -> Flow:
    """Dimensions in reverse order."""
    x = step.flow("self")
    for dim in step["dims"]:
        axis = x.axis(dim)
        x = take(step, x, axis, np.arange(x.shape[axis])[::-1])
    return x


def pad(step: Step) -> Flow:
    """Padding by a constant, or by places of the input itself: those behind the border, the border,
    or those at the other end.
    """
    mode = step.arguments.get("mode", "constant")
    if mode == "constant":
        return padded(step)
    if mode == "circular" and min(step["pad"]) < 0:
        raise Unsupported("circular padding by less than nothing is not supported")
    x = step.flow("self")
    for number, (begin, end) in enumerate(zip(step["pad"][::2], step["pad"][1::2], strict=True)):
        if begin or end:
            axis = x.axis(-1 - number)
            x = take(step, x, axis, around(mode, x.shape[axis], begin, end))
    return x


def around(mode: str, size: int, begin: int, end: int) -> np.ndarray[Any, Any]:
    """Which place of the input each place of the padded one shows."""
    places = np.arange(-begin, size + end)
    if mode == "replicate":
        return places.clip(0, size - 1)
    if mode == "circular":
        return places % size
    mirrored: np.ndarray[Any, Any] = size - 1 - np.abs(size - 1 - np.abs(places))
    return mirrored


def roll(step: Step) -> Flow:
    """What leaves at one end comes back at the other."""
    x = step.flow("self")
    shifts, dims = (
        [given] if isinstance(given, int) else list(given)
        for given in (step["shifts"], step["dims"])
    )
    if not dims:
        raise Unsupported("rolling over all dimensions at once is not supported")
    for shift, dim in zip(shifts, dims, strict=True):
        axis = x.axis(dim)
        at = -shift % x.shape[axis]
        if at:
            ends = [cut(step, x, axis, at, x.shape[axis]), cut(step, x, axis, 0, at)]
            x = step.emit("concat", [end.name for end in ends], x.shape, axis=axis)
    return x


def repeat_interleave(step: Step) -> Flow:
    """Each index of one dimension, `repeats` times in a row."""
    x, count = step.flow("self"), step["repeats"]
    if not isinstance(count, int) or step["dim"] is None:
        raise Unsupported("only one number of repeats along one dimension is supported")
    axis = x.axis(step["dim"])
    return take(step, x, axis, np.arange(x.shape[axis]).repeat(count))


def gather(step: Step) -> Flow:
    """torch.gather where one list of places serves every other dimension."""
    table, places = step["self"], step["index"]
    if isinstance(table, Flow) and isinstance(places, Constant):
        axis, where = table.axis(step["dim"]), places.sample(step.rank, step.layout)
        rows = np.moveaxis(where, axis, -1).reshape(-1, where.shape[axis])
        same = where.shape[:axis] + where.shape[axis + 1 :] == (
            table.shape[:axis] + table.shape[axis + 1 :]
        )
        if same and (rows == rows[0]).all():
            return take(step, table, axis, rows[0])
    if isinstance(table, Constant) and isinstance(places, Flow) and len(step.shape) == 1:
        name = step.store("table", table.sample(step.rank, step.layout))
        return step.emit("gather", [name, places.name], step.shape, axis=0)
    raise Unsupported("it takes other places in every row")


def index(step: Step) -> Flow:
    """x[:, places]: along one dimension by a constant, or per sample with the sample's number."""
    given = [(dim, i) for dim, i in enumerate(step["indices"]) if i is not None]
    x = step["self"]
    if isinstance(x, Constant):
        return of_constant(step, x, given)
    first = given[0]
    if isinstance(first[1], Constant) and first[1].counts and first[0] == x.layout.axis:
        given = given[1:]
    if len(given) != 1:
        raise Unsupported("only one list of indices is supported")
    dim, places = given[0]
    axis = x.axis(dim)
    if isinstance(places, Flow):
        if first[1] is places:
            raise Unsupported("indices that depend on the input must go with the sample's number")
        return step.emit("gather", [x.name, places.name], step.shape, axis=axis)
    if places.tensor.dtype.is_floating_point or places.tensor.dtype == torch.bool:
        raise Unsupported("only integer indices are supported")
    listed = numpy(places.tensor)
    if first[1] is not places:  # with the sample's number: the places broadcast against it
        if listed.shape[:1] != (1,) and listed.ndim >= step.rank:
            raise Unsupported("its indices differ between samples")
        listed = listed.reshape(-1)
    return step.reshape(take(step, x, axis, listed), step.shape)


def of_constant(step: Step, table: Constant, given: list[tuple[int, Any]]) -> Flow:
    """Rows of a stored table, by indices that flow."""
    if len(given) != 1 or given[0][0] != 0 or table.batch is not None:
        raise Unsupported("only rows of a constant table can be taken")
    name = step.draft.constant(table)
    return step.emit("gather", [name, given[0][1].name], step.shape, axis=0)
