"""int8 after training (rows B1–B3, B10): observe ranges, write formats, correct biases.

    fused program ── observe ──► histograms ── quantize ──► program with formats ── bias_correction

Weights become per-channel symmetric int8, activations affine uint8 (signed activations run slower
than float on onnxruntime). Nothing else changes: a quantised program is the float one with formats
written on values, and `cast` ops where a value is wanted both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lighten.core.task import Batch
from lighten.errors import ProgramError
from lighten.formats.calibrate import CALIBRATORS, Histogram
from lighten.formats.integer import FLOAT32, INT8_WEIGHT, UINT8, Scale
from lighten.program.flow import LAYERS, carries, groups, plan
from lighten.program.fuse import drop_unused
from lighten.program.interpret import activations, rounded
from lighten.program.ir import Op, Program, Stored
from lighten.program.reference import REFERENCE
from lighten.program.spec import integer_values, operands, weights

Array = np.ndarray[Any, Any]
Run = Callable[..., Mapping[str, Array]]  # run(program, *inputs, keep=names) → name → [n, …]


def reference_run(program: Program, *inputs: Array, keep: Collection[str]) -> dict[str, Array]:
    """The reference interpreter in float32, as `observe` and `bias_correction` want it."""
    return activations(program, *inputs, keep=keep, dtype=np.float32)


def quantizable(program: Program) -> tuple[str, ...]:
    """Names of the layers `quantize` can compute in int8: convolutions and linear layers whose
    weights are floats.
    """
    return tuple(
        op.name
        for op in program.ops
        if op.kind in LAYERS and program.arrays[op.inputs[1]].format == FLOAT32
    )


def observe(
    program: Program, batches: Iterable[Batch], run: Run = reference_run
) -> dict[str, Histogram]:
    """How every value of a fused float program is distributed over `batches`, inputs included."""
    whole = integer_values(program)
    names = [name for name in program.values if name not in whole]
    seen = {name: Histogram.empty() for name in names}
    for batch in batches:
        found = run(program, *batch.inputs, keep=names)
        seen = {name: histogram.add(found[name]) for name, histogram in seen.items()}
    return seen


def quantize(
    program: Program,
    ranges: Mapping[str, Histogram],
    layers: Collection[str] | None = None,
    calibrator: str = "mse",
    joins: bool = False,
) -> Program:
    """The program with `layers` (op names; None: every conv and linear) computing in int8.

    `program` is fused and float, `ranges` what `observe` saw of it, `calibrator` a row of
    `CALIBRATORS`; `joins` is for our own engine (`program.flow`). Raises `ProgramError` for a layer
    that is not there or not quantizable.
    """
    if calibrator not in CALIBRATORS:
        raise ProgramError(
            f"The calibrator must be one of {', '.join(CALIBRATORS)}, but got {calibrator!r}."
        )
    possible = quantizable(program)
    chosen = possible if layers is None else tuple(layers)
    strange = sorted(set(chosen) - set(possible))
    if strange:
        raise ProgramError(f"{strange[0]!r} is no convolution or linear layer of the program.")
    flow = plan(program, chosen, joins)
    copies = {name: f"{name}.int8" for name in flow.cast}
    program = _with_casts(program, flow.cast, copies)
    ranges = {**ranges, **{copy: ranges[name] for name, copy in copies.items()}}
    scales = _scales(program, flow.rounded | set(copies.values()), ranges, calibrator)
    values = {
        name: replace(value, format=UINT8, params=scales[name]) if name in scales else value
        for name, value in program.values.items()
    }
    return _with_int8_weights(program.changed(values=values), chosen)


def quantization(
    program: Program,
    inputs: Iterable[tuple[Array, ...]],
    layers: Collection[str] | None = None,
    calibrator: str = "mse",
    run: Run = reference_run,
    joins: bool = False,
) -> Program:
    """All of it: `observe`, `quantize` and `bias_correction` on the same samples.

    `inputs` yields the network's inputs, batch by batch, each `[n, …]`.
    """
    batches = [Batch(given, None) for given in inputs]
    quantized = quantize(program, observe(program, batches, run), layers, calibrator, joins)
    return bias_correction(program, quantized, batches, run)


def _with_casts(
    program: Program, cast: Mapping[str, tuple[str, ...]], copies: Mapping[str, str]
) -> Program:
    """Each value of `cast` copied by a cast op right after it is made, for the ops named."""
    ops: list[Op] = []

    def copy(name: str) -> None:
        if name in cast:
            ops.append(Op("cast", copies[name], (name,), (copies[name],)))

    for name in program.inputs:
        copy(name)
    for op in program.ops:
        inputs = tuple(
            copies[name] if op.name in cast.get(name, ()) else name for name in op.inputs
        )
        ops.append(replace(op, inputs=inputs))
        copy(op.output)
    made = {copies[name]: program.values[name] for name in cast}
    return program.changed(ops=tuple(ops), values={**program.values, **made})


def _scales(
    program: Program, names: Collection[str], ranges: Mapping[str, Histogram], calibrator: str
) -> dict[str, Scale]:
    """One scale per group of values; a group covers the ranges of what enters it."""
    producers = program.producers()
    scales: dict[str, Scale] = {}
    for group in groups(program, names):
        entering = [name for name in group if _enters(producers[name], group)] or list(group)
        found = [CALIBRATORS[calibrator](ranges[name], UINT8) for name in entering]
        span = UINT8.span(min(low for low, _ in found), max(high for _, high in found))
        scales.update(dict.fromkeys(group, span))
    return scales


def _enters(maker: Op, group: Collection[str]) -> bool:
    """Whether numbers enter the group there: computed, or moved from what lies outside."""
    return not carries(maker) or any(name not in group for name in operands(maker))


def _with_int8_weights(program: Program, chosen: Collection[str]) -> Program:
    arrays, ops = dict(program.arrays), {op.name: op for op in program.ops}
    for layer in chosen:
        op = ops[layer]
        weight = f"{op.inputs[1]}.int8"
        arrays[weight] = int8_weight(arrays[op.inputs[1]])
        ops[layer] = replace(op, inputs=(op.inputs[0], weight, *op.inputs[2:]))
    return drop_unused(program.changed(ops=tuple(ops.values()), arrays=arrays))


def int8_weight(stored: Stored) -> Stored:
    """A weight as int8, one symmetric scale per output channel (axis 0)."""
    w = stored.decode()
    params = INT8_WEIGHT.fit(w, axis=0)
    codes = INT8_WEIGHT.encode(w, params).astype(np.int8)
    return replace(stored, codes=codes, format=INT8_WEIGHT, params=params)


def bias_correction(
    program: Program, quantized: Program, batches: Iterable[Batch], run: Run = reference_run
) -> Program:
    """`quantized` with each int8 layer's mean output error taken off its bias, per channel.

    A layer is linear before its activation, so the mean error is W·E[x] − Ŵ·E[x̂], where x̂ is x
    as that layer's input is rounded: one pass over `batches` of the float `program` serves all
    layers (Nagel et al., "Data-free quantization through weight equalization and bias
    correction", ICCV 2019, section 4.2; empirical form).
    """
    layers = [op for op in quantized.ops if op.kind in LAYERS and _in_int8(quantized, op)]
    originals = {op.name: program.op(op.name) for op in layers}
    names = sorted({op.inputs[0] for op in originals.values()})
    sums: dict[str, list[Any]] = {op.name: [0.0, 0.0] for op in layers}
    seen = 0
    for batch in batches:
        found = run(program, *batch.inputs, keep=names)
        seen += len(batch)
        for op in layers:
            x = np.asarray(found[originals[op.name].inputs[0]], np.float64)
            sums[op.name][0] += x.sum(0)
            sums[op.name][1] += rounded(x, quantized.values[op.inputs[0]]).sum(0)
    arrays, ops = dict(quantized.arrays), {op.name: op for op in quantized.ops}
    for op in layers if seen else ():
        exact, coarse = (total[None] / seen for total in sums[op.name])
        error = _preactivation(quantized, op, coarse) - _preactivation(
            program, originals[op.name], exact
        )
        channel = 1 if op.kind == "conv" else error.ndim - 1
        mean = error.mean(tuple(axis for axis in range(error.ndim) if axis != channel))
        bias = f"{op.name}.corrected.bias"
        arrays[bias] = Stored((_bias(quantized, op) - mean).astype(np.float32))
        ops[op.name] = replace(op, inputs=(*op.inputs[:2], bias))
    return drop_unused(quantized.changed(ops=tuple(ops.values()), arrays=arrays))


def _in_int8(program: Program, op: Op) -> bool:
    return program.arrays[op.inputs[1]].format == INT8_WEIGHT


def _bias(program: Program, op: Op) -> Array | float:
    name = weights(op)[1]
    return program.arrays[name].decode().astype(np.float64) if name else 0.0


def _preactivation(program: Program, op: Op, x: Array) -> Array:
    """The layer's output before its activation, `[1, …]`."""
    plain = replace(op, attributes={**op.attributes, "activation": ""})
    held = [program.arrays[n].decode().astype(np.float64) if n else None for n in weights(op)]
    return np.asarray(REFERENCE[op.kind](plain, x, *held))
