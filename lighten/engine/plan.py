"""From a Program to what is run: which kernel makes each value, written where its inputs lie.

What no kernel here can do is left to the reference interpreter, which reads and writes plain
row-major arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from lighten.emit import Isa, bfloat16, bits, integers
from lighten.engine import choose, signs, tiles, tuning
from lighten.engine.codes import (
    has_codes,
    kept_apart,
    rows_of_codes,
    runs_in_codes,
    strange_values,
    with_casts,
)
from lighten.engine.images import image
from lighten.engine.pairs import joined, with_crops, with_residuals
from lighten.engine.steps import Plan, Shapes
from lighten.engine.vectors import skips_zeros, with_vectors
from lighten.engine.writer import Writer
from lighten.engine.writers import WRITERS
from lighten.engine.writers_codes import CODES
from lighten.engine.writers_rows import ROWS
from lighten.engine.writers_signs import SIGNS
from lighten.engine.writers_tiles import TILES
from lighten.engine.writers_volumes import VOLUMES
from lighten.errors import UnsupportedOps
from lighten.program.ir import Op, Program
from lighten.program.resized import resized
from lighten.program.signs import has_signs
from lighten.program.spec import integer_values

SLIDING = ("conv", "conv_transpose", "pool", "affine", "group_norm", "resize")  # best over images


def plan(program: Program, isa: Isa, tolerance: float | None = None, batch: int = 1) -> Plan:
    """Steps that compute the program on this instruction set, best for so many samples at a time.

    A kernel whose measured error exceeds `tolerance`, that of the instruction set where none is
    given, is not chosen where there is another. bfloat16 is used on a `bfloat16.paired` one alone.
    UnsupportedOps names what is rounded to other integers than unsigned bytes with one scale.
    """
    refused = strange_values(program)
    if refused:
        hint = "It runs unsigned 8-bit activations with one scale each: choose onnxruntime."
        raise UnsupportedOps("native", refused, hint)
    whole, again = integer_values(program), partial(plan, program, isa, tolerance)
    at = partial(_at, program, isa, tolerance)
    program = signs.with_packing(joined(program))
    bound = tuning.tolerance(isa) if tolerance is None else tolerance
    pick = partial(tuning.pick, tolerance=bound)
    chosen = with_vectors(program, isa, choose.convolutions(program, isa, pick, batch))
    counted = signs.layers(program, isa)
    chosen |= counted
    program = with_crops(kept_apart(program, lambda p: with_residuals(p, chosen)), chosen)
    program = with_casts(program, choose.of_codes(chosen) | rows_of_codes(program))
    others = {name: choice for name, choice in chosen.items() if name not in counted}
    tiling = tiles.tiling(program, isa, others)
    chosen = {name: choice for name, choice in chosen.items() if not tiling.holds(name)}
    made = Plan(program, isa, whole, chosen, tiling, again, at)
    writer = Writer(made, choose.halos(program, chosen))
    for name in program.inputs:
        writer.in_rows(name, name)
    for op in program.ops:
        if not any(write(writer, op) for write in _writers(writer, op)):
            writer.interpret(op)
    made.results.extend(writer.as_plain(name) for name in program.outputs)
    return made


def instructions(program: Program, bf16: bool = False) -> Isa:
    """What this machine runs a program with: the dot product of codes where there are any, counts
    of bits where there are signs, pairs of bfloat16 where they are allowed.
    """
    return widened(program, bfloat16.instructions(bf16))


def widened(program: Program, isa: Isa) -> Isa:
    """This machine's instruction set, with the dot product of codes where a program has any, and
    with counts of bits where it has signs.
    """
    if has_signs(program):
        return bits.widest()
    return integers.instructions() if has_codes(program) else isa


def _at(program: Program, isa: Isa, tolerance: float | None, shapes: Shapes) -> Plan:
    """The plan for inputs of other shapes. ProgramError where the program does not take them."""
    return plan(resized(program, shapes), isa, tolerance)


def _writers(writer: Writer, op: Op) -> Iterator[Callable[[Writer, Op], bool]]:
    """What may write an op, first what leaves its inputs as they lie."""
    if writer.plan.tiling.holds(op.name):
        yield TILES[op.kind]
        return
    if runs_in_codes(op, writer.plan.program):
        yield CODES[op.kind]
        return
    if signs.runs_in_signs(op, writer.plan.program):
        yield SIGNS[op.kind]
        return
    flowing = [name for name in op.inputs if name in writer.plan.program.values]
    blocked = [name for name in flowing if writer.in_blocks(name)]
    images = op.kind in WRITERS and _images(writer.plan.program, op)
    slides = op.kind in SLIDING
    skips = skips_zeros(writer.plan.chosen.get(op.name))
    first = images and (slides or skips or len(blocked) == len(flowing) > 0)
    if first:
        yield WRITERS[op.kind]
    if op.kind in ROWS:
        yield ROWS[op.kind]
    if images and not first:
        yield WRITERS[op.kind]
    if op.kind in VOLUMES and op.inputs[0] in writer.plan.program.values:
        yield VOLUMES[op.kind]


def _images(program: Program, op: Op) -> bool:
    """Whether all that flows in and out are images."""
    flowing = [name for name in (*op.inputs, *op.outputs) if name in program.values]
    return all(image(program.values[n].shape) for n in flowing) and op.inputs[0] in program.values
