"""The networks of Torch-Pruning's tests and examples through both libraries: what is cut, rightly?

python benchmarks/coverage.py [--only NAME …]
python benchmarks/coverage.py --quick      its tests' own networks and a few others

Each library cuts 30 % of every group it finds; `coverage_judge` compares each with its masked
network. A row's number is the share of convolution and linear MACs in layers that no cut reached,
in percent; where the cut network crashes or answers wrongly, that is all of them. Nothing is timed.
torchvision and timm are read for their definitions: `pip install 'lighten[bench]'`. What one run
wrote with `--json` another can take up with `--known`.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common
import coverage_judge as judging
import coverage_peer as peer
import torch
from coverage_cases import CASES, NOTES, Case, quick
from coverage_judge import Verdict
from torch import Tensor, nn

from lighten.core.files import write_json
from lighten.network import Graph, cut, trace

PEER, RATIO = "Torch-Pruning", 0.3
LIMIT = 300.0  # seconds of processor time for one network by one library; a quick run's: 40
FAILED = ("crash", "unfinished")
Made = Callable[[nn.Module, tuple[Tensor, ...]], nn.Module]


def ours(net: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """The network without 30 % of the slices of every group."""
    graph = trace(net, inputs)
    return cut(graph, most(graph))


def most(graph: Graph) -> dict[str, list[int]]:
    """70 % of the slices of every group, drawn at random."""
    rng = random.Random(0)
    return {
        group.name: sorted(rng.sample(range(group.size), max(1, round((1 - RATIO) * group.size))))
        for group in graph.groups
    }


def theirs(case: Case) -> Made:
    """What the peer makes of a network, used as the case says."""
    return lambda net, inputs: peer.pruned(net, inputs, RATIO, case.usage)


def verdict(make: Made, case: Case, limit: float = LIMIT) -> Verdict:
    """What comes of pruning a network by `make`; whatever it raises is a verdict too."""
    net, inputs = case.make()
    judging.prepare_(net, inputs)
    signal.signal(signal.SIGPROF, _stopper(limit))
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        return judging.judge(net, make(net, inputs), inputs)
    except TimeoutError as problem:
        return Verdict("unfinished", why=str(problem))
    except Exception as problem:
        line = (str(problem).strip().splitlines() or [""])[0]
        return Verdict("crash", why=f"{type(problem).__name__}: {line}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stopper(limit: float) -> Callable[..., None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {limit:.0f} s of processor time")

    return late


def row(name: str, case: Case, found: Mapping[str, Verdict]) -> common.Row:
    """A row: the MACs in layers that no right cut reached, and both verdicts in full."""
    missed = {who: 100 * (1 - seen.covered * seen.right) for who, seen in found.items()}
    made = common.row(
        name, "% of MACs not cut", missed["lighten"], {PEER: missed[PEER]}, spread=0.0
    )
    return {
        **made,
        "source": case.source,
        "verdicts": {who: vars(seen) | {"right": seen.right} for who, seen in found.items()},
    }


def said(seen: Verdict) -> str:
    """A verdict in a cell."""
    if seen.word == "wrong":
        return "**wrong**: other shapes" if seen.why else f"**wrong** by {seen.error:.2g}"
    return f"**{seen.word}**" if seen.word in FAILED else seen.word


def table(rows: list[common.Row]) -> str:
    """Both libraries on every network, then how often each word fell, then why what failed did."""
    lines = []
    for one in rows:
        cells = [one["case"], one["source"]]
        for who in ("lighten", PEER):
            seen = Verdict(**{k: v for k, v in one["verdicts"][who].items() if k != "right"})
            cut_ = (f"{100 * seen.covered:.0f} %", f"{100 * seen.removed:.0f} %")
            cells += [said(seen), *(cut_ if seen.right else ("–", "–"))]
        lines.append(cells)
    heads = ("", "MACs reached", "parameters gone")
    columns = [f"{who} {head}".strip() for who in ("lighten", PEER) for head in heads]
    text = common.markdown(["network", "definition", *columns], lines)
    counts = "\n".join(f"- {who}: {tally(rows, who)}." for who in ("lighten", PEER))
    reasons = "\n".join(
        f"- {one['case']}, {who}: {reason}"
        for one in rows
        for who, seen in one["verdicts"].items()
        if (reason := why(one["case"], seen))
    )
    return f"{text}\n\n{counts}\n\n{reasons}".strip()


def why(name: str, seen: Mapping[str, Any]) -> str:
    """The error of a crash, or what was found behind a wrong answer."""
    if seen["word"] in FAILED:
        return str(seen["why"])
    return NOTES.get(name, "") if seen["word"] == "wrong" else ""


def tally(rows: list[common.Row], who: str) -> str:
    """How many networks came out how."""
    counts = Counter(one["verdicts"][who]["word"] for one in rows)
    words = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return f"{len(rows)} networks, {words}"


def options() -> argparse.ArgumentParser:
    """The options of every benchmark, and which networks."""
    found = common.parser("coverage", __doc__ or "")
    found.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help="these networks")
    found.add_argument(
        "--known",
        nargs="+",
        type=Path,
        default=(),
        metavar="FILE",
        help="rows of earlier runs, which are not judged again",
    )
    return found


def main() -> None:
    """Judge every network, print and write the table."""
    args = options().parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    chosen = quick(CASES) if args.quick else dict(CASES)
    chosen = {name: CASES[name] for name in args.only} if args.only else chosen
    known = {one["case"]: one for path in args.known for one in common.plain_json(path)}
    rows, limit = [], 40.0 if args.quick else LIMIT
    for name, case in chosen.items():
        if name in known:
            rows.append(known[name])
            continue
        began = time.monotonic()
        found = {
            "lighten": verdict(ours, case, limit),
            PEER: verdict(theirs(case), case, limit),
        }
        rows.append(row(name, case, found))
        both = "; ".join(f"{who}: {said(v)} {v.error:.1e} {v.why}" for who, v in found.items())
        if args.json:
            write_json(args.json, rows)
        print(f"{name} ({time.monotonic() - began:.0f} s): {both}", flush=True)
    common.publish("coverage", args, rows, table(rows), summed_up=False)


if __name__ == "__main__":
    sys.exit(common.run(main))
