"""The run as tables: layer by layer, and step by step, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighten.core.trial import Trial
from lighten.formats.integer import Float32
from lighten.program import cost
from lighten.program.ir import Op, Program
from lighten.search.workbench import Built, Workbench

POINTS = 400  # of a training curve that are kept


def layers(
    bench: Workbench, built: Built, sensitivity: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One row per layer with weights: before, after, how sensitive, and why left alone."""
    before = _costs(bench.original, _profile(bench, bench.original))
    after = _costs(built.program, _profile(bench, built.program))
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
            }
        )
    return rows


def _profile(bench: Workbench, program: Program) -> Mapping[str, float]:
    """Milliseconds per op in the chosen backend, for the report only."""
    executable = bench.backend.compile(program, bench.options.threads)
    return executable.profile(bench.inputs, 30)


def _costs(program: Program, times: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    return {
        op.name: {
            "kind": op.kind,
            "macs": cost.op_macs(op, program),
            "bytes": sum(stored.codes.nbytes for _, stored in program.stored(op)),
            "width": program.arrays[op.inputs[1]].shape[int(op.kind == "conv_transpose")],
            "bits": _bits(op, program),
            "time_ms": times.get(op.name),
        }
        for op in program.ops
        if op.kind in ("conv", "conv_transpose", "linear") and op.inputs[1] in program.arrays
    }


def _bits(op: Op, program: Program) -> int:
    form = program.arrays[op.inputs[1]].format
    return 32 if isinstance(form, Float32) else int(form.bits)


def curves(bench: Workbench, built: Built, controls: Sequence[Trial]) -> dict[str, Any]:
    """The final training and its controls: loss per step (thinned), quality on `valid`."""
    runs = [_curve("final", built.history)]
    for trial in controls:
        control = bench.trained(trial.recipe, trial.stage, bench.graph.module)
        runs.append(_curve(trial.stage, control.history))
    return {"runs": runs}


def _curve(name: str, history: Any) -> dict[str, Any]:
    every = max(1, len(history.losses) // POINTS)
    steps = list(range(0, len(history.losses), every))
    return {
        "name": name,
        "steps": steps,
        "loss": [history.losses[step] for step in steps],
        "valid": [list(point) for point in history.valid],
    }
