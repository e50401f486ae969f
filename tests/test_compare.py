"""`lighten compare`: what is laid side by side, what cannot be compared, and damaged folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lighten.cli import app
from lighten.errors import InputError
from lighten.report.runs import read, table, warnings
from tests import report_sample

ERROR = {"name": "error", "unit": "mm", "higher_is_better": False}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two runs of one network on one machine; the second is quicker, with its own budget."""
    after = {**report_sample.AFTER, "latency_ms": 0.2, "quality": 86.5}
    changes = {"after": after, "met": False, "budget": {"latency": 0.25, "drop": 1.0}}
    report_sample.write(tmp_path / "a")
    report_sample.write(tmp_path / "b", {**changes, "recipe": "0123456789ab", "speedup": 4.5})
    return [tmp_path / "a", tmp_path / "b"]


def rows(folders: list[Path]) -> dict[str, tuple[str, ...]]:
    return {title: tuple(texts) for title, *texts in table(read(folders))}


def test_runs_stand_side_by_side(folders: list[Path]) -> None:
    found = rows(folders)
    assert found["metric"] == ("Accuracy, points (higher is better)",) * 2
    assert found["quality after"] == ("87.02 [86.06, 87.94]", "86.50 [86.06, 87.94]")
    assert found["drop"][0] == "0.60 points [−0.07, 1.27]"
    assert found["latency after"] == ("0.29 ms ± 0.0046 ms", "0.20 ms ± 0.0046 ms")
    assert found["speed-up"] == ("3.24×", "4.50×")
    assert found["budget"] == (
        "met: latency 0.33x, size 300 kB, drop 1 point",
        "not met: latency 0.25 ms, drop 1 point",
    )
    digest = report_sample.trials()[-1].recipe.digest  # the one that was finished
    assert found["recipe"] == (digest, "0123456789ab")
    assert found["machine"] == ("Example CPU",) * 2
    assert warnings(read(folders)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 2}, "differ in threads (a: 1, b: 2), so their latencies"),
        ({"batch": 8}, "differ in batch"),
        ({"reference": "openvino"}, "differ in reference"),
        ({"device": {"name": "Other"}}, "differ in machine (a: Example CPU, b: Other)"),
        ({"task": {"metric": ERROR, "data": "cifar10-jpeg.tar"}}, "differ in metric"),
        ({"task": {**report_sample.summary()["task"], "data": "x"}}, "differ in data"),
    ],
)
def test_what_cannot_be_compared_is_said(
    folders: list[Path], change: dict[str, Any], words: str
) -> None:
    report_sample.write(folders[1], change)
    found = warnings(read(folders))
    assert len(found) == 1 and words in found[0].replace(f"{folders[0].parent}/", "")


def test_the_same_name_for_other_data_is_noticed(folders: list[Path]) -> None:
    for folder, data in zip(folders, ("1234", "5678"), strict=True):
        (folder / "run.json").write_text(json.dumps({"data": data}))
    assert any("differ in data" in sentence for sentence in warnings(read(folders)))


def test_the_command_prints_a_table_a_page_and_json(folders: list[Path], tmp_path: Path) -> None:
    report_sample.write(folders[1], {"network": "<b>[bold]x[/]", "threads": 2})
    page, values = tmp_path / "out" / "page.html", tmp_path / "out" / "values.json"
    words = ["compare", *map(str, folders), "--html", str(page), "--json", str(values)]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "[bold]x[/]" in done.output and "differ in threads" in done.output
    told = json.loads(values.read_text())
    assert [run["folder"] for run in told["runs"]] == [str(folder) for folder in folders]
    assert len(told["warnings"]) == 1
    text = page.read_text()
    assert "&lt;b&gt;[bold]x[/]" in text and "<b>[bold]" not in text
    assert "default-src 'none'" in text and "https://" not in text
    for series in ("series0", "series1"):
        assert len(re.findall(f'class="staircase {series}"', text)) == 3  # one per axis
        assert re.search(f'class="mark chosen {series}"', text)


def test_runs_of_different_metrics_share_no_chart(folders: list[Path], tmp_path: Path) -> None:
    report_sample.write(folders[1], {"task": {"metric": ERROR, "data": "d"}})
    page = tmp_path / "page.html"
    CliRunner().invoke(app, ["compare", *map(str, folders), "--html", str(page)])
    assert "staircase" not in page.read_text().partition("</style>")[2].partition("<script>")[0]


def test_one_run_is_not_compared(folders: list[Path]) -> None:
    with pytest.raises(InputError, match="at least two"):
        read(folders[:1])
