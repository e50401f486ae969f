"""The rest of the page: the front, the layers, the training, the machine, the command."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lighten.report.charts import AXES, Mark, Region, curve_chart, front_chart
from lighten.report.edits import describe
from lighten.report.markup import Markup, element
from lighten.report.numbers import plain, size
from lighten.report.source import Source
from lighten.report.tabs import tabs
from lighten.report.verdict import LIMITS, limit

Json = Mapping[str, Any]

SHOWN_RECIPES = 150_000  # characters of a technique's line, over all recipes
# kind of a mark → what the legend calls it
LEGEND = {
    "chosen": "compressed, test part",
    "original": "original, test part",
    "control": "control, test part",
    "finished": "trained at length",
    "trial": "trained briefly",
    "predicted": "predicted only",
}


def front(source: Source) -> Markup | None:
    """Every network that was tried, against each quantity the chart knows."""
    found = marks(source)
    metric = source.metric
    drawn = {
        axis: chart
        for axis in _axes(source.summary)
        if (chart := front_chart(found, axis, metric, _region(source, axis)))
    }
    if not drawn:
        return None
    kinds = [kind for kind in LEGEND if any(mark.kind == kind for mark in found)]
    failed = [trial for trial in source.trials if not trial.score]
    return element(
        "section",
        element("h2", "Every recipe that was tried"),
        tabs("front", "What quality is drawn against", {k: (AXES[k], c) for k, c in drawn.items()}),
        _recipes(source),
        element("p", *(_key(kind, LEGEND[kind]) for kind in kinds), _key("region", "budget"),
                _key("staircase", "front"), class_="legend"),
        element("p", _front_note(len(source.trials), len(failed)), class_="note"),
        _failures(failed),
    )  # fmt: skip


def marks(source: Source) -> list[Mark]:
    """The trials, the front's other members, and the networks scored on the test part."""
    members = {entry["digest"] for entry in source.front}
    found, seen = [], set()
    for number, trial in enumerate(source.trials, start=1):
        if not trial.score:
            continue
        digest = trial.recipe.digest
        seen.add(digest)
        kind = "finished" if trial.stage == "finish" else "trial"
        title, score = f"trial {number} · {digest}", trial.score.as_dict()
        found.append(Mark(kind, title, score, _about(digest), digest in members))
    for entry in source.front:
        digest = entry["digest"]
        if digest not in seen:
            kind = "trial" if entry.get("measured") else "predicted"
            found.append(Mark(kind, f"recipe {digest}", entry, _about(digest), front=True))
    found.append(Mark("original", LEGEND["original"], source.summary["before"]))
    found.append(Mark("chosen", LEGEND["chosen"], source.summary["after"]))
    for _, control in source.controls:
        found.append(Mark("control", str(control.get("name", LEGEND["control"])), control))
    return found


def _recipes(source: Source) -> Markup:
    """Each recipe's text, once, out of sight: marks refer to it."""
    longest = min(1200, SHOWN_RECIPES // max(1, len(source.trials)))
    told = {e["digest"]: [plain(e.get("edits") or "nothing changed")] for e in source.front}
    told |= {t.recipe.digest: describe(t.recipe, longest) for t in source.trials if t.score}
    texts = [element("p", "\n".join(lines), id=_about(digest)) for digest, lines in told.items()]
    return element("div", *texts, hidden=True)


def _about(digest: str) -> str:
    return f"recipe-{digest}"


def training(source: Source) -> Markup | None:
    """Loss and quality over the steps of every run."""
    runs = source.training
    named = sum(not str(run["name"]).startswith("trial ") for run in runs)
    losses = [(r["name"], _finite(zip(r["steps"], r["loss"], strict=False))) for r in runs]
    valid = [(r["name"], _finite(r.get("valid") or ())) for r in runs]
    metric = source.metric
    charts = [
        curve_chart(losses, "↓ loss", named),
        curve_chart(valid, f"{metric.axis}, on valid", named),
    ]
    if not any(charts):
        return None
    keys = [
        element("span", element("i", class_=f"swatch series{i % 6}"), name, class_="key")
        for i, (name, _) in enumerate(losses[:named])
    ]
    if len(losses) > named:
        keys.append(_key("faint", f"{len(losses) - named} trials"))
    return element(
        "section",
        element("h2", "Training"),
        element("div", *(element("div", c) for c in charts if c), class_="pair"),
        element("p", *keys, class_="legend"),
    )


def machine(source: Source) -> Markup:
    """The device, the versions, and what the search says about itself."""
    summary = source.summary
    told = _device(summary.get("device") or {})
    run = {key: plain(summary[key]) for key in ("reference", "backend", "threads", "batch")}
    if summary.get("seconds"):
        run["whole run"] = _duration(float(summary["seconds"]))
    search = {k.replace("_", " "): plain(v) for k, v in (summary.get("search") or {}).items()}
    versions = {name: plain(v) for name, v in (summary.get("versions") or {}).items()}
    lists = {"Device": told, "Versions": versions, "Run": run, "Search": search}
    parts = [
        element("div", element("h3", title), _definitions(pairs))
        for title, pairs in lists.items()
        if pairs
    ]
    notes = [element("li", plain(note)) for note in summary.get("notes") or ()]
    return element(
        "section",
        element("h2", "Device and versions"),
        element("div", *parts, class_="facts"),
        element("ul", *notes, class_="notes") if notes else Markup(""),
    )


def reproduce(source: Source) -> Markup:
    """The command, ready to copy, and the recipe it found."""
    command = element("code", plain(source.summary["command"]), id="command")
    copy = element("button", "Copy", type="button", class_="copy", data_copy="command")
    recipe = element(
        "details",
        element("summary", "The recipe it found, for lighten apply"),
        element("pre", element("code", source.recipe)),
    )
    return element(
        "section",
        element("h2", "Do it again"),
        element("div", element("pre", command), copy, class_="command"),
        recipe if source.recipe else Markup(""),
    )


def _axes(summary: Json) -> list[str]:
    """The chart's axes, those with a limit first."""
    limited = [key for name, (key, _) in LIMITS.items() if summary["budget"].get(name) is not None]
    return sorted(AXES, key=lambda axis: axis not in limited)


def _region(source: Source, axis: str) -> Region | None:
    """What the budget leaves room for on this axis, or nothing where there is no budget."""
    summary, against = source.summary, source.against
    drop = summary["budget"].get("drop")
    if against is None or drop is None:
        return None
    higher = bool(summary["task"]["metric"]["higher_is_better"])
    name = next(name for name, (key, _) in LIMITS.items() if key == axis)
    text, before = summary["budget"].get(name), summary["before"].get(axis)
    bound = None if text is None or before is None else limit(name, str(text), before)
    return Region(bound, against - drop if higher else against + drop, higher)


def _key(kind: str, name: str) -> Markup:
    return element("span", element("i", class_=f"swatch {kind}"), name, class_="key")


def _front_note(tried: int, failed: int) -> str:
    return (
        f"{tried} recipes were tried, {failed} failed. Point at a mark, or reach it with the Tab "
        "key, to read its recipe. Trials are scored on the validation part, so compare them with "
        "each other rather than with the networks scored on the test part."
    )


def _failures(failed: Sequence[Any]) -> Markup:
    if not failed:
        return Markup("")
    rows = [element("li", f"{t.recipe.digest}: {t.failure}") for t in failed]
    return element("details", element("summary", "What failed, and why"), element("ul", *rows))


def _device(device: Json) -> dict[str, str]:
    """What is known of the machine; bytes as sizes."""
    known = {name: value for name, value in device.items() if value}
    told = {name: plain(value) for name, value in known.items()}
    if "memory" in known:
        told["memory"] = size(known["memory"])
    if "caches" in known:
        told["caches"] = ", ".join(size(cache) for cache in known["caches"])
    return told


def _finite(pairs: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in pairs if y is not None and math.isfinite(float(y))]


def _definitions(pairs: Mapping[str, str]) -> Markup:
    rows = [
        element("div", element("dt", name.replace("_", " ")), element("dd", value))
        for name, value in pairs.items()
    ]
    return element("dl", *rows)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
