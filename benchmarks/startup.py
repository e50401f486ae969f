"""How fast a model comes up: a fresh Python process loads a file and gives its first answer.

python benchmarks/startup.py [--only NAME …]     some minutes
python benchmarks/startup.py --quick             two networks, three processes each

Seconds are from the start of the process (Python and NumPy too) to the first answer for one sample;
memory is the most that was resident until then, the mapped parts of files included. Ours is found
compiled in the cache, or compiled with an empty one and no tuning. The peers read the same network
as ONNX, or what they themselves made of it for this machine in a process before: onnxruntime its
optimised file, OpenVINO its cache. Everyone takes turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import common
import numpy as np

NETWORKS = ("resnet20", "mobilenet_v2", "resnet50")
QUICK = ("resnet20", "resnet50")
RUNS, FEW = 9, 3  # processes of each contestant
FIRST, KEPT, NUMPY = "ours, compiled", "ours", "python and numpy alone"
PEERS = ("onnxruntime", "onnxruntime, its file", "openvino", "openvino, its cache")

BEGIN = (
    "import sys, os, numpy as np\nfolder, shape, threads = sys.argv[1], *map(eval, sys.argv[2:])\n"
)
ANSWER = {
    NUMPY: "y = np.ones(shape, np.float32)",
    KEPT: """
import lighten
model = lighten.load(f"{folder}/model.lighten", threads)
y = model(np.ones(shape, np.float32))
assert "torch" not in sys.modules
""",
    PEERS[0]: """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
if os.environ.get("KEEP"):
    options.optimized_model_filepath = f"{folder}/optimised.onnx"
options.log_severity_level = 3
session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)
(y,) = session.run(None, {session.get_inputs()[0].name: np.ones(shape, np.float32)})
""",
    PEERS[1]: """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
options.log_severity_level = 3
session = onnxruntime.InferenceSession(f"{folder}/optimised.onnx", options)
(y,) = session.run(None, {session.get_inputs()[0].name: np.ones(shape, np.float32)})
""",
    PEERS[2]: """
import openvino
settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
settings |= {"INFERENCE_NUM_THREADS": threads, **SETTINGS}
core = openvino.Core()
compiled = core.compile_model(f"{folder}/model.onnx", "CPU", settings)
y = compiled(np.ones(shape, np.float32))[0]
""",
}
ANSWER[FIRST] = ANSWER[KEPT]
ANSWER[PEERS[3]] = ANSWER[PEERS[2]].replace("**SETTINGS", '"CACHE_DIR": f"{folder}/openvino"')
ANSWER[PEERS[2]] = ANSWER[PEERS[2]].replace(", **SETTINGS", "")
END = """
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(peak / 1e3, float(np.abs(y).sum()), flush=True)
sys.stdin.readline()
"""


@dataclass
class Found:
    """What each process of one contestant took: seconds, megabytes."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """A network's files, its input's shape, and how many threads answer."""

    folder: Path
    shape: tuple[int, ...]
    threads: int

    def answer(self, who: str, *, keep: bool = False) -> tuple[float, float]:
        """Seconds until the first answer of a fresh process, and megabytes until then."""
        cache = self.folder / "cache"
        if who == FIRST:
            cache = self.folder / "empty"
            shutil.rmtree(cache, ignore_errors=True)
        environment = {**os.environ, "LIGHTEN_CACHE": str(cache)}
        environment |= {"KEEP": "1"} if keep else {}
        given = [str(self.folder), repr(self.shape), str(self.threads)]
        begun = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", BEGIN + ANSWER[who] + END, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            told = process.stdout.readline() if process.stdout else ""
            seconds = time.perf_counter() - begun
            process.communicate("\n")
        if not told:
            common.stop(f"{who} gave no answer in {self.folder}.")
        return seconds, float(told.split()[0])


def prepared(name: str, folder: Path, threads: int) -> Case:
    """The network's files, and what each contestant makes of them ahead of time."""
    import torch

    from lighten import store, zoo
    from lighten.network import lower
    from lighten.program.onnx_out import to_onnx

    torch.manual_seed(0)
    shape = zoo.TABLE[name].input_shape
    program = lower(zoo.build(name).eval(), torch.zeros(2, *shape))
    store.save(program, folder / "model.lighten")
    (folder / "model.onnx").write_bytes(to_onnx(program))
    case = Case(folder, (1, *shape), threads)
    for who in (KEPT, PEERS[3]):
        case.answer(who)
    case.answer(PEERS[0], keep=True)
    return case


def measured(name: str, threads: int, runs: int) -> tuple[list[common.Row], dict[str, Found]]:
    """The rows of a network: seconds found compiled, seconds compiled, memory."""
    found = {who: Found() for who in (KEPT, FIRST, NUMPY, *PEERS)}
    with tempfile.TemporaryDirectory() as folder:
        case = prepared(name, Path(folder), threads)
        for _ in range(runs):
            for who, one in found.items():
                seconds, megabytes = case.answer(who)
                one.seconds.append(seconds)
                one.megabytes.append(megabytes)
    times = {who: float(np.median(one.seconds)) for who, one in found.items()}
    sizes = {who: float(np.median(one.megabytes)) for who, one in found.items()}
    anew, ready = (PEERS[0], PEERS[2]), PEERS
    rows = [
        _row(f"{name}, found compiled", "s", found[KEPT].seconds, {p: times[p] for p in ready}),
        _row(f"{name}, compiled anew", "s", found[FIRST].seconds, {p: times[p] for p in anew}),
        _row(f"{name}, memory", "MB", found[KEPT].megabytes, {p: sizes[p] for p in ready}),
    ]
    return rows, found


def _row(case: str, unit: str, ours: list[float], peers: Mapping[str, float]) -> common.Row:
    low, median, high = np.percentile(ours, [25, 50, 75])
    return common.row(case, unit, float(median), peers, spread=float(high - low) / 2)


def line(name: str, found: Mapping[str, Found], what: str, digits: int) -> list[str]:
    """A line of a table: the median of every contestant."""
    medians = [float(np.median(getattr(one, what))) for one in found.values()]
    return [name, *(f"{number:.{digits}f}" for number in medians)]


def main() -> None:
    """Start all of them, print and write the tables."""
    parser = common.parser("startup", __doc__ or "")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, metavar="NAME", help="these")
    args: argparse.Namespace = parser.parse_args()
    rows, times, sizes = [], [], []
    for name in args.only or (QUICK if args.quick else NETWORKS):
        made, found = measured(name, args.threads, FEW if args.quick else RUNS)
        rows += made
        times.append(line(name, found, "seconds", 3))
        sizes.append(line(name, found, "megabytes", 0))
        print(json.dumps(made), flush=True)
    heads = (KEPT, FIRST, NUMPY, *PEERS)
    text = "\n\n".join(
        [
            common.markdown(["seconds to the first answer", *heads], times),
            common.markdown(["peak memory until then, MB", *heads], sizes),
        ]
    )
    common.publish("startup", args, rows, text)


if __name__ == "__main__":
    common.run(main)
