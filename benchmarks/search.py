"""Does the search earn its keep? The solver beside uniform and random allocation, at equal time.

python benchmarks/search.py             what each searcher found, measured and scored now
python benchmarks/search.py --quick     the same for the digits and one seed
python benchmarks/search.py --train     trains the originals and searches anew first

Every searcher gets the same network, budget, wall time and seed, and the same measurements of the
device, which are taken before the clock starts. Smaller is better in every row.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import common

OURS = "solver"
SEARCHERS = (OURS, "uniform", "random")
FOLDER = common.ARTIFACTS / "search"
RUNS = "runs.json"
REFERENCE = "fp32"
AGAIN = "python benchmarks/search.py --train"
BRIEFLY = 0.05  # epochs, where a search only serves to have the device measured


@dataclass(frozen=True)
class Case:
    """A network and its data, how the original is trained, and what is asked of the search.

    `latency` and `size` are shares of the original's; `seconds` is the wall time of one search;
    `backend` runs what it finds.
    """

    network: str
    data: str
    epochs: float
    batch: int
    rate: float
    latency: float
    size: float | None
    drop: float
    seconds: float
    backend: str = "onnxruntime"

    @property
    def limits(self) -> dict[str, str]:
        """The limits, as they would be typed."""
        shares = {"latency": self.latency, "size": self.size}
        return {name: f"{share:g}x" for name, share in shares.items() if share is not None}

    def holds(self, times: Any, size: float) -> bool:
        """Whether a ratio of latencies, with its interval, and a share of the bytes lie within."""
        return times.interval.low <= self.latency and size <= (self.size or 1.0)

    def __str__(self) -> str:
        return " and ".join(f"{limit} of the {name}" for name, limit in self.limits.items())


@dataclass(frozen=True)
class Found:
    """What one searcher came to with one seed: error in %, time relative to fp32, in bytes.

    `drop` and `seconds` are known of the runs that were made here, and not otherwise.
    """

    error: float
    times: float
    bytes: int
    within: bool
    drop: float | None = None
    seconds: float | None = None


def cases(mnist: Path) -> dict[str, Case]:
    """Everything that is searched, by name."""
    return {
        "digits": Case("zoo:digits_cnn", "builtin:digits", 15, 64, 0.1, 0.08, None, 2.0, 45.0),
        "mnist": Case("zoo:lenet5", str(mnist), 3, 128, 0.02, 1.0, 0.01, 0.5, 60.0),
    }


def main() -> None:
    """Search where asked, then measure what was found."""
    args = options().parse_args()
    chosen = {name: case for name, case in cases(args.mnist).items() if present(name, case)}
    asked = ("digits",) if args.quick else args.case or tuple(chosen)
    chosen = {name: case for name, case in chosen.items() if name in asked}
    seeds = range(1 if args.quick else args.seeds)
    rows, tables = [], []
    for name, case in chosen.items():
        for seed in seeds if "searches" in args.train else ():
            search(name, case, seed, args.threads)
        found = {seed: measure(name, case, seed, args) for seed in seeds if made(name, seed)}
        if not found:
            common.stop(f"Nothing was searched yet for {name}.", f"Do it with: {AGAIN}")
        rows += rows_of(name, case, found)
        tables.append(table(name, case, found))
    common.publish("search", args, rows, "\n\n".join(tables))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser("search", "The solver beside uniform and random search.")
    found.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on")
    said = "digits or mnist; all by default"
    found.add_argument("--case", nargs="+", choices=("digits", "mnist"), help=said)
    found.add_argument("--mnist", type=Path, default=common.SHARED / "mnist.npz")
    return common.with_train(found, ("searches",))


def present(name: str, case: Case) -> bool:
    """Whether the data is here; said where it is not."""
    here = case.data.startswith("builtin:") or Path(case.data).exists()
    if not here:
        print(f"{name} is left out: {case.data} is not here (give its place with --{name}).")
    return here


def made(name: str, seed: int) -> bool:
    """Whether every searcher's model of this seed is there."""
    return all(model(name, seed, searcher).exists() for searcher in SEARCHERS)


def model(name: str, seed: int, searcher: str) -> Path:
    """Where a searcher's model is kept."""
    return FOLDER / name / f"{searcher}-{seed}.onnx"


def search(name: str, case: Case, seed: int, threads: int) -> None:
    """Train the original, then let every searcher look, each seed in another order."""
    from lighten import api
    from lighten.core.recipe import Training

    task = api.load_task(case.data, seed=0)
    net = api.load_network(case.network, task=task, seed=seed)
    training = Training(case.epochs, case.batch, lr=case.rate, signals=(("task", 1.0),), seed=seed)
    checkpoint = common.WORK / "search" / f"{name}-{seed}.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trained = api.train(net, task, training, checkpoint=checkpoint)
    print(f"{name}, seed {seed}: the original has {trained['valid']:.2f} on valid", flush=True)
    look(net, task, name, case, Look("uniform", seed, threads, measuring=True))
    for searcher in rotated(SEARCHERS, seed):
        summary = look(net, task, name, case, Look(searcher, seed, threads))
        remember(name, seed, searcher, summary)


@dataclass(frozen=True)
class Look:
    """One search. `measuring`: only to have the device measured, before any clock starts."""

    searcher: str
    seed: int
    threads: int
    measuring: bool = False


def finished(out: Path, case: Case) -> bool:
    """Whether this search was made here before; one that was stopped starts over, for its clock."""
    if not (out / "summary.json").exists():
        return False
    return bool(common.plain_json(out / "run.json")["time"] == case.seconds)


def look(net: Any, task: Any, name: str, case: Case, one: Look) -> Mapping[str, Any]:
    """Search; keep the model, give the summary."""
    from lighten import api

    kind = "measuring" if one.measuring else one.searcher
    out = common.WORK / "search" / f"{name}-{kind}-{one.seed}"
    if finished(out, case):
        return common.plain_json(out / "summary.json")
    shutil.rmtree(out, ignore_errors=True)
    options = api.Options(
        backend=case.backend,
        threads=one.threads,
        searcher=one.searcher,
        seed=one.seed,
        time=case.seconds,
        epochs=BRIEFLY if one.measuring else None,
        out=out,
    )
    budget = api.Budget(**case.limits, drop=case.drop)
    summary = api.compress(net, task, budget, options).summary
    if not one.measuring:
        kept = model(name, one.seed, one.searcher)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / "model.onnx", kept)
    return summary


def remember(name: str, seed: int, searcher: str, summary: Mapping[str, Any]) -> None:
    """Write down what measuring the model again cannot tell."""
    from lighten.core.files import write_json

    path = FOLDER / name / RUNS
    runs = common.plain_json(path) if path.exists() else {}
    before = 100.0 - summary["before"]["quality"]
    runs[f"{searcher}-{seed}"] = {"seconds": summary["seconds"], "error_before": before}
    write_json(path, dict(sorted(runs.items())))
    after = summary["after"]
    print(
        f"{name}, seed {seed}, {searcher}: drop {summary['drop']:+.2f}, "
        f"{after['latency_ms']:.4f} ms, met: {summary['met']}",
        flush=True,
    )


def rotated(names: Sequence[str], by: int) -> list[str]:
    """The same names, another one first."""
    first = by % len(names)
    return [*names[first:], *names[:first]]


def measure(name: str, case: Case, seed: int, args: argparse.Namespace) -> dict[str, Found]:
    """Time one seed's models in turns with the fp32 network, and score each on `test`."""
    from peers import to_onnx

    from lighten import api, backends
    from lighten.measure import latency, quality

    task = api.load_task(case.data, seed=0)
    fp32 = to_onnx(api.load_network(case.network, task=task, seed=seed), task)
    backend = backends.get(case.backend)
    nets = {s: backend.load(model(name, seed, s).read_bytes(), args.threads) for s in SEARCHERS}
    reference = backends.get("onnxruntime").load(fp32, args.threads)
    everyone, each = {**nets, REFERENCE: reference}, 1.0 if args.quick else 3.0
    timings = latency.interleave(everyone, task.example(1), each, 30)
    runs = {} if args.quick else common.plain_json(FOLDER / name / RUNS)
    found = {}
    for searcher, net in nets.items():
        rows = quality.rows(net, task.test(), task.metric)
        error = 100.0 - quality.quality(rows, task.metric)
        times = timings.ratio(searcher, to=REFERENCE)
        size = model(name, seed, searcher).stat().st_size
        run = runs.get(f"{searcher}-{seed}")
        found[searcher] = Found(
            error,
            times.value,
            size,
            case.holds(times, size / len(fp32)),
            error - run["error_before"] if run else None,
            run["seconds"] if run else None,
        )
    return found


def rows_of(name: str, case: Case, found: Mapping[int, Mapping[str, Found]]) -> list[common.Row]:
    """Error, time and missed budgets, over the seeds. A drop near zero has no ratio."""
    by = {s: [per[s] for per in found.values()] for s in SEARCHERS}
    seeds = f"{len(found)} seed{'s' if len(found) > 1 else ''}"
    where = f"{name} within {case}, {seeds}"
    errors = {s: [one.error for one in counted(by[s])] for s in SEARCHERS}
    times = {s: [one.times for one in by[s]] for s in SEARCHERS}
    rows = [
        row(f"{where}: error on test", "%", errors),
        row(f"{where}: latency", "x fp32", times),
    ]
    if all(one.drop is not None for ones in by.values() for one in ones):
        missed = {s: [100.0 * (not met(one, case)) for one in by[s]] for s in SEARCHERS}
        rows.append(row(f"{where}: seeds that miss the budget", "%", missed))
    return rows


def row(case: str, unit: str, values: Mapping[str, Sequence[float]]) -> common.Row:
    """Means over seeds, and half the range of ours."""
    means = {name: fmean(found) for name, found in values.items()}
    ours = means.pop(OURS)
    spread = (max(values[OURS]) - min(values[OURS])) / 2
    return common.row(case, unit, ours, means, spread=spread)


def counted(ones: Sequence[Found]) -> Sequence[Found]:
    """Those within the limits, where any is: only they can be compared by their error."""
    return [one for one in ones if one.within] or ones


def met(one: Found, case: Case) -> bool:
    """Whether both limits hold."""
    return one.within and (one.drop or 0.0) <= case.drop


def table(name: str, case: Case, found: Mapping[int, Mapping[str, Found]]) -> str:
    """One line per seed and searcher."""
    known = all(one.drop is not None for per in found.values() for one in per.values())
    more = ["drop, points", "met", "wall time, s"] if known else []
    headers = [f"{name}, seed", "searcher", "x fp32", "kB", "error, %", *more]
    lines = []
    for seed, per in found.items():
        for searcher, one in per.items():
            shown = f"**{searcher}**" if searcher == OURS else searcher
            line = [str(seed), shown, f"{one.times:.3f}"]
            line += [f"{one.bytes / 1e3:.1f}", f"{one.error:.2f}"]
            if known:
                line += [f"{one.drop:+.2f}", "yes" if met(one, case) else "no"]
                line.append(f"{one.seconds:.0f}")
            lines.append(line)
    asked = f"{case.network} within {case} and {case.drop:g} points, {case.seconds:.0f} s"
    return f"{asked}:\n\n{common.markdown(headers, lines)}"


if __name__ == "__main__":
    common.run(main)
