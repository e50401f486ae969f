"""The top of the page: whether the budget was met, and the numbers before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lighten.core.budget import Limit
from lighten.report.markup import Markup, element, join
from lighten.report.numbers import exact, interval, keyed, plain, ratio, show, spread
from lighten.report.source import Source

Json = Mapping[str, Any]
Column = tuple[str, str, Json]  # key in the summary, title, scores

# limit of a budget → the key it bounds, and what less and more of it is called
LIMITS = {
    "latency": ("latency_ms", ("faster", "slower")),
    "size": ("bytes", ("smaller", "larger")),
    "macs": ("macs", ("less work", "more work")),
}
# `met` of the summary → class and words of the stamp; a replayed recipe has no budget to meet
VERDICTS = {
    True: ("met", "Budget met"),
    False: ("unmet", "Budget not met"),
    None: ("replayed", "Recipe replayed"),
}
# rows of the table: key, title, what less and more is called
ROWS = (
    ("latency_ms", "Latency", ("faster", "slower")),
    ("bytes", "File size", ("smaller", "larger")),
    ("macs", "Multiply-accumulates", ("fewer", "more")),
    ("parameters", "Parameters", ("fewer", "more")),
)


def headline(source: Source) -> Markup:
    """Met or not, in one sentence, and the reasons where it was not."""
    summary = source.summary
    name, stamp = VERDICTS[summary["met"]]
    gains = [
        _gain(key, summary, words)
        for key, words in (LIMITS["latency"], LIMITS["size"])
        if summary["before"].get(key) and summary["after"].get(key)
    ]
    sentence = f"{summary['network']}: {', '.join(gains)}, {_drop_words(summary)}."
    missed = [element("li", plain(reason)) for reason in summary.get("missed") or ()]
    return element(
        "header",
        element("p", stamp, class_="stamp"),
        element("h1", sentence),
        element("ul", *missed, class_="missed") if missed else Markup(""),
        class_=f"verdict {name}",
        data_met=json.dumps(summary["met"]),
    )


def asked(source: Source) -> Markup:
    """A tile for each limit of the budget: what came out, and what was asked."""
    summary = source.summary
    tiles = [
        _limit_tile(name, str(summary["budget"][name]), summary)
        for name in LIMITS
        if summary["budget"].get(name) is not None
    ]
    return element("section", *tiles, _drop_tile(summary), class_="tiles")


def comparison(source: Source) -> Markup:
    """The table: original, compressed, controls."""
    summary = source.summary
    columns = [("before", "Original", summary["before"]), ("after", "Compressed", summary["after"])]
    for key, control in source.controls:
        columns.append((key, str(control.get("name", "control")).capitalize(), control))
    heads = [element("th", title, scope="col") for _, title, _ in columns]
    heads.insert(2, element("th", "Change", scope="col"))
    rows = [_quality_row(summary, columns)]
    rows += [_row(key, title, words, summary, columns) for key, title, words in ROWS]
    table = element(
        "table",
        element("thead", element("tr", element("td", ""), *heads)),
        element("tbody", *rows),
        class_="comparison",
    )
    return element(
        "section",
        element("h2", "Before and after"),
        element("div", table, class_="scroll"),
        element("p", _conditions(summary, bool(source.controls)), class_="note"),
    )


def _gain(key: str, summary: Json, words: tuple[str, str]) -> str:
    """How many times better, from the timing in alternation where the summary has it."""
    if key == "latency_ms" and summary.get("speedup"):
        return ratio(summary["speedup"], 1.0, words)
    return ratio(summary["before"].get(key), summary["after"].get(key), words)


def _drop_words(summary: Json) -> str:
    drop, metric = summary["drop"], summary["task"]["metric"]
    if drop is None:
        return f"{metric['name']} not measured"
    change = "lost" if drop > 0 else "gained"
    return f"{abs(drop):.2f} {metric['unit']} of {metric['name']} {change}"


def _limit_tile(name: str, text: str, summary: Json) -> Markup:
    key, words = LIMITS[name]
    before, after = summary["before"].get(key), summary["after"].get(key)
    if not before or after is None:
        return _tile(name, "–", "not measured", f"at most {text}", False)
    gain = _gain(key, summary, words)
    if not text.endswith("x"):
        wanted = f"at most {show(key, float(text))}"
        return _tile(name, show(key, after), gain, wanted, after <= float(text))
    speedup = summary.get("speedup") if key == "latency_ms" else None
    share = 1.0 / speedup if speedup else after / before
    good = share <= limit(name, text, 1.0)
    return _tile(name, f"{share:.2f}×", gain, f"at most {text.replace('x', '×')}", good)


def _drop_tile(summary: Json) -> Markup:
    drop, unit = summary["drop"], summary["task"]["metric"]["unit"]
    allowed = summary["budget"].get("drop")
    good = drop is not None and (allowed is None or drop <= allowed)
    detail = join((interval("drop_interval", "drop", summary.get("drop_interval")),))
    one = unit.removesuffix("s") if allowed == 1 else unit
    wanted = "no limit" if allowed is None else f"at most {allowed:g} {one}"
    return _tile("drop", exact("drop", "drop", drop), detail, wanted, good)


def _tile(name: str, value: str, detail: str, wanted: str, good: bool) -> Markup:
    return element(
        "div",
        element("h3", name),
        element("p", value, class_="big"),
        element("p", detail, class_="detail"),
        element("p", f"{'within' if good else 'over'} the budget: {wanted}", class_="wanted"),
        class_="tile " + ("good" if good else "bad"),
    )


def limit(name: str, text: str, before: float) -> float:
    """The bound a budget's entry sets, in the unit of what it bounds."""
    number = float(text.removesuffix("x"))
    return Limit(number, text.endswith("x")).against(before)


def _quality_row(summary: Json, columns: Sequence[Column]) -> Markup:
    metric, cells = summary["task"]["metric"], []
    for key, _, score in columns:
        bounds = interval(f"{key}.quality_interval", "quality", score.get("quality_interval"))
        cells.append(element("td", exact(f"{key}.quality", "quality", score["quality"]), bounds))
    drop = summary["drop"]
    sign = -1 if metric["higher_is_better"] else 1
    text = "–" if drop is None else f"{sign * drop:+.2f}".replace("-", "−")  # a real minus sign
    cells.insert(2, element("td", text, class_="change"))
    name = str(metric["name"])
    title = f"{name.capitalize() if name.islower() else name}, {metric['unit']}"
    return element("tr", element("th", title, scope="row"), *cells)


def _row(
    key: str, title: str, words: tuple[str, str], summary: Json, columns: Sequence[Column]
) -> Markup:
    cells = []
    for column, _, score in columns:
        value = exact(f"{column}.{key}", key, score.get(key))
        cells.append(element("td", value, _spread(key, column, score)))
    cells.insert(2, element("td", _gain(key, summary, words), class_="change"))
    return element("tr", element("th", title, scope="row"), *cells)


def _spread(key: str, column: str, score: Json) -> Markup:
    wide = score.get("latency_spread_ms")
    if key != "latency_ms" or wide is None or score.get(key) is None:
        return Markup("")
    written = keyed(f"{column}.latency_spread_ms", spread(wide, score[key]), wide)
    return element("span", "± ", written, class_="interval")


def _conditions(summary: Json, control: bool) -> str:
    threads = int(summary["threads"])
    text = (
        f"Scored once on the test part of {summary['task']['data']}, with 95 % intervals; the "
        "drop is paired, sample by sample. Latency is the median at batch "
        f"{summary['batch']} on {threads} {'thread' if threads == 1 else 'threads'}, ± half the "
        f"interquartile range: the original in {summary['reference']}, the compressed network in "
        f"{summary['backend']}, timed in alternation. Size is that of the shipped file."
    )
    if control:
        text += (
            " Controls were trained for as many steps on the same data; the drop counts against "
            "the better of the original and the same network trained on, uncompressed."
        )
    return text
