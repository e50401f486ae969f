"""The report in a real Chromium: at two widths, by keyboard, on paper, without a console error."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lighten.report import write_report
from lighten.report.compare import write_comparison
from lighten.report.runs import read
from tests import report_sample
from tests.browser import Browser

WIDTHS = (390, 1280)
SMALL_ENOUGH = 3_000_000
# what sticks out of the page, unless a box of its own scrolls it
OUTSIDE = """
[...document.querySelectorAll("body *")].filter((part) =>
  !part.closest(".scroll, [hidden], #tip") && part.getClientRects().length &&
  part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
).map((part) => part.outerHTML.slice(0, 80))
"""
# everything a user can act on now
WANTED = """
[...document.querySelectorAll("button, summary, [tabindex]")].filter((part) =>
  part.checkVisibility() && part.tabIndex >= 0).length
"""
FOCUSED = """(() => {
  const part = document.activeElement, style = getComputedStyle(part);
  if (!part.dataset.reached) part.dataset.reached = "yes";
  return [part.tagName, part.className.baseVal ?? part.className,
    style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
})()"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report, and a page that compares two runs."""
    folder = tmp_path_factory.mktemp("pages")
    after = {**report_sample.AFTER, "latency_ms": 0.2}
    report_sample.write(folder / "a")
    report_sample.write(folder / "a-run-with-a-rather-long-name", {"after": after, "threads": 2})
    runs = read([folder / "a", folder / "a-run-with-a-rather-long-name"])
    compared = write_comparison(runs, folder / "compared.html")
    place = f"/home/someone/{'a_folder_without_a_break/' * 5}model?classes=2"
    told = report_sample.summary()
    task = {**told["task"], "data": f"{place}&vocab={place}"}
    report_sample.write(folder / "long", {"network": f"hf:{place}", "task": task})
    return {
        "report": write_report(folder / "a"),
        "long": write_report(folder / "long"),
        "compared": compared,
    }


@pytest.mark.parametrize("name", ["report", "long", "compared"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_and_nothing_is_said_on_the_console(
    chromium: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    chromium.open(pages[name], width)
    chromium.console.clear()
    assert chromium.ask("document.documentElement.clientWidth") == width
    assert chromium.ask("document.documentElement.scrollWidth") <= width
    assert chromium.ask(OUTSIDE) == []
    for number in range(chromium.ask("document.querySelectorAll('[role=tab]').length")):
        chromium.ask(f"document.querySelectorAll('[role=tab]')[{number}].click()")
        assert chromium.ask(OUTSIDE) == []
    chromium.ask("[...document.querySelectorAll('details')].forEach((part) => part.open = true)")
    assert chromium.ask("document.documentElement.scrollWidth") <= width
    assert chromium.ask(OUTSIDE) == []
    assert chromium.console == []
    assert pages[name].stat().st_size < SMALL_ENOUGH


@pytest.mark.parametrize("name", ["report", "compared"])
def test_the_tab_key_reaches_everything_and_shows_where_it_is(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    chromium.open(pages[name], 1280)
    wanted = chromium.ask(WANTED)
    seen: list[tuple[str, str]] = []
    for _ in range(wanted + 5):
        chromium.press("Tab")
        tag, classes, outlined = chromium.ask(FOCUSED)
        if tag == "BODY":
            break
        assert outlined, (tag, classes)
        seen.append((tag, classes))
    assert chromium.ask("document.querySelectorAll('[data-reached]:not(body)').length") == wanted
    assert any("mark" in classes.split() for _, classes in seen)
    if name == "report":
        assert ("BUTTON", "copy") in seen and ("SUMMARY", "") in seen


def test_arrow_keys_change_tabs_and_a_focused_mark_tells_its_recipe(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["report"], 1280)
    chosen = "document.querySelector('[role=tab][aria-selected=true]').dataset.tab"
    shown = "[...document.querySelectorAll('[id^=panel-front-]:not([hidden])')].map((p) => p.id)"
    chromium.ask("document.querySelector('[role=tab]').focus()")
    for key, panel in (
        ("ArrowRight", "bytes"),
        ("End", "macs"),
        ("ArrowRight", "latency_ms"),
        ("ArrowLeft", "macs"),
        ("Home", "latency_ms"),
    ):
        chromium.press(key)
        assert chromium.ask(chosen) == panel
        assert chromium.ask("document.activeElement.dataset.tab") == panel
        assert chromium.ask(shown) == [f"panel-front-{panel}"]
    chromium.ask("document.querySelector('.mark.trial').focus()")
    tip = chromium.ask("document.getElementById('tip').innerText")
    assert tip.startswith("trial ") and "channels: layer1.0.conv1" in tip


def test_a_title_sorts_the_layers_and_their_whys_go_along(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["report"], 1280)
    first = "[...document.querySelector('.layers tbody').rows].map((row) => row.textContent)"
    before = chromium.ask(first)
    assert before[0].startswith("conv1") and "zero-padded shortcut" in before[1]
    chromium.ask("document.querySelector('[data-sort] button').focus()")
    chromium.press("Enter")
    after = chromium.ask(first)
    assert after[0].startswith("layer3.2.conv2") and "block layer3.2 dropped" in after[1]


def test_paper_shows_what_the_screen_folds(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["report"], 1280)
    chromium.send("Emulation.setEmulatedMedia", media="print")
    try:
        hidden = "[...document.querySelectorAll('[data-panel], .alone')].filter((p) => "
        assert chromium.ask(f"{hidden}!p.checkVisibility()).length") == 0
        buttons = "[...document.querySelectorAll('.copy, [role=tab]')].filter((p) => "
        assert chromium.ask(f"{buttons}p.checkVisibility()).length") == 0
        paper = base64.b64decode(chromium.send("Page.printToPDF")["data"])
        assert paper.startswith(b"%PDF") and paper.count(b"/Type /Page\n") > 3
    finally:
        chromium.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_painted_in_light_and_dark(
    chromium: Browser, pages: dict[str, Path], width: int
) -> None:
    chromium.open(pages["report"], width)
    grounds = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        chromium.send("Emulation.setEmulatedMedia", features=features)
        shot = base64.b64decode(chromium.send("Page.captureScreenshot")["data"])
        with Image.open(io.BytesIO(shot)) as image:
            colours = image.convert("RGB").getcolors(maxcolors=1 << 24) or []
        number, ground = max(colours)
        assert len(colours) > 50 and number < 0.98 * image.width * image.height
        grounds.append(sum(ground))
    assert grounds[0] > 3 * 230 and grounds[1] < 3 * 40


def test_the_browser_notices_a_broken_script_and_what_sticks_out(
    chromium: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    text = pages["report"].read_text().replace('"use strict";', '"use strict"; broken();')
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace("<main>", '<main><p style="width:2000px">wide</p>'))
    chromium.console.clear()
    chromium.open(broken, 390)
    assert any("broken is not defined" in line for line in chromium.console)
    assert len(chromium.ask(OUTSIDE)) == 1
    chromium.console.clear()
