"""Networks that run in the form they were compressed to: zeros skipped, numbers of 8 bits.

python benchmarks/compressed.py                        the committed networks, measured and scored
python benchmarks/compressed.py --quick                the same at batch 1, shorter
python benchmarks/compressed.py --train resnet20-25    trains that case, or goes on (hours)
python benchmarks/compressed.py --score resnet20-25    how good a training came out on `valid`

Ours run in our engine; the network that was given runs in onnxruntime as float32, which the ratio
is to, and NNCF's int8 of it in OpenVINO. All are timed in alternation, one call at a time. The drop
is scored on `test`, against the better of the given weights and the control, where there is one:
the dense network, trained on for as many steps.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
import compressed_train
import numpy as np

NAME = "compressed"
FOLDER = common.ARTIFACTS / NAME
BATCHES = (1, 32)
REFERENCE, INT8 = "onnxruntime fp32", "NNCF int8, OpenVINO"
SECONDS, ROUNDS = 4.0, 20


def main() -> None:
    """Train or score what is asked for, or measure what is committed."""
    args = options().parse_args()
    for name in (*args.train, *args.score, *committed()):
        case = compressed_train.CASES[name]
        common.needed(case.weights, "The trained network", "See the README of the shared data.")
        common.needed(case.data, "The data", "See the README of the shared data.")
    for name in args.train:
        compressed_train.train(name, args.out)
        FOLDER.mkdir(parents=True, exist_ok=True)
        for made in (f"{name}.lighten", f"{name}.json"):
            shutil.copy(args.out / made, FOLDER / made)
    for name in args.score:
        common.needed(args.out / f"{name}.lighten", "The trained network", f"--train {name} first.")
        print(name, compressed_train.score(name, args.out, args.split))
    if not args.train and not args.score:
        rows = [row for name in committed() for row in measured(name, args)]
        text = f"{table(rows)}\n\n{trained()}"
        common.publish(NAME, args, rows, text, summed_up=False)


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser(NAME, "Networks in the form they were compressed to.")
    found.add_argument("--out", type=Path, default=common.WORK / NAME, help="where trainings lie")
    found.add_argument("--score", nargs="+", default=(), choices=tuple(compressed_train.CASES))
    found.add_argument("--split", default="valid", choices=("valid", "test"))
    return common.with_train(found, tuple(compressed_train.CASES))


def committed() -> list[str]:
    """The cases whose networks are in the repository, in their order; the controls left out."""
    there = {path.stem for path in FOLDER.glob("*.lighten")}
    return [name for name, case in compressed_train.CASES.items() if name in there and case.rounded]


def measured(name: str, args: argparse.Namespace) -> list[common.Row]:
    """A row for each batch size: time, bytes, and what was lost on `test`."""
    from lighten import api, backends, store
    from lighten.measure import latency, quality

    case = compressed_train.CASES[name]
    task = api.load_task(str(case.data))
    net = api.load_network(case.network, weights=case.weights, task=task)
    given, program = api.lower(net, task.example(2)), store.load(FOLDER / f"{name}.lighten")
    there = {
        "ours": backends.get("native").compile(program, args.threads),
        REFERENCE: backends.get("onnxruntime").compile(given, args.threads),
        **peers(case, args.threads),
    }
    score = {key: quality.rows(there[key], task.test(), task.metric) for key in ("ours", REFERENCE)}
    control = FOLDER / f"{case.network.removeprefix('zoo:')}-dense.lighten"
    if control.exists():
        dense = backends.get("onnxruntime").compile(store.load(control), args.threads)
        score["control"] = quality.rows(dense, task.test(), task.metric)
    whole = {key: quality.quality(rows, task.metric) for key, rows in score.items()}
    against = max((key for key in score if key != "ours"), key=lambda key: whole[key])
    drop, interval = quality.paired_drop(score[against], score["ours"], task.metric)
    told = {
        "drop": drop,
        "drop_interval": [interval.low, interval.high],
        "against": against,
        "quality": whole["ours"],
        "bytes": (FOLDER / f"{name}.lighten").stat().st_size,
    }
    found = []
    for batch in BATCHES[: 1 if args.quick else None]:
        seconds = SECONDS / (2 if args.quick else 1)
        times = latency.interleave(there, task.example(batch), seconds, ROUNDS)
        ratio = times.ratio(REFERENCE, to="ours")
        ms = {key: times.latency(key).median_ms for key in there}
        others = {key: value for key, value in ms.items() if key != "ours"}
        row = common.row(
            f"{name}, batch {batch}",
            "ms",
            ms["ours"],
            others,
            spread=times.latency("ours").spread_ms,
            eligible=(REFERENCE,),
        )
        span = [ratio.interval.low, ratio.interval.high]
        found.append({**row, "ratio": ratio.value, "interval": span, **told})
    return found


def trained() -> str:
    """How each committed network was trained, a line each."""
    lines = []
    for path in sorted(FOLDER.glob("*.json")):
        told = common.plain_json(path)
        lines.append(f"- {path.stem}: {told['steps']} steps of 128 images; {told.get('note', '')}")
    return "\n".join(lines)


def peers(case: compressed_train.Case, threads: int) -> Mapping[str, Any]:
    """NNCF's int8 of the given network, where it is committed."""
    from lighten import backends

    file = common.ARTIFACTS / case.network.removeprefix("zoo:") / "peers" / "nncf.xml"
    if not file.exists() or not backends.installed("openvino"):
        return {}
    return {INT8: backends.get("openvino").load(file, threads)}


def table(rows: list[common.Row]) -> str:
    """Each row with its drop."""
    lines = [
        [
            str(row["case"]),
            f"{row['ours']:.4f}",
            f"{row['peers'][REFERENCE]:.4f}",
            f"{row['peers'].get(INT8, np.nan):.4f}",
            f"**{row['ratio']:.2f}** [{row['interval'][0]:.2f}, {row['interval'][1]:.2f}]",
            f"{row['drop']:.2f} [{row['drop_interval'][0]:.2f}, {row['drop_interval'][1]:.2f}]",
            f"{row['quality']:.2f}",
            f"{row['bytes'] / 1e3:.0f}",
        ]
        for row in rows
    ]
    titles = ["network", "ours, ms", f"{REFERENCE}, ms", f"{INT8}, ms", "times faster [95 %]"]
    return common.markdown([*titles, "drop, points [95 %]", "on test, %", "kB"], lines)


if __name__ == "__main__":
    common.run(main)
