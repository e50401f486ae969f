"""Tasks that are not image classification, each compressed to a stated budget.

python benchmarks/tasks.py                        every task, measured and scored now
python benchmarks/tasks.py --quick                the same, timed for a shorter time
python benchmarks/tasks.py --train                trains and compresses anew first
python benchmarks/tasks.py --train segmentation   only that one

The data is made from fixed seeds by `lighten.data.generated`, so nothing else is needed. `--train`
trains an original only where there is none; delete its weights for a new one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import contest
import peers
from contest import OURS, REFERENCE, Contestant

FOLDER = common.ARTIFACTS / "tasks"
AGAIN = "python benchmarks/tasks.py --train"


@dataclass(frozen=True)
class Case:
    """A network, its data, how it is trained, and what is asked.

    `training` stands as it is typed. `latency` is a share of the fp32 original's, `drop` in the
    metric's unit, `minutes` the time that one compression may take.
    """

    network: str
    data: str
    training: str
    latency: float
    drop: float
    minutes: int = 4

    @property
    def budget(self) -> tuple[str, ...]:
        """As it is typed."""
        limits = ("--latency", f"{self.latency:g}x", "--drop", f"{self.drop:g}")
        return (*limits, "--time", f"{self.minutes}m")


CASES = {
    "segmentation": Case(
        "zoo:unet",
        "builtin:shapes-segmentation",
        "--epochs 14 --batch 32 --optimizer adamw --lr 0.003",
        latency=0.5,
        drop=1.0,
    ),
    "detection": Case(
        "zoo:grid_detector",
        "builtin:shapes-detection",
        "--epochs 16 --batch 16 --lr 0.003",
        latency=0.5,
        drop=1.0,
    ),
    "super-resolution": Case(
        "zoo:espcn",
        "builtin:super-resolution",
        "--epochs 6 --batch 16",
        latency=0.5,
        drop=0.2,
    ),
    "sensor": Case(
        "zoo:sensor_cnn",
        "builtin:sensor",
        "--epochs 10 --batch 64",
        latency=0.5,
        drop=1.0,
    ),
    "embeddings": Case(
        "zoo:encoder",
        "builtin:pairs",
        "--epochs 12 --batch 32 --lr 0.002",
        latency=0.5,
        drop=1.0,
    ),
}


@dataclass(frozen=True)
class Found:
    """What was measured of one task: the metric before and after, and the rest of ours.

    `agreement` says how alike the answers are, where the task asks for that too.
    """

    before: float
    ours: contest.Outcome
    reference: contest.Outcome
    metric: Any
    backend: str
    more: Mapping[str, tuple[float, float]]


def main() -> None:
    """Train where asked, then measure all."""
    args = options().parse_args()
    for name in args.train:
        make(name, CASES[name])
    there = {name: case for name, case in CASES.items() if made(name)}
    if not there:
        common.stop("No task has its models yet.", f"Make them with: {AGAIN}")
    found = {name: measured(name, case, args) for name, case in there.items()}
    rows = [row for name in there for row in rows_of(name, CASES[name], found[name])]
    common.publish("tasks", args, rows, table(found))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser("tasks", "Segmentation, detection, super-resolution, sensor, embeddings.")
    return common.with_train(found, tuple(CASES))


def weights(name: str) -> Path:
    """Where the original's weights are kept."""
    return FOLDER / name / "weights.safetensors"


def made(name: str) -> bool:
    """Whether the original and ours are there to be measured."""
    files = ("weights.safetensors", "model.onnx", "summary.json")
    return all((FOLDER / name / file).exists() for file in files)


def command(name: str, case: Case) -> list[str]:
    """The command that makes our model."""
    given = ["--weights", common.shown(weights(name)), "--data", case.data]
    return ["lighten", "compress", case.network, *given, *case.budget]


def make(name: str, case: Case) -> None:
    """Train the original where there is none, then compress it."""
    place = weights(name)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        given = ["--data", case.data, *case.training.split(), "-o", common.shown(place)]
        common.lighten(["lighten", "train", case.network, *given])
    contest.compress(command(name, case), FOLDER / name)


def measured(name: str, case: Case, args: argparse.Namespace) -> Found:
    """Ours and the fp32 original, timed in turns and scored on the same test samples."""
    from lighten import api

    task = api.load_task(case.data)
    net = api.load_network(case.network, weights=weights(name), task=task)
    ours = contest.ours(FOLDER / name, command(name, case))
    fp32 = Contestant(REFERENCE, "onnxruntime", peers.to_onnx(net, task))
    held = contest.hold([ours, fp32], task, args)
    best, reference = held.outcomes[OURS], held.outcomes[REFERENCE]
    return Found(
        100.0 - reference.error,
        best,
        reference,
        task.metric,
        ours.backend,
        beside(name, ours, fp32),
    )


def beside(name: str, ours: Contestant, fp32: Contestant) -> dict[str, tuple[float, float]]:
    """A second figure of the two tasks that are usually given two, before and after."""
    from lighten import api, metrics
    from lighten.core.task import Batch
    from lighten.measure import quality

    task = api.load_task(CASES[name].data)
    before, after = (one.load(1) for one in (fp32, ours))
    if name == "detection":
        strict = metrics.average_precision(len(task.labels), metrics.COCO)
        pair = (quality.rows(run, task.test(), strict) for run in (before, after))
        return {"AP at overlaps of 0.50 to 0.95": tuple(map(strict.reduce, pair))}  # type: ignore
    if name == "embeddings":
        alike = metrics.cosine()
        batches = [Batch(b.inputs, before(*b.inputs)[0]) for b in task.test()]
        return {
            "cosine to the original's embedding": (
                100.0,
                alike.reduce(quality.rows(after, batches, alike)),
            )
        }
    return {}


def met(case: Case, found: Found) -> bool:
    """Whether both limits are kept: the ratio's interval reaches the one, the drop the other."""
    return found.ours.times[1].interval.low <= case.latency and found.ours.drop <= case.drop


def rows_of(name: str, case: Case, found: Found) -> list[common.Row]:
    """Latency, drop and bytes against the original; smaller is better in each."""
    ours, before = found.ours, found.reference
    half = (ours.drop_interval.high - ours.drop_interval.low) / 2
    unit = found.metric.unit
    latency = common.row(
        f"{name}: latency, batch 1",
        "ms",
        ours.latency[1].median_ms,
        {REFERENCE: before.latency[1].median_ms},
        spread=ours.latency[1].spread_ms,
    )
    allowed = {"allowed": case.drop}
    return [
        {**latency, "ratio": 1.0 / ours.times[1].value},
        {
            **common.row(
                f"{name}: drop of {found.metric.name}", unit, ours.drop, allowed, spread=half
            ),
            "ratio": None,
        },
        common.row(
            f"{name}: file", "bytes", ours.bytes, {REFERENCE: float(before.bytes)}, spread=0.0
        ),
    ]


def table(found: Mapping[str, Found]) -> str:
    """One line per task, then the second figures and how each was made."""
    headers = [
        *("task", "network", "metric", "before", "after", "drop [95 %]", "drop allowed"),
        *("latency x fp32", "allowed", "ms", "bytes x fp32", "runs on", "met"),
    ]
    lines = [_line(name, CASES[name], one) for name, one in found.items()]
    more = [
        f"- {name}: {what} {before:.2f} before, {after:.2f} after."
        for name, one in found.items()
        for what, (before, after) in one.more.items()
    ]
    absent = [
        f"- {name}: not measured; make it with {AGAIN} {name}" for name in set(CASES) - set(found)
    ]
    by = [f"- `{' '.join(command(name, CASES[name]))}`" for name in found]
    notes = [*more, *sorted(absent)]
    return "\n".join([common.markdown(headers, lines), "", *notes, "", "Made by:", "", *by])


def _line(name: str, case: Case, found: Found) -> list[str]:
    ours, metric = found.ours, found.metric
    times = ours.times[1]
    direction = "↑" if metric.higher_is_better else "↓"
    interval = f"[{ours.drop_interval.low:+.2f}, {ours.drop_interval.high:+.2f}]"
    return [
        name,
        case.network.removeprefix("zoo:"),
        f"{metric.name} {direction}, {metric.unit}",
        f"{found.before:.2f}",
        f"{100.0 - ours.error:.2f}",
        f"{ours.drop:+.2f} {interval}",
        f"{case.drop:g}",
        f"{times.value:.3f} [{times.interval.low:.3f}, {times.interval.high:.3f}]",
        f"{case.latency:g}",
        f"{ours.latency[1].median_ms:.4f} ± {ours.latency[1].spread_ms:.4f}",
        f"{ours.bytes / found.reference.bytes:.3f}",
        found.backend,
        "yes" if met(case, found) else "no",
    ]


if __name__ == "__main__":
    common.run(main)
