"""Products of matrices that both flow, many at a time (G1).

reference, one sample:
    for every index of the batch axes, i, j:
        y[…, i, j] = Σ_c a[…, i, c] · b[…, c, j]

The register block is that of `block.py`; b is read where it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

from lighten.emit import POINTER, Function, Index, Isa, Tile, Value, lanes
from lighten.kernels import share
from lighten.kernels.block import Rows, multiply
from lighten.kernels.strided import Strided
from lighten.kernels.walk import Pointers, walk


@dataclass(frozen=True)
class Matmul:
    """`a` `[…, rows, channels]`, `b` `[…, channels, columns]`, `target` `[…, rows, columns]`: the
    same axes in front, the last of b and of the target side by side.
    """

    a: Strided
    b: Strided
    target: Strided


def emit(name: str, op: Matmul, isa: Isa) -> Function:
    """The kernel `name(a, b, y, n)`."""
    f = Function(name, {**dict.fromkeys("aby", POINTER), **share.COUNT}, isa)
    size = (op.a.shape[-2], op.a.shape[-1], op.target.shape[-1])

    def matrix(at: Pointers) -> None:
        a, b, y = at
        down, step = (4 * stride for stride in op.a.strides[-2:])

        def finish(sums: Tile, place: tuple[Index, Index], shape: tuple[int, int]) -> None:
            start = y + place[0] * (4 * op.target.strides[-2]) + place[1] * 4
            store(f, sums, (start, 4 * op.target.strides[-2]), shape)

        multiply(f, size, Rows(a, down, step), (b, 4 * op.b.strides[-2]), finish)

    walk(f, (f["a"], f["b"], f["y"]), (op.a, op.b, op.target), matrix, inner=2)
    return f


def store(f: Function, sums: Tile, where: tuple[Value, int], shape: tuple[int, int]) -> None:
    """A block of (rows, columns) at (pointer, bytes from row to row)."""
    (pointer, down), (rows, width) = where, shape
    blocks = len(sums) // rows
    for at, value in enumerate(sums):
        q, o = divmod(at, blocks)
        count = min(f.isa.lanes, width - o * f.isa.lanes)
        lanes.store_first(f, value, pointer + (q * down + o * f.lane.bytes), count)
