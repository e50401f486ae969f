"""Benchmarks say what they measured, in the form that everyone reads: rows, tables, options."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten import api, store
from lighten.backends.native import Native
from lighten.core.task import Metric
from lighten.core.trial import Interval, Latency
from lighten.formats import INT8_WEIGHT
from lighten.measure import latency, quality
from lighten.program.emulate import emulate

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = ("resnet20", "lenet5", "search", "tasks", "compressed")
SCHEMA = {"case": str, "ours": float, "peers": dict, "ratio": (float, type(None)), "spread": float}
CALLS = {"lighten": 1.0, "onnxruntime fp32": 4.0, "fast and wrong": 0.5, "fast and right": 2.0}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script as a module, found as Python finds it when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def check_rows(rows: Any) -> None:
    """Whether these are rows as JSON holds them."""
    assert rows and json.loads(json.dumps(rows)) == rows
    for found in rows:
        for name, kind in SCHEMA.items():
            value = float(found[name]) if isinstance(found[name], int) else found[name]
            assert isinstance(value, kind), (name, found)
        assert all(isinstance(value, (int, float)) for value in found["peers"].values())
        assert found["best"] in found["peers"]


def contest_of(module: Any) -> Any:
    """A contest with made-up timings: ours takes 1 ms, fp32 4 ms; one peer answers badly."""
    rounds = {name: tuple(np.full(5, ms * 1e6) for _ in range(4)) for name, ms in CALLS.items()}
    timings = latency.Timings(rounds)
    drops = {"lighten": 0.5, "fast and wrong": 3.0}
    outcomes = {
        name: module.Outcome(
            {1: timings.latency(name), 32: Latency(30.0 * CALLS[name], 1.0, 9)},
            {batch: timings.ratio(name, to="onnxruntime fp32") for batch in (1, 32)},
            10.0 + drops.get(name, 0.0),
            drops.get(name, 0.0),
            Interval(drops.get(name, 0.0) - 0.4, drops.get(name, 0.0) + 0.4),
            int(100_000 * CALLS[name]),
        )
        for name in CALLS
    }
    return module.Contest(outcomes, {name: "onnxruntime" for name in CALLS}, {"gone": "install it"})


def test_the_rows_of_a_contest_have_the_schema_and_a_fair_best_peer(load: Any) -> None:
    module = load("contest")
    rows = module.rows_of("a case", contest_of(module), allowed=1.0)
    check_rows(rows)
    by_case = {found["case"]: found for found in rows}
    first = by_case["a case: latency, batch 1"]
    assert first["best"] == "fast and right"  # the faster one loses three points
    assert first["ratio"] == pytest.approx(2.0)
    assert by_case["a case: error on test"]["ratio"] == pytest.approx(10.0 / 10.5)
    assert by_case["a case: file"]["ratio"] == pytest.approx(2.0)


def test_the_table_of_a_contest_names_everyone(load: Any) -> None:
    module = load("contest")
    text = module.table(contest_of(module), ["lighten", "compress"])
    lines = text.splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "**lighten**" in text and "- gone: install it" in text and "`lighten compress`" in text
    assert lines[2].startswith("| fast and wrong") and "+3.00 [+2.60, +3.40]" in lines[2]


def test_a_contest_times_and_scores_its_contestants(load: Any, monkeypatch: Any) -> None:
    module = load("contest")

    class Net:
        threads = 1

        def __call__(self, x: Any) -> tuple[Any]:
            return (np.eye(2)[np.zeros(len(x), int)],)

    answers = {"lighten": np.array([1.0, 0, 1, 1]), module.REFERENCE: np.ones(4)}
    nets = {name: Net() for name in answers}
    monkeypatch.setattr(module, "_ready", lambda field_, threads: (nets, {"a peer": "make it"}))
    rows = {id(net): answers[name] for name, net in nets.items()}
    monkeypatch.setattr(quality, "rows", lambda net, batches, metric: rows[id(net)])
    rounds = {name: (np.full(3, 2e6 if name == "lighten" else 4e6),) for name in answers}
    monkeypatch.setattr(latency, "interleave", lambda *_: latency.Timings(rounds))
    task = Namespace(example=lambda n: (), test=lambda: [], metric=Metric())
    field_ = [module.Contestant(name, "onnxruntime", b"1234") for name in answers]
    held = module.hold(field_, task, Namespace(quick=True, threads=1))
    ours = held.outcomes["lighten"]
    assert ours.times[1].value == pytest.approx(0.5) and list(ours.latency) == [1]
    assert (ours.error, ours.drop, ours.bytes) == (25.0, 25.0, 4)
    assert held.absent == {"a peer": "make it"}


def test_the_rows_of_the_searches_have_the_schema(load: Any) -> None:
    module = load("search")
    case = replace(module.cases(Path("mnist.npz"))["digits"], drop=1.0)

    def found(error: float, times: float, fast: bool = True) -> Any:
        return module.Found(error, times, 9000, fast, error - 1.0, 60.0)

    seeds = {
        0: {"solver": found(1.5, 0.19), "uniform": found(3.0, 0.18), "random": found(4.0, 0.19)},
        1: {
            "solver": found(1.7, 0.19),
            "uniform": found(1.0, 0.3, False),
            "random": found(4.0, 0.19),
        },
    }
    rows = module.rows_of("digits", case, seeds)
    check_rows(rows)
    error, times, missed = rows
    assert error["ours"] == pytest.approx(1.6) and error["spread"] == pytest.approx(0.1)
    assert error["peers"]["uniform"] == pytest.approx(3.0)  # the slow one does not count
    assert times["best"] == "random"
    assert missed["peers"] == {"uniform": 100.0, "random": 100.0} and missed["ours"] == 0.0
    text = module.table("digits", case, seeds)
    assert text.count("| yes |") == 2 and text.count("| no |") == 4


def test_the_judge_tells_a_right_cut_from_a_wrong_one(load: Any) -> None:
    torch = pytest.importorskip("torch")
    judging = load("coverage_judge")
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.ReLU(), torch.nn.Linear(6, 2)

    def cut(rows: list[int], columns: list[int], normed: bool) -> tuple[Any, Any]:
        net = torch.nn.Sequential(*(layers if normed else (layers[0], *layers[2:])))
        judging.prepare_(net, (x,))
        small = importlib.import_module("copy").deepcopy(net)
        with torch.no_grad():
            for part in small[: 2 if normed else 1]:
                part.weight.data, part.bias.data = part.weight[rows], part.bias[rows]
            small[-1].weight.data = small[-1].weight[:, columns]
        if normed:
            small[1].normalized_shape = (len(rows),)
        return net, small

    x = torch.randn(64, 4)  # so many that no unit stays silent
    kept, others = [0, 2, 3, 5], [0, 1, 3, 5]
    words = {
        "exact": judging.judge(*cut(kept, kept, False), (x,)),
        "wrong": judging.judge(*cut(kept, others, False), (x,)),
        "renormalised": judging.judge(*cut(kept, kept, True), (x,)),
        "uncut": judging.judge(*cut(list(range(6)), list(range(6)), False), (x,)),
    }
    assert {word: seen.word for word, seen in words.items()} == {word: word for word in words}
    assert words["exact"].covered == 1.0 and words["exact"].right and not words["wrong"].right
    assert words["exact"].removed == pytest.approx(1 - 30 / 44)
    assert judging.judge(*cut(kept, others, True), (x,)).word == "wrong"


def test_the_rows_of_the_coverage_have_the_schema(load: Any) -> None:
    pytest.importorskip("torch")
    module, judging, cases = load("coverage"), load("coverage_judge"), load("coverage_cases")
    case = cases.CASES["LeNet with a view"]

    def fails(*_: Any) -> Any:
        raise ValueError("no such channel")

    def late(*_: Any) -> Any:
        raise TimeoutError("not done")

    ours, theirs = module.verdict(module.ours, case), module.verdict(fails, case)
    assert (ours.word, theirs.word) == ("exact", "crash") and "no such" in theirs.why
    assert module.verdict(late, case).word == "unfinished"
    found = module.row("LeNet", case, {"lighten": ours, module.PEER: theirs})
    check_rows([found])
    assert found["ours"] == 0.0 and found["peers"] == {module.PEER: 100.0}
    wrong = judging.Verdict("wrong", float("inf"), 1.0, 0.5, "other shapes")
    other = module.row("a", case, {"lighten": ours, module.PEER: wrong})
    check_rows([other])
    text = module.table([found, other])
    assert "1 crash" in text and "1 wrong" in text and "ValueError: no such channel" in text


def test_the_coverage_has_help_and_its_section(load: Any, capsys: Any) -> None:
    pytest.importorskip("torch")
    with pytest.raises(SystemExit):
        load("coverage").options().parse_args(["--help"])
    assert "--only" in capsys.readouterr().out
    assert "<!-- coverage -->" in (FOLDER / "RESULTS.md").read_text()


def test_the_rows_of_the_tasks_have_the_schema_and_say_what_is_met(load: Any) -> None:
    module = load("tasks")
    outcomes = contest_of(load("contest")).outcomes
    ours, reference = outcomes["lighten"], outcomes["onnxruntime fp32"]
    metric = Metric("PSNR", "dB")
    found = module.Found(90.0, ours, reference, metric, "openvino", {"another": (2.0, 1.0)})
    case = replace(module.CASES["sensor"], latency=0.3, drop=0.6)
    assert module.met(case, found)
    assert not module.met(replace(case, drop=0.4), found)
    assert not module.met(replace(case, latency=0.2), found)
    rows = module.rows_of("super-resolution", case, found)
    check_rows(rows)
    assert rows[0]["ratio"] == pytest.approx(4.0) and rows[1]["unit"] == "dB"
    assert rows[1]["ours"] == 0.5 and rows[1]["peers"] == {"allowed": 0.6}
    text = module.table({"super-resolution": found})
    lines = text.splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "PSNR ↑, dB" in text and "| +0.50 [+0.10, +0.90] | 0.2 |" in text
    assert "another 2.00 before, 1.00 after" in text and text.count("| no |") == 1
    assert "--latency 0.5x --drop 0.2" in text


def test_rows_are_written_and_the_table_takes_its_place(
    load: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    common = load("common")
    page = tmp_path / "RESULTS.md"
    page.write_text("# T\n\n<!-- a -->\nold\n<!-- /a -->\n\n## B\n")
    monkeypatch.setattr(common, "RESULTS", page)
    args = Namespace(json=tmp_path / "rows.json", quick=False, threads=1, write=True)
    rows = [common.row("c", "ms", 1.0, {"p": 3.0, "q": 2.0}, spread=0.1)]
    for text in ("first", "second"):
        common.publish("a", args, rows, text)
    written = page.read_text()
    assert written.count("second") == 1 and "old" not in written and "first" not in written
    assert written.startswith("# T\n") and written.endswith("<!-- /a -->\n\n## B\n")
    assert "**2.00x** against q" in written
    check_rows(json.loads(args.json.read_text()))
    common.publish("b", args, rows, "new")
    assert "<!-- b -->\nnew" in page.read_text()
    assert "second" in capsys.readouterr().out


def test_a_ratio_is_given_only_where_it_means_something(load: Any) -> None:
    common = load("common")
    assert common.row("c", "%", 0.0, {"p": 1.0}, spread=0.0)["ratio"] is None
    assert common.row("c", "%", 1.0, {}, spread=0.0)["ratio"] is None
    nobody = common.row("c", "ms", 1.0, {"p": 3.0}, spread=0.0, eligible=())
    assert nobody["ratio"] == 3.0


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_help_and_its_section(load: Any, name: str, capsys: Any) -> None:
    script = load(name)
    with pytest.raises(SystemExit) as left:
        script.options().parse_args(["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert all(option in text for option in ("--json", "--quick", "--threads", "--train"))
    assert f"<!-- {name} -->" in (FOLDER / "RESULTS.md").read_text()


def test_training_is_asked_for_part_by_part(load: Any) -> None:
    options = load("resnet20").options()
    assert options.parse_args([]).train == ()
    assert options.parse_args(["--train"]).train == ("ours", "int8", "pruned")
    assert options.parse_args(["--train", "int8", "--quick"]).train == ("int8",)


@pytest.mark.parametrize("name", ["resnet20", "lenet5"])
def test_absent_data_is_said_in_one_sentence(
    load: Any, name: str, monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    script = load(name)
    monkeypatch.setattr(sys, "argv", [name, "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as left:
        script.main()
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "\n" not in said and "--data" in said


def test_searches_are_made_once_kept_and_measured(
    load: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    common, script = load("common"), load("search")
    monkeypatch.setattr(common, "WORK", tmp_path / "work")
    monkeypatch.setattr(script, "FOLDER", tmp_path / "kept")
    case = script.cases(tmp_path)["digits"]
    task = api.load_task(case.data)
    untrained = api.load_network(case.network, task=task)
    model = importlib.import_module("peers").to_onnx(untrained, task)
    asked = []

    def compress(net: Any, task: Any, budget: Any, options: Any) -> Any:
        asked.append((options.searcher, options.time, options.epochs))
        options.out.mkdir(parents=True)
        summary = {"before": {"quality": 98.0}, "after": {"latency_ms": 1.0}, "seconds": 5.0}
        summary |= {"drop": 0.5, "met": True}
        (options.out / "model.onnx").write_bytes(model)
        (options.out / "run.json").write_text(json.dumps({"time": options.time}))
        (options.out / "summary.json").write_text(json.dumps(summary))
        return Namespace(summary=summary)

    monkeypatch.setattr(api, "compress", compress)
    monkeypatch.setattr(api, "train", lambda *_, **__: {"valid": 98.0})
    for _ in range(2):  # the second time everything is there
        script.search("digits", case, 1, 1)
    searched = [one for one in asked if one[2] is None]
    assert searched == [(name, case.seconds, None) for name in ("uniform", "random", "solver")]
    assert len(asked) == 4 and script.made("digits", 1) and not script.made("digits", 0)

    ones = (np.full(3, 1e6),)
    names = (*script.SEARCHERS, script.REFERENCE)
    monkeypatch.setattr(
        latency, "interleave", lambda *_: latency.Timings(dict.fromkeys(names, ones))
    )
    found = script.measure("digits", case, 1, Namespace(quick=False, threads=1))
    one = found["solver"]
    assert one.drop == pytest.approx(one.error - 2.0) and one.seconds == 5.0
    assert one.error > 50.0 and one.times == 1.0 and not one.within


def test_the_rows_of_the_engine_have_the_schema(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTEN_CACHE", str(tmp_path))
    module, kernels = load("engine"), load("kernels")
    monkeypatch.setattr(module, "SECONDS", 0.05)
    monkeypatch.setattr(kernels, "SECONDS", 0.05)
    monkeypatch.setattr(module, "TUNE", 0.5)
    monkeypatch.setattr(module.torch, "set_num_threads", lambda threads: None)  # other tests' too
    monkeypatch.setitem(module.CASES, "digits_cnn", load("engine_cases").images("digits_cnn", 8, 2))
    row, line = module.measured("digits_cnn", 1, 2, quick=True)
    check_rows([row])
    assert row["error"] < 1e-5 and row["interpreted"] == 0 and row["threads"] == 2
    assert line[0] == "digits_cnn, batch 1, 2 threads"
    assert set(row["peers"]) >= {"onnxruntime", "torch"}
    row, line = kernels.measured("64 · 8² · 64, 3 × 3")
    check_rows([row])
    assert {"direct", "F(4)"} <= set(row["kernels"])
    assert len(line) == 3 + len(kernels.COLUMNS) + len(row["peers"]), "a cell for every column"


def test_the_rows_of_a_start_have_the_schema(load: Any) -> None:
    module = load("startup")
    rows, found = module.measured("digits_cnn", 1, 1)
    check_rows(rows)
    assert [row["unit"] for row in rows] == ["s", "s", "MB"]
    assert set(rows[0]["peers"]) == set(module.PEERS) and set(found) == set(module.ANSWER)
    assert module.line("digits", found, "seconds", 3)[0] == "digits"
    assert all(len(one.seconds) == len(one.megabytes) == 1 for one in found.values())


def test_committed_networks_are_as_sparse_as_their_case_says(load: Any) -> None:
    """Codes of 8 bits, so many blocks of 1 × 4, and answers in whole numbers, bit for bit."""
    compressed, compressed_train = load("compressed"), load("compressed_train")
    assert compressed.committed()
    for name in compressed.committed():
        program, case = (
            store.load(compressed.FOLDER / f"{name}.lighten"),
            compressed_train.CASES[name],
        )
        for op in program.ops:
            if op.kind not in ("conv", "linear"):
                continue
            stored = program.arrays[op.inputs[1]]
            assert stored.format == INT8_WEIGHT, op.name
            if op.name in case.whole:
                continue
            filters, channels, *taps = stored.codes.shape
            blocks = stored.codes.astype(int).reshape(filters, channels // 4, 4, *taps)
            left = np.count_nonzero(np.abs(blocks).sum(2)) / (blocks.size // 4)
            assert left <= case.density + 0.01, op.name
        x = np.random.default_rng(0).random((3, 3, 32, 32)).astype(np.float32)
        (found,), (exact,) = Native().compile(program)(x), emulate(program, x)
        np.testing.assert_array_equal(found, exact)
