"""What every benchmark shares: its options, its rows, its table in RESULTS.md.

A row is a plain mapping that every script writes to `--json FILE`:

    case     what was measured, on what
    ours     our number; smaller is better in every row
    peers    the peers' numbers by name
    ratio    best peer ÷ ours: above 1 where we are better; null where that is undefined
    spread   half the spread of ours (interquartile range, interval or range; `unit` as ours)

and, beside these, `unit` and `best` (the peer that the ratio is to).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ARTIFACTS = HERE / "artifacts"
WORK = ROOT / "out" / "benchmarks"  # unfinished training
RESULTS = HERE / "RESULTS.md"
SHARED = ROOT.parent / "shared" / "data"
TITLE = "# Measured side by side\n"
PACKAGES = (
    *("lighten", "torch", "onnxruntime", "openvino", "nncf", "torch-pruning"),
    *("torchvision", "timm", "transformers"),
)

Row = dict[str, Any]


def parser(script: str, about: str, *, several_threads: bool = False) -> argparse.ArgumentParser:
    """The options that every benchmark has; `--threads` may list several numbers for some."""
    found = argparse.ArgumentParser(prog=f"benchmarks/{script}.py", description=about)
    found.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    found.add_argument(
        "--quick",
        action="store_true",
        help="about a minute: fewer cases, the committed artifacts measured anew",
    )
    threads: dict[str, Any] = {"nargs": "+", "default": [1]} if several_threads else {"default": 1}
    found.add_argument("--threads", type=int, help="CPU threads of every contestant", **threads)
    found.add_argument(
        "--write", action="store_true", help="put the table in its place in benchmarks/RESULTS.md"
    )
    return found


def row(
    case: str,
    unit: str,
    ours: float,
    peers: Mapping[str, float],
    *,
    spread: float,
    eligible: Collection[str] | None = None,
) -> Row:
    """One row; smaller is better. The best peer is taken among `eligible`, by default all."""
    best = best_of(peers, eligible)
    return {
        "case": case,
        "ours": ours,
        "peers": dict(peers),
        "ratio": ratio(peers[best], ours) if best else None,
        "spread": spread,
        "unit": unit,
        "best": best,
    }


def best_of(peers: Mapping[str, float], eligible: Collection[str] | None = None) -> str | None:
    """The peer with the smallest number; where none is eligible, of all of them."""
    if not peers:
        return None
    among = [name for name in peers if eligible is None or name in eligible]
    return min(among or peers, key=lambda name: peers[name])


def ratio(best: float, ours: float) -> float | None:
    """Best peer ÷ ours, where both are above zero."""
    return best / ours if best > 0 and ours > 0 else None


def markdown(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is flush right."""
    rule = ["---", *("---:" for _ in headers[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *lines))


def summary_line(found: Row) -> str:
    """One row in words: the ratio to the best peer."""
    if found["ratio"] is None:
        return f"- {found['case']}: {found['ours']:.4g} {found['unit']}, no ratio."
    return (
        f"- {found['case']}: {found['ours']:.4g} ± {found['spread']:.2g} {found['unit']}, "
        f"**{found['ratio']:.2f}x** against {found['best']}."
    )


def machine(threads: int | Sequence[int]) -> str:
    """The processor, the threads, and the versions of what was run."""
    from lighten.measure.probe import probe

    device = probe()
    versions = ", ".join(f"{name} {there}" for name in PACKAGES if (there := _version(name)))
    used = " and ".join(map(str, _listed(threads)))
    return f"{device.name}, {used} of {device.cores} threads, {device.system}; {versions}."


def _listed(threads: int | Sequence[int]) -> Sequence[int]:
    return [threads] if isinstance(threads, int) else threads


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def publish(
    script: str,
    args: argparse.Namespace,
    rows: Sequence[Row],
    text: str,
    *,
    summed_up: bool = True,
    part: str = "",
) -> None:
    """Print the table, write the rows, and replace the script's section of RESULTS.md.

    The rows stand below the table in words where they are to be `summed_up`. Other numbers of
    threads, and what the options in `part` ask for, have a section of their own.
    """
    lines = "\n".join(summary_line(found) for found in rows)
    text = "\n\n".join([text, *([lines] if summed_up else []), machine(args.threads)])
    print(text)
    if args.json:
        from lighten.core.files import write_json

        write_json(args.json, list(rows))
    if args.write and not args.quick:
        options = _options(args, part)
        command = " ".join(["python", f"benchmarks/{script}.py", *options, "--write"])
        write_section(RESULTS, " ".join([script, *options]), f"{text}\n\nAgain: `{command}`")


def _options(args: argparse.Namespace, part: str) -> list[str]:
    """What the command that measures a table anew asks for, beside writing it."""
    listed = list(_listed(args.threads))
    threads = ["--threads", *map(str, listed)] if listed != [1] else []
    return [*threads, *part.split()]


def write_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the marks of `name` in a Markdown file, at its end where it has none."""
    from lighten.core.files import write_text

    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else TITLE
    section = f"{opening}\n{text}\n{closing}"
    before, found, rest = page.partition(opening)
    after = rest.partition(closing)[2] if found else ""
    write_text(path, f"{before}{section}{after}" if found else f"{page}\n{section}\n")


def needed(path: Path, what: str, how: str) -> Path:
    """`path`, where it exists; `SystemExit(2)` with one sentence where it does not."""
    if not path.exists():
        stop(f"{what} is not at {path}.", how)
    return path


def stop(message: str, hint: str = "") -> None:
    """Leave with exit code 2 and one sentence."""
    print(f"{message} {hint}".strip(), file=sys.stderr)
    raise SystemExit(2)


def run(main: Callable[[], None]) -> None:
    """Run a benchmark: what is wrong with its input ends with one sentence and exit code 2."""
    from lighten.errors import LightenError

    try:
        main()
    except LightenError as problem:
        stop(str(problem))


def with_train(found: argparse.ArgumentParser, parts: Sequence[str]) -> argparse.ArgumentParser:
    """Add `--train [PART…]`, which makes models anew; without a part, all of them."""

    class All(argparse.Action):
        def __call__(self, _parser: Any, space: Any, values: Any, _option: Any = None) -> None:
            setattr(space, self.dest, tuple(values or parts))

    said = "make these models anew first, all by default; a stopped training goes on"
    found.add_argument(
        "--train", nargs="*", choices=parts, action=All, default=(), metavar="PART", help=said
    )
    return found


def lighten(command: Sequence[str]) -> None:
    """Run a `lighten …` command with this Python, at the root of the checkout."""
    print(" ".join(command), flush=True)
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def shown(path: Path) -> str:
    """A path as seen from the root of the checkout."""
    return os.path.relpath(path.resolve(), ROOT)


def told(every: int) -> Callable[[Any], None]:
    """Tells how training goes, every so many steps."""

    def tell(state: Any) -> None:
        if state.step % every == 0 or state.step == state.steps:
            valid = "" if state.quality is None else f", {state.quality:.2f} on valid"
            print(f"step {state.step} of {state.steps}, loss {state.loss:.3f}{valid}", flush=True)

    return tell


def plain_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))
