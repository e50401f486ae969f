"""The report: whole, self-contained, escaped, equal to `summary.json`, and alive in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lighten.core.recipe import Edit, Recipe, Training
from lighten.errors import InputError
from lighten.report import Source, render, write_report
from lighten.report.axes import Scale
from lighten.report.edits import describe
from lighten.report.markup import Markup, element
from lighten.report.numbers import count, milliseconds, ratio, size
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
        "Layer by layer",
        "Training",
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
    for name in ("trials.jsonl", "front.json", "layers.json", "training.json", "recipe.yaml"):
        (run / name).unlink()
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
    assert not (tmp_path / "report.html").exists()


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


# ── a real browser ──────────────────────────────────────────────────────────────────────────

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --v=0"
).split()
# what a user does, and what it did, written where --dump-dom shows it
PROBE = """
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.querySelector('[data-tab="bytes"]').click();
// a headless window may not be in front, where focus() alone fires nothing
document.querySelector('[data-panel="bytes"] .mark.trial').dispatchEvent(new FocusEvent("focus"));
document.querySelectorAll("[data-sort] button")[0].click();
document.body.dataset.probe = JSON.stringify({
  wide,
  tip: document.getElementById("tip").hidden ? "" : document.getElementById("tip").innerText,
  panels: [...document.querySelectorAll("[data-panel]")].map((panel) => panel.hidden),
  first: document.querySelector(".layers tbody th b").textContent,
});
"""


@pytest.fixture(scope="session")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not found:
        pytest.skip("no Chromium is installed, so the page was not looked at in a browser")
    return found


def look(browser: str, page: Path, *flags: str) -> tuple[str, list[str]]:
    """Open `page` headless; give what was printed and the lines of its console."""
    profile = page.parent / "profile"
    command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_in_a_browser_the_numbers_stand_and_the_chart_answers(browser: str, run: Path) -> None:
    page = write_report(run)
    page.write_text(page.read_text().replace("</script>", f"{PROBE}</script>"))
    dom, console = look(browser, page, "--window-size=400,900", "--dump-dom")
    assert console == []
    seen = Reader(dom)
    assert_numbers_equal(seen, report_sample.summary())
    body = next(a for tag, a in seen.tags if tag == "body")
    probe = json.loads(str(body["data-probe"]))
    assert probe["wide"] <= 0  # nothing sticks out on a phone
    assert probe["tip"].startswith("trial ") and "channels: layer1.0.conv1" in probe["tip"]
    assert sorted(probe["panels"]) == [False, True, True]
    assert probe["first"] == "layer3.2.conv2"  # sorted by name, last first


@pytest.mark.parametrize("width", [400, 1200])
def test_in_a_browser_the_page_is_painted(browser: str, run: Path, width: int) -> None:
    shot = run / "page.png"
    flags = (f"--window-size={width},1600", f"--screenshot={shot}")
    _, console = look(browser, write_report(run), *flags)
    assert console == []
    with Image.open(shot) as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24) or []
        assert image.width == width
    assert len(colours) > 50
    assert max(number for number, _ in colours) < 0.98 * width * 1600


def test_the_browser_test_notices_a_broken_script(browser: str, run: Path) -> None:
    page = write_report(run)
    page.write_text(page.read_text().replace('"use strict";', '"use strict"; broken();'))
    _, console = look(browser, page, "--dump-dom")
    assert any("broken is not defined" in line for line in console)
