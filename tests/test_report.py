"""The report: whole, self-contained, escaped, equal to `summary.json`, and alive in a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lighten.core.recipe import Edit, Recipe, Training
from lighten.errors import InputError
from lighten.report import Source, card, render, write_report
from lighten.report.axes import Scale
from lighten.report.edits import describe
from lighten.report.markup import Markup, element
from lighten.report.metric import Metric
from lighten.report.numbers import count, milliseconds, ratio, size
from lighten.report.why import sentences
from tests import report_sample

VOID = {"meta", "link"}


class Reader(HTMLParser):
    """What a page holds: its tags in order, the numbers with their keys, its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: dict[str, set[float]] = {}
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("data-key") and found.get("data-value"):
            value = json.loads(str(found["data-value"]))
            self.numbers.setdefault(str(found["data-key"]), set()).add(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def classes(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if name in (a.get("class") or "").split()]


def at(summary: Any, key: str) -> Any:
    """The value that a dotted key names."""
    for part in key.split("."):
        summary = summary[int(part) if isinstance(summary, list) else part]
    return summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    report_sample.write(tmp_path / "run")
    return tmp_path / "run"


def assert_numbers_equal(page: Reader, summary: dict[str, Any]) -> None:
    wanted = [f"{side}.{key}" for side in ("before", "after") for key in summary["before"]]
    wanted = [key for key in wanted if not key.endswith("interval")]
    wanted += ["drop", "drop_interval.0", "drop_interval.1", "after.quality_interval.0"]
    assert set(wanted) <= set(page.numbers)
    for key, values in page.numbers.items():
        assert values == {at(summary, key)}, key


def test_every_section_is_there_and_the_numbers_are_those_of_the_summary(run: Path) -> None:
    path = write_report(run)
    page = Reader(path.read_text())
    titles = re.findall(r"<h2>(.*?)</h2>", path.read_text())
    assert titles == [
        "Before and after",
        "Every recipe that was tried",
        "Where the time went",
        "Layer by layer",
        "Going further",
        "Training",
        "Calibration",
        "Device and versions",
        "Do it again",
    ]
    assert path == run / "report.html"
    assert "Budget met" in page.text
    assert "3.2× faster, 5.8× smaller, 0.60 points of accuracy lost" in page.text
    assert_numbers_equal(page, report_sample.summary())
    assert len(page.classes("tile")) == len(page.classes("good")) == 3
    assert report_sample.summary()["command"] in page.text
    for words in ("33.5 GB", "49.2 kB, 2.10 MB", "avx2, fma", "45 min 11 s"):
        assert words in page.text
    assert "gflops" not in page.text  # not measured, so not shown


def test_the_page_fetches_nothing_and_stays_under_a_megabyte(run: Path) -> None:
    trials = [
        {**t.as_dict(), "recipe": {**t.recipe.as_dict(), "weights": str(i)}}
        for i in range(20)
        for t in report_sample.trials()
    ]
    (run / "trials.jsonl").write_text("".join(json.dumps(t) + "\n" for t in trials))
    text = write_report(run).read_text()
    assert len(text.encode()) < 1_000_000
    assert "default-src 'none'" in text
    assert "http://" not in text and "https://" not in text
    links = [a.get("href") or a.get("src") for _, a in Reader(text).tags]
    assert [link for link in links if link] == ["data:,"]


def test_the_chart_shows_every_trial_and_its_recipe(run: Path) -> None:
    source = Source.read(run)
    page = Reader(render(source))
    marks = [a for a in page.classes("mark") if a.get("data-tip")]
    scored = [t for t in source.trials if t.score]
    assert len(marks) == 3 * (len(scored) + 1 + 3)  # a tab per quantity; one guess; three on test
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in marks)
    for trial in scored:
        about = [a["aria-describedby"] for a in marks if trial.recipe.digest in str(a["data-tip"])]
        assert about == [f"recipe-{trial.recipe.digest}"] * 3
        assert "\n".join(describe(trial.recipe)) in page.text
    described = {a["aria-describedby"] for a in marks if "aria-describedby" in a}
    assert described <= {a["id"] for _, a in page.tags if "id" in a}
    assert len(page.classes("region")) == 3 + 1  # and its key in the legend
    assert "NaN <loss>" in page.text


def test_what_is_missing_is_left_out(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "summary.json":
            path.unlink()
    page = Reader(write_report(run).read_text())
    assert "Layer by layer" not in page.text and "Training" not in page.text
    assert "Before and after" in page.text and "Do it again" in page.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"met": False, "drop": 1.4, "missed": ["The drop is <1.4>."]}, "Budget not met"),
        ({"met": None, "budget": {}}, "Recipe replayed"),
        ({"control": report_sample.BEFORE, "controls": []}, "Budget met"),
        ({"speedup": 3.4}, "3.4× faster"),
        ({"drop": -0.2}, "0.20 points of accuracy gained"),
        ({"after": {**report_sample.AFTER, "latency_ms": None}}, "not measured"),
    ],
)
def test_every_verdict_is_said_plainly(run: Path, changes: dict[str, Any], words: str) -> None:
    summary = report_sample.write(run, changes)
    page = Reader(write_report(run).read_text())
    assert words in page.text
    for key, values in page.numbers.items():
        assert values == {at(summary, key)}, key
    assert all(reason in page.text for reason in summary["missed"])
    over = [key for key in ("latency", "drop") if "over the budget" in page.text]
    assert bool(over) == (words in ("Budget not met", "not measured"))


def test_a_metric_where_less_is_better_turns_the_budget_round(run: Path) -> None:
    metric = {"name": "error", "unit": "mm", "higher_is_better": False}
    side = {**report_sample.AFTER, "quality": 88.2}
    report_sample.write(run, {"task": {"metric": metric, "data": "d"}, "after": side})
    page = Reader(write_report(run).read_text())
    region = next(a for t, a in page.tags if t == "rect" and a.get("class") == "region")
    star = next(a for a in page.classes("chosen") if a.get("data-tip"))
    assert "+0.60" in page.text
    assert "error 0.60 mm higher" in page.text and "↓ error, mm" in page.text
    assert "88.20" in str(star["data-tip"])
    assert float(str(region["y"])) + float(str(region["height"])) == 400 - 58  # to the bottom


def test_text_from_data_is_escaped_everywhere(run: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    task = {"metric": {"name": evil, "unit": evil, "higher_is_better": True}, "data": evil}
    names = ("network", "reference", "backend", "command")
    changes: dict[str, Any] = {name: evil for name in names}
    changes |= {"task": task, "missed": [evil], "notes": [evil], "versions": {evil: evil}}
    changes |= {"device": {evil: evil}, "search": {evil: evil}}
    report_sample.write(run, changes)
    rows = report_sample.layers()
    rows[0].update(name=evil, kind=evil, reason=evil)
    (run / "layers.json").write_text(json.dumps(rows))
    trial = report_sample.trials()[7].as_dict() | {"failure": evil}
    edited = report_sample.trials()[0].as_dict()
    edited["recipe"]["edits"][0].update(place=evil, technique=evil)
    (run / "trials.jsonl").write_text(f"{json.dumps(trial)}\n{json.dumps(edited)}\n")
    (run / "recipe.yaml").write_text(evil)
    text = write_report(run).read_text()
    assert text.count("<script>") == 1 and "<img" not in text
    assert Reader(text).text.count(evil) >= 12


def test_a_missing_or_damaged_summary_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no summary\.json.*lighten compress"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"summary\.json cannot be read"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text('{"network": "a", "drop": 0.1}')
    with pytest.raises(InputError, match=r"lacks task, before, after.*lighten compress"):
        write_report(tmp_path)
    for damage, words in (
        ([], "lacks network"),
        ({**report_sample.summary(), "before": 3}, "lacks before"),
        ({**report_sample.summary(), "task": {"metric": {"name": "a"}}}, r"lacks task\.metric"),
    ):
        (tmp_path / "summary.json").write_text(json.dumps(damage))
        with pytest.raises(InputError, match=words):
            write_report(tmp_path)
    report_sample.write(tmp_path)
    (tmp_path / "trials.jsonl").write_text('{"key": "a", "value": {"recipe": 3}}\n')
    with pytest.raises(InputError, match="no trial"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


# ── why, where the time went, what next ────────────────────────────────────────────────────────


def test_every_layer_says_why_it_is_as_it_is(run: Path) -> None:
    page = Reader(write_report(run).read_text())
    for words in (
        "all channels kept: its output is added to a zero-padded shortcut.",
        "not int8: it was predicted to save 12.0 µs for 0.05 nats, dearer than anything that was",
        "13 of 16 channels kept, together with conv1: predicted to save 12.0 µs for 0.05 nats.",
        "int8: predicted to save nothing for 0.05 nats.",
        "block layer3.2 dropped: predicted to save 31.0 µs for 0.004 nats.",
    ):
        assert words in page.text, words
    told = [tag for tag, a in page.tags if tag == "tr" and a.get("class") == "why"]
    assert len(told) == len(report_sample.SHAPES)


def test_a_layer_of_fewer_weights_says_so(tmp_path: Path) -> None:
    entry = {"technique": "quantize", "place": "a", "done": True}
    entry["settings"] = {"bits": 8, "density": 0.25}
    assert sentences({"name": "a", "why": [entry]}, {}, {"a"}) == ["int8 with 25 % of its weights."]
    report_sample.write(tmp_path)
    rows = json.loads((tmp_path / "layers.json").read_text())
    rows[0]["after"] |= {"bits": 8, "density": 0.25}
    (tmp_path / "layers.json").write_text(json.dumps(rows))
    assert "8, 25% kept" in Reader(write_report(tmp_path).read_text()).text


def offered(**told: Any) -> str:
    """What is said of a layer that could have been int8."""
    step = {"from": 32.0, "to": 8.0, "quantity": "latency", "saves": 0.002, "loses": 0.01, **told}
    entry = {"technique": "quantize", "place": "a", "done": False, "offer": step}
    summary = {"met": True, "loss_unit": "of the answers' variance"}
    return sentences({"name": "a", "why": [entry]}, summary, {"a"})[0]


def test_what_was_not_done_has_the_reason_that_the_predictions_give() -> None:
    assert offered(saves=-1e-3) == "not int8: it was predicted to save no time."
    saved = "not int8: it was predicted to save 2.00 µs for 0.01 of the answers' variance"
    assert offered(dear=True) == f"{saved}, dearer than anything that was done."
    assert offered() == f"{saved}; the budget was met without it."
    assert "save 2.00 kB" in offered(quantity="size", saves=2000.0)
    nothing = {"technique": "channels", "place": "a", "done": False, "offer": None}
    assert sentences({"name": "a", "why": [nothing]}, {}, {"a"}) == [
        "all channels kept: the recipe leaves it."
    ]
    other = {"technique": "sparsify", "place": "a", "done": True}
    assert sentences({"name": "a", "why": [other]}, {}, {"a"}) == ["sparsify."]


def test_the_parts_of_a_call_are_named_and_add_up(run: Path) -> None:
    page = Reader(write_report(run).read_text())
    for words in ("convolutions", "changes of number format", "what no op accounts for"):
        assert words in page.text
    assert "3 smaller layers" in page.text and "everything between the layers" in page.text
    assert "the original in onnxruntime, the compressed network in openvino" in page.text
    assert "Profiling slows ops" not in page.text
    time = report_sample.time()
    time["after"]["scale"] = 0.4
    (run / "time.json").write_text(json.dumps(time))
    text = Reader(write_report(run).read_text()).text
    assert "count 1.00 (before) and 0.40 (after) times" in text and "a rough one" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "The next 10 % of latency is predicted to cost about 0.41 ± 0.12 points of accuracy"),
        ({"drop": 1e-4, "drop_error": 2e-4}, "less than 0.01 points of accuracy"),
        ({"trials": 0}, "0.019 nats, which no trial translates into accuracy"),
        ({"seen": 0.01}, "more than any trial lost, so a rough guess"),
        ({"seen": 0.5}, "0.29 ms → 0.26 ms, 11 % less, for a loss of 0.019 nats.Th"),
        ({"possible": False}, "Another 10 % of latency is out of reach; the most, 10.8 %, is pred"),
    ],
)
def test_going_further_is_a_prediction_with_its_doubt(
    run: Path, change: dict[str, Any], words: str
) -> None:
    first, second = report_sample.further()
    report_sample.write(run, {"further": [{**first, **change}, second]})
    text = Reader(write_report(run).read_text()).text
    assert words in text
    assert "Layers: layer3.0.conv1, conv1 and layer3.1." in text
    assert "40 → 32 channels" in text and "Predicted, not measured" in text
    assert "No choice takes another 10 % off the file size" in text


def test_a_histogram_shows_its_range_and_what_is_clipped(run: Path) -> None:
    tensor = {"name": "x", "layers": ["conv1"], "seen": [-1.0, 3.0], "range": [-1.0, 1.0]}
    tensor |= {"bins": [5] * 4, "clipped": 0.5}
    (run / "calibration.json").write_text(
        json.dumps({"calibrator": "kl", "samples": 64, "tensors": [tensor]})
    )
    text = write_report(run).read_text()
    page = Reader(text)
    assert "50 % clipped" in page.text and "64 training samples" in page.text
    shapes = {
        a["class"]: str(a["d"]).count("M")
        for t, a in page.tags
        if a.get("class") in ("inside", "outside")
    }
    assert shapes["inside"] == shapes["outside"] == 2
    frame = next(a for a in page.classes("range"))
    assert float(str(frame["x"])) + float(str(frame["width"])) == pytest.approx(110, abs=1)


def test_a_metric_is_written_in_its_own_scale_and_words() -> None:
    psnr, cosine = Metric("PSNR", "dB", True), Metric("cosine", "", True, 4)
    error = Metric("error", "", False)
    assert psnr.change(0.3) == "0.30 dB of PSNR lost"
    assert psnr.change(-0.3) == "0.30 dB of PSNR gained"
    assert cosine.change(0.0012) == "0.0012 of cosine lost" and cosine.title == "Cosine"
    assert error.change(0.3) == "error 0.30 higher" and error.change(-0.3) == "error 0.30 lower"
    assert psnr.title == "PSNR, dB" and Metric("mIoU", "points", True).title == "mIoU, points"
    assert Metric("accuracy", "points", True).allowed(1) == "1 point"
    assert psnr.allowed(1) == "1 dB" and psnr.axis == "↑ PSNR, dB" and error.axis == "↓ error"


def test_a_cosine_keeps_its_digits_on_the_page(run: Path) -> None:
    metric = {"name": "cosine", "unit": "", "higher_is_better": True}
    sides = {
        side: {**score, "quality": quality, "quality_interval": [quality - 1e-3, quality + 1e-3]}
        for side, score, quality in (
            ("before", report_sample.BEFORE, 0.9987),
            ("after", report_sample.AFTER, 0.9961),
        )
    }
    changes = {**sides, "drop": 0.0026, "drop_interval": [0.0021, 0.0031], "further": []}
    report_sample.write(run, {**changes, "task": {"metric": metric, "data": "d"}})
    text = Reader(write_report(run).read_text()).text
    for words in ("0.0026 of cosine lost", "0.9987", "−0.0026", "[0.0021, 0.0031]"):
        assert words in text, words
    assert "points" not in text


# ── a notebook ─────────────────────────────────────────────────────────────────────────────────


def test_a_result_shows_itself_in_a_notebook_without_scripts(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    summary = {**report_sample.summary(), "network": evil, "met": False, "missed": [evil]}
    shown = card(summary, tmp_path / evil)
    page = Reader(shown)
    assert "<script" not in shown and page.text.count("alert(1)") == 3
    for words in (
        "Budget not met",
        "drop 0.60 points [−0.07, 1.27]",
        "Accuracy, points",
        "87.62 [86.68, 88.50]",
        "3.2× faster",
        "0.29 ms ± 0.0046 ms",
        "187 kB",
        "Report: ",
    ):
        assert words in page.text, words
    assert "http" not in shown


def test_the_pieces() -> None:
    assert element("a", "<", Markup("<b></b>"), class_="x", title='"', hidden=True, id=None) == (
        '<a class="x" title="&quot;" hidden>&lt;<b></b></a>'
    )
    assert [milliseconds(v) for v in (0, 0.0421, 0.5, 123.4)] == [
        "0",
        "42.1 µs",
        "0.50 ms",
        "123 ms",
    ]
    assert [size(v) for v in (999, 1000, 2_345_678)] == ["999 B", "1.00 kB", "2.35 MB"]
    assert [count(v) for v in (0, 950, 40_551_424)] == ["0", "950", "40.6 M"]
    assert ratio(1.0, 1.01, ("faster", "slower")) == "the same"
    assert ratio(1.0, 2.0, ("faster", "slower")) == "2.0× slower"
    assert Scale(86.1, 88.9, 100.0, 0.0).ticks() == [86.5, 87.0, 87.5, 88.0, 88.5]
    edits = [Edit.of("quantize", name, bits=8) for name in ("a", "b")]
    edits.append(Edit.of("channels", "g", keep=12, of=16))
    assert describe(Recipe(tuple(edits), Training(epochs=0.5))) == [
        "channels: g 12 of 16",
        "quantize, bits 8: a, b",
        "trained 0.5 epochs, sgd",
    ]
