"""Networks that run in the form they were compressed to.

python benchmarks/compressed.py --train resnet20-25    trains that case, or goes on (hours)
python benchmarks/compressed.py --score resnet20-25    how good it is on `valid`; --split test
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import compressed_train

NAME = "compressed"


def main() -> None:
    """Train what is asked for."""
    args = options().parse_args()
    for name in args.train:
        case = compressed_train.CASES[name]
        common.needed(case.weights, "The trained network", "See the README of the shared data.")
        common.needed(case.data, "The data", "See the README of the shared data.")
        compressed_train.train(name, args.out)
    for name in args.score:
        common.needed(args.out / f"{name}.lighten", "The trained network", f"--train {name} first.")
        print(name, compressed_train.score(name, args.out, args.split))


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = common.parser(NAME, "Networks in the form they were compressed to.")
    found.add_argument("--out", type=Path, default=common.WORK / NAME, help="where trainings lie")
    found.add_argument("--score", nargs="+", default=(), choices=tuple(compressed_train.CASES))
    found.add_argument("--split", default="valid", choices=("valid", "test"))
    return common.with_train(found, tuple(compressed_train.CASES))


if __name__ == "__main__":
    common.run(main)
