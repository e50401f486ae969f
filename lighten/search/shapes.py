"""What decides how long an op takes: its class, and how wide it is on either side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lighten.formats.integer import Float32
from lighten.formats.signs import Format
from lighten.program.ir import Op, Program, Stored

WEIGHTED = ("conv", "conv_transpose", "linear")
PARTS = 16  # of a layer's weights: layers of which as many stay are of one class


@dataclass(frozen=True)
class Shape:
    """One op: its class (everything but the widths), channels read and written, and its work.

    `macs` are multiply-accumulates, zeros included, `weights` stored numbers in the weight, those
    that are zero by construction left out, `numbers` what it writes, each for one sample at these
    widths. `paired` says that the work is a product of both widths (a dense layer), not of one.
    """

    key: str
    read: float
    written: float
    macs: float
    weights: float
    numbers: float
    paired: bool

    def at(self, read: float, written: float) -> Shape:
        """The same op at other widths: work scales with them."""
        wider = written / self.written if self.written else 1.0
        deeper = read / self.read if self.read and self.paired else 1.0
        return replace(
            self,
            read=read,
            written=written,
            macs=self.macs * wider * deeper,
            weights=self.weights * wider * deeper,
            numbers=self.numbers * wider,
        )


def shapes(program: Program) -> dict[str, Shape]:
    """Op name → its shape, for every op of the Program."""
    return {op.name: _weighted(program, op) or _plain(program, op) for op in program.ops}


def _weighted(program: Program, op: Op) -> Shape | None:
    if op.kind not in WEIGHTED or op.inputs[1] not in program.arrays:
        return None
    weight = program.arrays[op.inputs[1]]
    shape, groups = weight.shape, int(op.get("groups", 1))
    result = program.values[op.output].shape
    extent = result[:-1] if op.kind == "linear" else result[1:]
    inner, outer = (0, 1) if op.kind == "conv_transpose" else (1, 0)
    read, written = float(shape[inner]), float(shape[outer])
    depthwise = groups > 1 and op.kind == "conv" and read == 1
    if op.kind == "conv_transpose":
        written *= groups
    else:
        read *= groups
    kernel = shape[2:]
    over = program.values[op.inputs[0]].shape[1:] if op.kind == "conv_transpose" else extent
    key = " ".join(
        (
            "depthwise" if depthwise else op.kind,
            *(("g" + str(groups),) if groups > 1 and not depthwise else ()),
            _times(kernel) + "/" + _times(op.get("strides", ())),
            "@" + _times(extent),
            _formats(program, op, weight.format) + _thin(weight),
        )
    )
    count = float(math.prod(shape))
    return Shape(
        key,
        read,
        written,
        macs=count * math.prod(over),
        weights=count * weight.sparsity.density,
        numbers=float(math.prod(result)),
        paired=not depthwise,
    )


def _plain(program: Program, op: Op) -> Shape:
    """An op without a layer's weight: its time goes with the channels it writes."""
    result = program.values[op.output].shape
    given = [program.values[name].shape for name in op.inputs if name in program.values]
    read = float(given[0][0]) if given and given[0] else 1.0
    key = " ".join(
        (
            op.kind,
            *((str(op.get("function")),) if op.get("function") else ()),
            *((_times(op.get("kernel", ())),) if op.get("kernel") else ()),
            _times(given[0][1:] if given else ()) + ">" + _times(result[1:]),
            _formats(program, op, None),
        )
    )
    numbers = float(math.prod(result))
    return Shape(key, read, float(result[0]) if result else 1.0, 0.0, 0.0, numbers, paired=False)


def _formats(program: Program, op: Op, weight: Format | None) -> str:
    flows = [program.values[name].format for name in op.inputs if name in program.values]
    given = "+".join(sorted({_short(f) for f in flows}))
    if weight is not None:  # a layer rounds its result in passing: that costs little
        return given + "*" + _short(weight)
    return given + ">" + _short(program.values[op.output].format)


def _thin(weight: Stored) -> str:
    """How many of its weights stay, in parts; nothing where all do."""
    if weight.sparsity.kind == "dense":
        return ""
    return f" {weight.sparsity.kind} {round(PARTS * weight.sparsity.density)}/{PARTS}"


def _short(found: Format) -> str:
    if isinstance(found, Float32):
        return "f32"
    return found.name


def _times(extent: Sequence[int]) -> str:
    return "x".join(str(int(n)) for n in extent) or "1"
