"""What the documents say is what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lighten import zoo
from tests.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[1]
QUICK = ("lenet_300_100", "lenet5", "digits_cnn", "resnet20", "squeezenet", "espcn", "sensor_cnn")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in zoo.TABLE],
)
def test_the_table_of_networks_is_true_and_80_percent_can_be_cut(name: str) -> None:
    row = runpy.run_path(str(ROOT / "docs" / "networks.py"))["row"](name)
    assert row in (ROOT / "docs" / "networks.md").read_text().splitlines()
    found = re.search(r"\| (\d+) % \|", row)
    assert found is not None and int(found[1]) >= 80


@pytest.mark.parametrize(
    "name",
    [
        n if n == "distilbert" else pytest.param(n, marks=pytest.mark.soak)
        for n in sorted(ARCHITECTURES)
    ],
)
def test_the_table_of_architectures_is_true(name: str) -> None:
    pytest.importorskip("transformers")
    row = runpy.run_path(str(ROOT / "docs" / "networks.py"))["brought"](name)
    assert row in (ROOT / "docs" / "networks.md").read_text().splitlines()


def test_the_road_runs_and_ends_where_it_should() -> None:
    road = runpy.run_path(str(ROOT / "docs" / "the_road.py"))
    found = road["main"](epochs=3.0)
    assert found["original"] > 90
    assert found["compressed"] > found["original"] - 8
    assert abs(found["compressed"] - found["eager"]) < 1.0


def test_every_file_and_test_named_in_the_documents_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("benchmarks/*.md")]
    named = [
        (page.name, match)
        for page in pages
        for match in re.findall(r"`((?:lighten|tests|docs|benchmarks)/[\w/.]+)`", page.read_text())
    ]
    named = [(page, path) for page, path in named if path != "lighten/techniques/yours.py"]
    missing = [(page, path) for page, path in named if not (ROOT / path).exists()]
    assert len(named) > 20 and not missing


def test_every_test_named_in_techniques_exists() -> None:
    text = (ROOT / "docs" / "techniques.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    missing = [
        (path, test) for path, test in named if f"def {test}(" not in (ROOT / path).read_text()
    ]
    assert len(named) > 20 and not missing
