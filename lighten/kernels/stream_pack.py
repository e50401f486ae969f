"""Weights as a stream: what is not zero, filter after filter, with the place that each reads.

    chunk 0                          chunk 1
    filter 0 | filter 1 | …          filter 0 | …           where each begins and ends, in bytes
    place, number | place, number | …                       the entries, of a word each

A place counts bytes from a cell of the source to what the tap reads for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lighten.kernels.tile_schedule import ENTRY, Schedule, TiledConv, chunks

Array = np.ndarray[Any, Any]
WORD = 4  # bytes of a place, and of a number


def pack(words: Array, conv: TiledConv, schedule: Schedule) -> Array:
    """`[filters, groups, rows, columns]` of whole words as one array of them: for each chunk and
    filter where its entries begin and end, in bytes, then all entries.
    """
    filters, groups, *kernel = words.shape
    padded = (conv.target.groups * conv.target.together, chunks(conv, schedule) * schedule.chunk)
    wide = np.zeros((*padded, *kernel), np.uint32)
    wide[:filters, :groups] = words.view(np.uint32)
    split = wide.reshape(padded[0], -1, schedule.chunk, *kernel).swapaxes(0, 1)
    row, numbers, at = _entries(split.reshape(-1, schedule.chunk * math.prod(kernel)))
    lines = len(split) * padded[0]
    counts = np.bincount(row, minlength=lines)
    counts += -counts % schedule.copies
    starts = np.concatenate([[0], np.cumsum(counts)])
    held = np.zeros((starts[-1], 2), np.uint32)
    first = np.searchsorted(row, np.arange(lines))
    place = starts[row] + np.arange(len(row)) - first[row]
    chunk = row // padded[0] * schedule.chunk
    held[place, 0] = _places(conv, schedule)[at] + chunk * conv.source.group
    held[place, 1] = numbers
    table = (starts * ENTRY + _table(lines)).astype(np.uint32)
    return np.concatenate([np.resize(table, _table(lines) // WORD), held.reshape(-1)])


def _table(lines: int) -> int:
    """Bytes of the table of beginnings and the last end, in whole entries."""
    return -(-WORD * (lines + 1) // ENTRY) * ENTRY


def _entries(words: Array) -> tuple[Array, Array, Array]:
    """What is not zero: its line, its bits, where it stands in the line. A word of −0.0 is zero."""
    row, at = np.nonzero(words & np.uint32(0x7FFFFFFF) if words.size else words)
    return row, words[row, at], at


def _places(conv: TiledConv, schedule: Schedule) -> Array:
    """Bytes from a cell to what each tap of each group of a chunk reads for it."""
    (rows, columns), (down, along) = conv.window.kernel, conv.window.dilations
    group = np.arange(schedule.chunk)[:, None, None] * conv.source.group
    row = np.arange(rows)[:, None] * (down * conv.source.row)
    column = np.arange(columns) * (along * conv.source.vector)
    return np.asarray(group + row + column).reshape(-1)
