"""Where the time went: a call before and after, by kind of op and by layer, with what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighten.report.markup import Markup, element
from lighten.report.numbers import MISSING, milliseconds
from lighten.report.source import Source
from lighten.report.tabs import tabs

Json = Mapping[str, Any]
Parts = dict[str, float]  # name → milliseconds

# kind of op → what the chart calls it; others keep their own name
KINDS = {
    "conv": "convolutions",
    "conv_transpose": "transposed convolutions",
    "linear": "linear layers",
    "recurrent": "recurrent layers",
    "matmul": "products of activations",
    "pool": "pooling",
    "reduce": "means and sums",
    "binary": "sums and products",
    "unary": "activations",
    "softmax": "softmax",
    "cast": "changes of number format",
    "reshape": "changes of shape",
    "transpose": "changes of order",
    "layer_norm": "layer normalisations",
    "gather": "look-ups",
    "added by the runtime": "what the runtime added or fused anew",
}
CALL, REST = "the call itself", "what no op accounts for"
SHOWN = 16  # layers by name
COARSE = 0.5  # a profile that has to be scaled by less than this tells little


def spent(source: Source) -> Markup | None:
    """Two charts of paired bars, before and after, in milliseconds of one call."""
    before, after = source.time.get("before"), source.time.get("after")
    if not before or not after:
        return None
    layers = [str(row["name"]) for row in source.layers]
    by_kind = [_by_kind(side) for side in (before, after)]
    by_layer = _largest(_by_layer(before, layers), _by_layer(after, layers), set(layers))
    panels = {
        "kind": ("by kind", _chart(by_kind[0], by_kind[1])),
        "layer": ("by layer", _chart(*by_layer)),
    }
    return element(
        "section",
        element("h2", "Where the time went"),
        tabs("spent", "How time is grouped", panels if layers else {"kind": panels["kind"]}),
        element("p", _note(before, after), class_="note"),
    )


def _by_kind(side: Json) -> Parts:
    found: Parts = {}
    for op in side["ops"]:
        name = KINDS.get(op["kind"], str(op["kind"]))
        found[name] = found.get(name, 0.0) + op["ms"]
    return {**found, **_outside(side)}


def _by_layer(side: Json, layers: Sequence[str]) -> Parts:
    known, found = set(layers), dict.fromkeys(layers, 0.0)
    other = 0.0
    for op in side["ops"]:
        if op["name"] in known:
            found[op["name"]] += op["ms"]
        else:
            other += op["ms"]
    return {**found, "everything between the layers": other, **_outside(side)}


def _outside(side: Json) -> Parts:
    return {CALL: side["call_ms"], REST: side["rest_ms"]}


def _largest(before: Parts, after: Parts, layers: set[str]) -> tuple[Parts, Parts]:
    """The largest layers by name, in the network's order, and the others in one sum."""
    ordered = sorted(layers, key=lambda name: -max(before[name], after[name]))
    small = set(ordered[SHOWN:])
    if not small:
        return before, after
    name = f"{len(small)} smaller layers"

    def folded(parts: Parts) -> Parts:
        kept = {n: ms for n, ms in parts.items() if n in layers and n not in small}
        rest = {n: ms for n, ms in parts.items() if n not in layers}
        return {**kept, name: sum(parts[n] for n in small), **rest}

    return folded(before), folded(after)


def _chart(before: Parts, after: Parts) -> Markup:
    names = [*before, *(name for name in after if name not in before)]
    tail = [name for name in names if name in (CALL, REST)]
    names = [name for name in names if name not in tail] + tail
    most = max((*before.values(), *after.values()), default=0.0) or 1.0
    least = 0.002 * sum(before.values())
    shown = [n for n in names if max(before.get(n, 0.0), after.get(n, 0.0)) > least]
    rows = [_row(name, before.get(name, 0.0), after.get(name, 0.0), most) for name in shown]
    total = _row("whole call", sum(before.values()), sum(after.values()), 0.0)
    heads = [
        element("th", title, scope="col", class_=kind)
        for title, kind in (("", None), ("", "bars"), ("Before", None), ("After", None))
    ]
    head, foot = element("thead", element("tr", *heads)), element("tfoot", total)
    return element("table", head, element("tbody", *rows), foot, class_="spent")


def _row(name: str, before: float, after: float, most: float) -> Markup:
    bars = [
        element("i", class_=kind if ms else f"{kind} none", style=f"width:{100 * ms / most:.1f}%")
        for kind, ms in (("was", before), ("now", after))
        if most
    ]
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", element("span", *bars, class_="bars") if bars else Markup(""), class_="bars"),
        element("td", milliseconds(before) if before else MISSING),
        element("td", element("b", milliseconds(after) if after else MISSING)),
    )


def _note(before: Json, after: Json) -> str:
    text = (
        f"Measured: one call timed whole, the original in {before['backend']}, the compressed "
        f"network in {after['backend']}; split by the runtime's own profile. The call itself is "
        "what a network without ops takes."
    )
    scales = [side["scale"] for side in (before, after)]
    if min(scales) < 1:
        text += (
            " Profiling slows ops down, so their times count "
            f"{scales[0]:.2f} (before) and {scales[1]:.2f} (after) times."
        )
    if min(scales) < COARSE:
        text += " At that scale the split among small ops is a rough one."
    return text
