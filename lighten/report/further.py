"""Going further: what the next step down is predicted to cost, and which layers would pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighten.report.markup import Markup, element, scrolling
from lighten.report.metric import Metric
from lighten.report.source import Source
from lighten.report.why import QUANTITIES, listed, loss, step

Json = Mapping[str, Any]

NAMES = {"latency": "latency", "size": "file size", "macs": "multiply-accumulates"}
NAMED = 6  # layers in the sentence
NOTE = (
    "Predicted, not measured: everything that was done is kept, and the choice is solved again "
    "under a tighter limit, with times and losses corrected by the trials. Losses were seen before "
    "training; what they come to in the metric was learned from trials trained briefly, so longer "
    "training may win some of it back."
)


def further(source: Source) -> Markup | None:
    """One paragraph per share and quantity; nothing for a run that did not ask."""
    told: Sequence[Json] = source.summary.get("further") or ()
    if not told:
        return None
    items, seen = [], set()
    for entry in told:
        same = (entry["quantity"], entry["possible"], entry.get("to"))
        if same not in seen:  # one step of the staircase may serve two shares
            items.append(_entry(entry, source.summary))
        seen.add(same)
    return element(
        "section",
        element("h2", "Going further"),
        element("div", *items, class_="further"),
        element("p", NOTE, class_="note"),
    )


def _entry(entry: Json, summary: Json) -> Markup:
    name, write = NAMES[entry["quantity"]], QUANTITIES[entry["quantity"]]
    share = f"{100 * entry['share']:.0f} %"
    steps = entry.get("steps") or ()
    if not entry["possible"] and not steps:
        text = f"No choice takes another {share} off the {name}: this is as far as it goes."
        return element("article", element("p", text, class_="step"))
    reached = 1 - entry["to"] / entry["from"] if entry["from"] else 0.0
    sizes = f"{write(entry['from'])} → {write(entry['to'])}"
    lead = f"The next {share} of {name}"
    if not entry["possible"]:
        lead = f"Another {share} of {name} is out of reach; the most, {100 * reached:.1f} %,"
    layers = list(dict.fromkeys(layer for each in steps for layer in _names(each)))
    who = f" Layers: {listed(layers, NAMED)}." if layers else ""
    sentence = element(
        "p", lead, " is predicted to cost ", element("b", _cost(entry, summary)), ".", who
    )
    detail = f"{sizes}, {100 * reached:.0f} % less, for a loss of {loss(entry['loss'], summary)}."
    if entry["loss"] > entry.get("seen", entry["loss"]):
        detail += " That is more than any trial lost, so a rough guess."
    rows = [
        element(
            "tr",
            element("th", str(each["place"]), scope="row"),
            element("td", step(each["technique"], each["from"], each["to"])),
            element("td", loss(each["loss"], summary)),
        )
        for each in steps
    ]
    heads = [element("th", title, scope="col") for title in ("Place", "Step", "Predicted loss")]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return element(
        "article",
        sentence,
        element("p", detail, class_="detail"),
        element(
            "details",
            element("summary", f"The {len(rows)} steps" if len(rows) > 1 else "The step"),
            scrolling(table, "Steps"),
        )
        if rows
        else Markup(""),
    )


def _names(each: Json) -> Sequence[str]:
    """The place, under the name that the layers' table has for it."""
    return [str(each["place"])]


def _cost(entry: Json, summary: Json) -> str:
    metric = Metric.of(summary)
    if not entry.get("trials"):
        return f"{loss(entry['loss'], summary)}, which no trial translates into {metric.name}"
    drop, error = entry["drop"], entry["drop_error"]
    of = f" of {metric.name}"
    smallest = 10.0**-metric.decimals
    if max(drop, error) < smallest:
        return f"less than {metric.amount(smallest)}{of}"
    return f"about {metric(drop)} ± {metric.amount(error)}{of}"
