"""The run as tables: layer by layer, and step by step, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighten.core.trial import Trial
from lighten.formats.integer import Float32
from lighten.program import cost
from lighten.program.ir import Op, Program
from lighten.search.workbench import Built, Workbench, curve

POINTS = 400  # of a training curve that are kept


def layers(
    bench: Workbench,
    built: Built,
    sensitivity: Mapping[str, float],
    known: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One row per layer with weights: before, after, how sensitive, and why it is as it is.

    `known` has the times of both networks by op (`spent`), and the whys by layer.
    """
    times, why = known
    before = _costs(bench.original, _by_op(times["before"]))
    after = _costs(built.program, _by_op(times["after"]))
    rows = []
    for name, row in before.items():
        reason = bench.graph.left_alone.get(name, "")
        rows.append(
            {
                "name": name,
                "kind": row["kind"],
                "before": row,
                "after": after.get(name),
                "sensitivity": sensitivity.get(name),
                "reason": reason if name in after else "its block was dropped",
                "why": why.get(name, []),
            }
        )
    return rows


def _by_op(times: Mapping[str, Any]) -> dict[str, float]:
    """Milliseconds per op."""
    return {op["name"]: op["ms"] for op in times["ops"]}


def _costs(program: Program, times: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    return {
        op.name: {
            "kind": op.kind,
            "macs": cost.op_macs(op, program),
            "bytes": sum(stored.codes.nbytes for _, stored in program.stored(op)),
            "width": program.arrays[op.inputs[1]].shape[int(op.kind == "conv_transpose")],
            "bits": _bits(op, program),
            "density": program.arrays[op.inputs[1]].sparsity.density,
            "time_ms": times.get(op.name),
        }
        for op in program.ops
        if op.kind in ("conv", "conv_transpose", "linear") and op.inputs[1] in program.arrays
    }


def _bits(op: Op, program: Program) -> int:
    form = program.arrays[op.inputs[1]].format
    return 32 if isinstance(form, Float32) else int(form.bits)


def curves(bench: Workbench, built: Built, controls: Sequence[Trial]) -> dict[str, Any]:
    """Every training of the run: the final one, its controls, the trials' short ones."""
    runs = [curve("final", built.history, POINTS)]
    for trial in controls:
        control = bench.trained(trial.recipe, trial.stage, bench.graph.module)
        runs.append(curve(trial.stage, control.history, POINTS))
    short = [v for key, v in bench.folder.measurements.items() if key.startswith("curve/")]
    named = [{**trial, "name": f"trial {i}"} for i, trial in enumerate(short, start=1)]
    return {"runs": [*runs, *named]}
